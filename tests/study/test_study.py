"""A study file expands into the cells it describes; a cell is identified by what can change its numbers."""

from __future__ import annotations

import itertools
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from study_files import write_study

from harness.study.cell import Cell, fingerprint
from harness.study.shipped import shipped_studies
from harness.study.study import StudyError, load_study

ROOT = Path(__file__).parents[2]
CODE = {"train": "a", "methods": "b"}


def one(cells: list[Cell], method: str, dataset: str = "cuhk-pedes", seed: int = 0) -> Cell:
    (found,) = [cell for cell in cells if (cell.method, cell.dataset, cell.seed) == (method, dataset, seed)]
    return found


def identity(cell: Cell) -> str:
    return fingerprint(cell.parts("data", CODE))


def test_a_cell_written_as_json_is_read_back_the_same(tmp_path: Path) -> None:
    methods = ["uit", {"name": "mild", "base": "uit", "mask_ratio": 0.3}, "clip-zero-shot"]
    study = load_study(
        write_study(tmp_path, methods=methods, subset=5, timeout_minutes=2.5, preset="released")
    )
    for cell in study.cells():
        assert Cell.from_dict(json.loads(json.dumps(cell.to_dict()))) == cell


@pytest.mark.parametrize("name", ["seed", "train", "overrides"])
def test_a_cell_that_lacks_a_value_or_has_one_more_is_refused(tmp_path: Path, name: str) -> None:
    values = load_study(write_study(tmp_path)).cells()[0].to_dict()
    with pytest.raises(ValueError, match="not a cell of this version"):
        Cell.from_dict({key: value for key, value in values.items() if key != name})
    with pytest.raises(ValueError, match="not a cell of this version"):
        Cell.from_dict({**values, "more": 1})


def test_a_shipped_study_is_found_by_its_name_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, path in shipped_studies().items():
        study = load_study(Path(name))
        assert study.source == path
        assert study.claims is None or study.claims.is_file()
    files = {*(ROOT / "studies").glob("*.yaml"), *(ROOT / "studies" / "questions").glob("*.yaml")}
    assert files == set(shipped_studies().values())
    assert load_study(Path("questions/mining")).name == "mining"
    (tmp_path / "demo").mkdir()
    assert load_study(Path("demo")).name == "demo"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("dmeo", "dmeo: neither a file nor the name of a shipped study: did you mean 'demo'?"),
        (
            "studies/demo.yaml",
            "studies/demo.yaml: no such file; the study that is shipped runs by its name: demo",
        ),
        (
            "studies/demo",
            "studies/demo: no such file; the study that is shipped runs by its name: demo",
        ),
        ("demo.yml", "demo.yml: no such file; the study that is shipped runs by its name: demo"),
        (
            "studies/mining.yaml",
            "studies/mining.yaml: no such file; the study that is shipped runs by its name: questions/mining",
        ),
        ("mine.yaml", "mine.yaml: no such file"),
        ("demoo.yaml", "demoo.yaml: no such file: did you mean the shipped study 'demo'?"),
    ],
)
def test_a_study_that_is_not_there_is_refused_with_the_nearest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError) as caught:
        load_study(Path(given))
    assert str(caught.value) == message


def test_an_image_size_that_looks_swapped_is_noted(tmp_path: Path) -> None:
    train = {"backbone": "tiny", "image_size": [32, 96]}
    (note,) = load_study(write_study(tmp_path, methods=["uit", "baseline"], train=train)).notes
    assert note.startswith("image_size [32, 96] is height, then width: wider than high")
    assert note.endswith("(uit, baseline); swapped?")


def test_a_study_is_every_method_on_every_dataset_with_every_seed(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path))
    expected = set(itertools.product(study.methods, study.datasets, (0, 1)))
    cells = study.cells()
    assert {(cell.method, cell.dataset, cell.seed) for cell in cells} == expected
    assert len(cells) == 16


def test_seeds_may_be_named(tmp_path: Path) -> None:
    assert load_study(write_study(tmp_path, seeds=[4, 7])).seeds == (4, 7)


