"""Whatever can change a number of a cell is in its identity, setting by setting; what cannot is not."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from study_files import write_study

from harness import registry
from harness.launch.context import Context
from harness.machine.environment import Machine
from harness.study.cell import Cell, fingerprint
from harness.study.method_plan import resolved_settings
from harness.study.schema import Select, TrainSettings
from harness.study.study import load_study
from methods.settings import UITSettings

CHANGED: dict[str, Any] = {
    "mask_at_least_one": "first_word",
    "tal_reduction": "sum",
    "backbone": "ViT-B-32",
    "pretrained": "openai",
    "image_size": (96, 64),
    "precision": "bf16",
    "sampler": "released",
    "group_lr": {"classifier": 1e-3},
    "optimiser": "adamw",
    "decay_of": "matrices",
    "schedule": "iteration",
    "text_length": 40,
    "normalisation": "imagenet",
    "image_augmentation": "two_of_six",
    "test_resize": "bicubic",
    "cmt_mining": "info_nce",
    "cmt_positive": "own_pair",
    "text_augmentation": "swap",
    "mlm_masking": "by_tag",
    "caption_corruption": "by_tag",
    "text_pass": "twice",
}
"""Another value of each setting that is no number."""
METHODS = [
    {"name": "with-tal", "base": "uit", "cmt_mining": "all_negatives"},
    "uit",
    {"name": "with-mlm", "base": "uit", "mlm": True, "itc": True, "cmpm": True},
    "clip-zero-shot",
]


def another(name: str, value: Any) -> Any:
    """A valid value of a setting that is not the one it has."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value * 0.5 + 0.001 if isinstance(value, float) else CHANGED[name]


def cell_of(folder: Path, method: str) -> Cell:
    cells = load_study(write_study(folder, methods=METHODS, datasets=["cuhk-pedes"], seeds=1)).cells()
    return next(cell for cell in cells if cell.method == method)


def identity(cell: Cell) -> str:
    return fingerprint(cell.parts("data", {"train": "code"}, "", "pattern 1"))


@pytest.mark.parametrize("name", TrainSettings.model_fields)
def test_every_setting_of_the_recipe_is_in_the_identity_of_what_trains(tmp_path: Path, name: str) -> None:
    cell = cell_of(tmp_path, "uit")
    changed = cell.train.model_copy(update={name: another(name, getattr(cell.train, name))})
    assert identity(replace(cell, train=changed)) != identity(cell)


@pytest.mark.parametrize("name", TrainSettings.model_fields)
def test_of_the_recipe_only_what_the_backbone_is_counts_for_what_does_not_train(
    tmp_path: Path, name: str
) -> None:
    cell = cell_of(tmp_path, "clip-zero-shot")
    changed = cell.train.model_copy(update={name: another(name, getattr(cell.train, name))})
    same = identity(replace(cell, train=changed)) == identity(cell)
    reach = ("backbone", "pretrained", "image_size", "text_length", "normalisation", "test_resize")
    assert same is (name not in (*reach, "caption_cleaning"))


@pytest.mark.parametrize("name", UITSettings.model_fields)
def test_every_setting_that_a_method_uses_is_in_its_identity(tmp_path: Path, name: str) -> None:
    cell = cell_of(tmp_path, "with-tal" if name.startswith("tal_") else "with-mlm")
    assert name in cell.method_settings
    overrides = {**cell.overrides, name: another(name, cell.method_settings[name])}
    settings = dict(resolved_settings(registry.method("uit"), overrides))
    assert identity(replace(cell, method_settings=settings)) != identity(cell)


OTHERWISE: dict[str, Any] = {
    "method": "label",
    "base": "irra",
    "dataset": "rstpreid",
    "seed": 7,
    "recipe": "own",
    "preset": "released",
    "trains": False,
    "subset": 9,
    "caption_noise": 0.5,
    "select": Select(metric="mAP"),
    "tie_order": "released",
    "imported": "5" * 64,
}
"""Another value of each field of a cell that a number can depend on, beside its settings."""
BESIDE: dict[str, Any] = {
    "study": "another",
    "targets": ("rstpreid",),
    "timeout_minutes": 3.0,
    "select": Select(split="last"),
    "overrides": {},
    "keep": ("checkpoint",),
}
"""Fields that no number depends on, or that say again what others say."""