def test_numbers_as_people_write_them_are_numbers(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    path.write_text(
        path.read_text()
        .replace("precision: fp32", "lr: 1e-5\n  weight_decay: .5\n  epochs: 3", 1)
        .replace("  epochs: 2\n", "")
    )
    train = load_study(path).cells()[0].train
    assert (train.lr, train.weight_decay, train.epochs) == (1e-5, 0.5, 3)


def test_a_setting_reaches_only_the_methods_that_have_it(tmp_path: Path) -> None:
    train = {"backbone": "tiny", "image_size": [96, 32], "mask_ratio": 0.5}
    cells = load_study(write_study(tmp_path, train=train)).cells()
    assert one(cells, "uit").all_settings()["mask_ratio"] == 0.5
    assert "mask_ratio" not in one(cells, "uit-no-tir").all_settings()


def test_a_method_without_training_has_only_settings_that_change_what_it_is(tmp_path: Path) -> None:
    zero_shot = one(load_study(write_study(tmp_path)).cells(), "clip-zero-shot")
    encoder = {"backbone", "pretrained", "image_size", "text_length"}
    inputs = {"normalisation", "test_resize", "caption_cleaning"}
    assert set(zero_shot.all_settings()) == encoder | inputs


def test_an_entry_of_its_own_changes_one_method_alone(tmp_path: Path) -> None:
    methods = ["uit", {"name": "gentle", "base": "uit", "mask_ratio": 0.4, "lr": 3.0e-6}]
    cells = load_study(write_study(tmp_path, methods=methods)).cells()
    gentle, uit = one(cells, "gentle"), one(cells, "uit")
    assert (gentle.base, gentle.method_settings["mask_ratio"], gentle.train.lr) == ("uit", 0.4, 3e-6)
    assert (uit.method_settings["mask_ratio"], uit.train.lr) == (0.7, 1e-5)


def test_the_factorial_of_switches_can_be_written_down(tmp_path: Path) -> None:
    switches = ("tir", "cmt", "text_pruning")
    methods = [
        {"name": "-".join(map(str, map(int, on))), "base": "uit", **dict(zip(switches, on, strict=True))}
        for on in itertools.product((False, True), repeat=3)
    ]
    cells = load_study(write_study(tmp_path, methods=methods, seeds=1, datasets=["cuhk-pedes"])).cells()
    assert len({identity(cell) for cell in cells}) == 8
    assert one(cells, "0-1-0").method_settings["tir"] is False
    assert "mask_ratio" not in one(cells, "0-1-0").method_settings


def test_the_released_preset_turns_every_switch_and_each_can_be_turned_back_alone(tmp_path: Path) -> None:
    released = load_study(
        write_study(tmp_path, preset="released", train={"backbone": "tiny", "image_size": [96, 32]})
    )
    uit = one(released.cells(), "uit")
    assert (uit.train.precision, uit.train.sampler, uit.tie_order) == ("released", "released", "released")
    assert released.select.split == "test"
    assert (uit.method_settings["cmt_positive"], uit.method_settings["loss_mask_off_by_one"]) == (
        "own_pair",
        True,
    )
    assert (uit.method_settings["caption_corruption"], uit.method_settings["text_pass"]) == (
        "by_tag",
        "twice",
    )
    # As released, captions are corrupted exactly when TIR is on.
    assert one(released.cells(), "uit-no-tir").method_settings["caption_corruption"] == "off"

    overrides = ["train.precision=bf16", "select.split=val", "train.caption_corruption=off"]
    repaired = load_study(write_study(tmp_path, preset="released"), overrides)
    uit = one(repaired.cells(), "uit")
    assert (uit.train.precision, uit.train.sampler) == ("bf16", "released")
    assert repaired.select.split == "val"
    assert (uit.method_settings["caption_corruption"], uit.method_settings["text_pass"]) == ("off", "twice")


@pytest.mark.parametrize(
    ("switches", "corruption"),
    [
        ({}, "by_tag"),
        ({"tir": False}, "off"),
        ({"tir": False, "cmt": False, "text_pruning": False, "mlm": True}, "uniform"),
        ({"tir": False, "caption_corruption": "by_tag"}, "by_tag"),
    ],
)
def test_the_released_preset_follows_the_switches_that_a_study_gives_a_method(
    tmp_path: Path, switches: dict[str, Any], corruption: str
) -> None:
    """As released, captions are corrupted by UIT's code where its TIR flag is on, and always by IRRA's."""
    path = write_study(tmp_path, methods=[{"name": "mine", "base": "uit", **switches}], preset="released")
    assert one(load_study(path).cells(), "mine").method_settings["caption_corruption"] == corruption


def test_a_bug_of_the_released_code_can_be_added_to_the_clean_preset_alone(tmp_path: Path) -> None:
    train = {"backbone": "tiny", "image_size": [96, 32]}
    clean = load_study(write_study(tmp_path, train=train)).cells()
    bugged = load_study(write_study(tmp_path, train={**train, "caption_corruption": "uniform"})).cells()
    uit, without_tir = one(bugged, "uit"), one(bugged, "uit-no-tir")
    both = {
        identity(one(clean, "uit")),
        identity(one(clean, "uit-no-tir")),
        identity(uit),
        identity(without_tir),
    }
    assert len(both) == 4
    assert uit.train == one(clean, "uit").train


def test_transfer_evaluates_every_model_on_every_dataset_its_own_first(tmp_path: Path) -> None:
    home = load_study(write_study(tmp_path)).cells()
    away = load_study(write_study(tmp_path, evaluate={"transfer": True, "targets": ["icfg-pedes"]})).cells()
    assert one(home, "uit", "rstpreid").targets == ("rstpreid",)
    assert one(away, "uit", "rstpreid").targets == ("rstpreid", "cuhk-pedes", "icfg-pedes")


def changed(cell: Cell, **train: Any) -> Cell:
    return replace(cell, train=cell.train.model_copy(update=train))


def test_identity_changes_with_whatever_can_change_a_number_and_with_nothing_else(tmp_path: Path) -> None:
    cell = one(load_study(write_study(tmp_path)).cells(), "uit")
    same = identity(cell)
    others = [
        identity(changed(cell, lr=2e-5)),
        identity(changed(cell, image_size=(96, 40))),
        identity(replace(cell, method_settings={**cell.method_settings, "mask_ratio": 0.6})),
        identity(replace(cell, seed=1)),
        identity(replace(cell, dataset="rstpreid")),
        identity(replace(cell, subset=4)),
        identity(replace(cell, tie_order="released")),
        fingerprint(cell.parts("other data", CODE)),
        fingerprint(cell.parts("data", {**CODE, "train": "changed"})),
        fingerprint(cell.parts("data", CODE, "other weights")),
        fingerprint(cell.parts("data", CODE, "", "other tagger")),
    ]
    assert len({same, *others}) == 1 + len(others)
    recorded_only = replace(cell, study="renamed", targets=("rstpreid",), timeout_minutes=5.0)
    assert identity(recorded_only) == same


def test_a_file_of_weights_counts_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    cell = one(load_study(write_study(tmp_path)).cells(), "uit")
    here, there = changed(cell, pretrained="/a/clip.pt"), changed(cell, pretrained="/b/copy.pt")
    assert fingerprint(here.parts("data", CODE, "abc")) == fingerprint(there.parts("data", CODE, "abc"))


def test_a_resolved_study_is_a_study_with_the_same_cells(tmp_path: Path) -> None:
    methods = ["uit", {"name": "mild", "base": "uit", "mask_ratio": 0.3}, "baseline", "clip-zero-shot"]
    study = load_study(write_study(tmp_path, methods=methods, preset="released", subset=8))
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(study.resolved()))
    assert [identity(cell) for cell in load_study(again).cells()] == [
        identity(cell) for cell in study.cells()
    ]