def test_every_field_of_a_cell_is_in_the_identity_or_known_to_change_no_number(tmp_path: Path) -> None:
    cell = cell_of(tmp_path, "uit")
    known = OTHERWISE.keys() | BESIDE.keys() | {"train", "method_settings"}
    assert {field.name for field in fields(Cell)} == known
    found = {name: identity(replace(cell, **{name: value})) for name, value in OTHERWISE.items()}
    assert len({identity(cell), *found.values()}) == 1 + len(found)
    assert {identity(replace(cell, **{name: value})) for name, value in BESIDE.items()} == {identity(cell)}


def test_data_code_weights_and_tagger_are_in_the_identity_each_by_itself(tmp_path: Path) -> None:
    cell = cell_of(tmp_path, "uit")
    parts = [
        cell.parts("data", {"train": "code"}, "weights", "pattern 1"),
        cell.parts("other", {"train": "code"}, "weights", "pattern 1"),
        cell.parts("data", {"train": "other"}, "weights", "pattern 1"),
        cell.parts("data", {"other": "code"}, "weights", "pattern 1"),
        cell.parts("data", {"train": "code"}, "other", "pattern 1"),
        cell.parts("data", {"train": "code"}, "", "pattern 1"),
        cell.parts("data", {"train": "code"}, "weights", "pattern 2"),
    ]
    assert len({fingerprint(each) for each in parts}) == len(parts)


class Tagger:
    name = "pattern"
    version = "another"


def test_a_machines_identities_have_its_tagger_its_data_and_its_weights(
    cuhk_root: Path, tmp_path: Path
) -> None:
    cell = cell_of(tmp_path, "uit")
    context = Context(Machine(data_root=cuhk_root, device="cpu"))
    parts = context.parts(cell)
    assert parts["protocol"]["tagger"] == f"{context.tagger.name} {context.tagger.version}"
    assert parts["dataset"]["fingerprint"] == context.dataset("cuhk-pedes", None).fingerprint
    assert "train" in parts["code"]
    pretrained = replace(cell, train=cell.train.model_copy(update={"pretrained": "rendered"}))
    assert str(context.parts(pretrained)["settings"]["pretrained"]).startswith("sha256:")
    same = context.identity(cell)
    context.tagger = Tagger()  # type: ignore[assignment]
    assert context.identity(cell) != same


# -- from the file to the cell --------------------------------------------------------------------


@pytest.mark.parametrize("name", TrainSettings.model_fields)
def test_every_key_of_the_recipe_reaches_the_cells_from_train_and_from_a_methods_entry(
    tmp_path: Path, name: str
) -> None:
    default = {"backbone": "tiny", "pretrained": "none", "image_size": [96, 32]}
    wanted = {**CHANGED, "image_size": [96, 64]}.get(name, another(name, getattr(TrainSettings(), name)))
    if name == "precision":
        wanted = "fp32"
    shared = write_study(tmp_path, methods=["uit"], train={**default, "image_size": [96, 96], name: wanted})
    own = {"name": "uit", name: wanted}
    for path in (shared, write_study(tmp_path, methods=[own], train={**default, "image_size": [96, 96]})):
        found, *others = (getattr(cell.train, name) for cell in load_study(path).cells())
        assert all(other == found for other in others)
        assert (list(found) if isinstance(found, tuple) else found) == wanted


def test_every_other_value_of_a_study_file_reaches_its_cells(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        name="named",
        methods=[{"name": "mine", "base": "baseline"}],
        datasets=["rstpreid"],
        seeds=[11],
        subset=4,
        select={"metric": "mINP", "split": "last"},
        evaluate={"targets": ["icfg-pedes"], "tie_order": "released"},
        timeout_minutes=1.5,
        keep=["val", "checkpoint"],
    )
    (cell,) = load_study(path).cells()
    assert (cell.study, cell.method, cell.base, cell.dataset) == ("named", "mine", "baseline", "rstpreid")
    assert (cell.seed, cell.subset, cell.timeout_minutes) == (11, 4, 1.5)
    assert (cell.select.metric, cell.select.split, cell.tie_order) == ("mINP", "last", "released")
    assert cell.targets == ("rstpreid", "icfg-pedes")
    assert (cell.keep, cell.kept_models) == (("val", "checkpoint"), ("val", "last"))
    (released,) = load_study(path, ["preset=released"]).cells()
    assert (cell.preset, released.preset) == ("clean", "released")