def test_a_password_in_a_storage_url_is_never_written_down(tmp_path: Path) -> None:
    search = {
        "trials": 3,
        "storage": "postgresql://me:geheim@host/db",
        "space": {"lr": {"low": 1e-6, "high": 1e-4}},
    }
    resolved = load_study(write_study(tmp_path, methods=["uit"], search=search)).resolved()
    assert "geheim" not in yaml.safe_dump(resolved)
    assert "host/db" in resolved["search"]["storage"]


def test_cells_travel_to_worker_processes(tmp_path: Path) -> None:
    cells = load_study(write_study(tmp_path)).cells()
    assert pickle.loads(pickle.dumps(cells)) == cells


def test_the_command_line_narrows_a_study(tmp_path: Path) -> None:
    study = load_study(
        write_study(tmp_path), methods=["baseline", "irra"], datasets=["rstpreid"], seeds=1, subset=9
    )
    assert study.methods == ("baseline", "irra")
    assert study.datasets == ("rstpreid",)
    assert [cell.seed for cell in study.cells()] == [0, 0]
    assert {cell.subset for cell in study.cells()} == {9}


def test_narrowing_takes_search_and_overhead_along(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        search={"trials": 2, "space": {"lr": {"low": 1e-6, "high": 1e-4}}, "datasets": ["cuhk-pedes"]},
        overhead={"against": ["uit-no-tir", "baseline"]},
    )
    study = load_study(path, methods=["uit", "baseline"])
    assert study.search is not None
    assert study.overhead is not None
    assert study.overhead.against == ("baseline",)
    assert load_study(path, datasets=["rstpreid"]).search is None


def test_set_overrides_any_value_and_makes_sections_that_are_not_there(tmp_path: Path) -> None:
    study = load_study(
        write_study(tmp_path),
        [
            "train.epochs=7",
            "evaluate.transfer=true",
            "methods=[uit, baseline]",
            "select.metric=mAP",
            "seeds=[5]",
        ],
    )
    cell = study.cells()[0]
    assert (cell.train.epochs, cell.select.metric, cell.seed) == (7, "mAP", 5)
    assert cell.targets == ("cuhk-pedes", "rstpreid")
    assert study.methods == ("uit", "baseline")


def test_tuned_settings_change_their_method_on_their_dataset_alone(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path))
    search = {"trials": 2, "space": {"lr": {"low": 1e-6, "high": 1e-4}}}
    study = load_study(write_study(tmp_path, search=search))
    cells = study.cells({("uit", "cuhk-pedes", 1): {"mask_ratio": 0.55, "lr": 2e-5}})
    tuned = one(cells, "uit-tuned")
    assert (tuned.method_settings["mask_ratio"], tuned.train.lr) == (0.55, 2e-5)
    assert one(cells, "uit-tuned", "rstpreid").method_settings["mask_ratio"] == 0.7
    assert one(cells, "uit").method_settings["mask_ratio"] == 0.7


def test_the_arms_of_a_search_are_the_recipe_and_every_winner_each_under_a_name_of_its_own(
    tmp_path: Path,
) -> None:
    search = {"trials": 2, "repeats": 2, "space": {"lr": {"low": 1e-6, "high": 1e-4}}}
    methods = {"methods": ["uit", "clip-zero-shot"], "datasets": ["cuhk-pedes"], "seeds": 1}

    def labels(**changes: Any) -> list[str]:
        study = load_study(write_study(tmp_path, **methods, search={**search, **changes}))
        return [cell.method for cell in study.cells()]

    assert labels() == ["uit", "uit-tuned-1", "uit-tuned-2", "clip-zero-shot"]
    assert labels(repeats=1) == ["uit", "uit-tuned", "clip-zero-shot"]
    assert labels(arms=["tuned"], repeats=1) == ["uit", "clip-zero-shot"]
    assert labels(arms=["recipe"]) == ["uit", "clip-zero-shot"]
    with pytest.raises(StudyError, match="'uit-tuned' is what the tuned arm of 'uit' is called"):
        load_study(
            write_study(tmp_path, search=search, methods=["uit", {"name": "uit-tuned", "base": "baseline"}])
        )


def test_a_method_without_a_searched_setting_is_searched_over_those_it_has_and_this_is_said(
    tmp_path: Path,
) -> None:
    space = {"lr": {"low": 1e-6, "high": 1e-4}, "mask_ratio": {"low": 0.3, "high": 0.9}}
    study = load_study(
        write_study(tmp_path, methods=["uit", "uit-no-tir"], search={"trials": 2, "space": space})
    )
    assert study.notes == ("search.space: uit-no-tir has 1 of the 2 searched settings: no mask_ratio",)


def test_claims_are_found_from_the_project_and_from_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text("claims: []\n")
    assert load_study(write_study(tmp_path, claims="claims.yaml")).claims == tmp_path / "claims.yaml"


@pytest.mark.parametrize("path", shipped_studies().values(), ids=lambda path: path.name)
def test_every_study_of_the_project_is_valid_and_says_how_to_run_it(path: Path) -> None:
    try:
        cells = load_study(path).cells()
    except StudyError as error:
        pytest.fail(str(error))
    assert cells
    question, command = path.read_text().splitlines()[:2]
    assert question.startswith("# ")
    assert "?" in question
    assert command.startswith("# Run: ")
    assert f"python -m harness run {path.relative_to(ROOT)}" in command


def test_ablate_writes_the_variants_of_the_first_method_itself(tmp_path: Path) -> None:
    one = {"methods": ["uit"], "datasets": ["cuhk-pedes"], "seeds": 1}
    study = load_study(write_study(tmp_path, **one, ablate=["tir", "cmt"]))
    assert study.methods == ("uit", "uit-no-cmt", "uit-no-tir", "uit-no-tir-no-cmt")
    switches = {
        cell.method: (cell.method_settings["tir"], cell.method_settings["cmt"]) for cell in study.cells()
    }
    assert switches == {
        "uit": (True, True),
        "uit-no-cmt": (True, False),
        "uit-no-tir": (False, True),
        "uit-no-tir-no-cmt": (False, False),
    }
    assert len(load_study(write_study(tmp_path, **one, ablate=["tir", "cmt", "text_pruning"])).methods) == 8
    four = ["tir", "cmt", "text_pruning", "identity"]
    assert len(load_study(write_study(tmp_path, **one, ablate=four)).methods) == 8
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(yaml.safe_dump(study.resolved()))
    assert load_study(resolved).methods == study.methods


@pytest.mark.parametrize(
    ("ablate", "message"),
    [
        (["mlm"], "'mlm' is no switch that uit has on"),
        (["tir", "tir"], "must list at most 5 different switches"),
        (["tri"], "'tri' is no switch"),
    ],
)
def test_a_switch_that_cannot_be_ablated_is_refused(tmp_path: Path, ablate: list[str], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        load_study(write_study(tmp_path, methods=["uit"], ablate=ablate))
