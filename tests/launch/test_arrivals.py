"""A cell's settings, seed and options reach what trains and what evaluates it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from light_runs import light_machine, light_study
from study_files import write_study

from harness.evaluate import features
from harness.launch.cell import run_cell
from harness.launch.context import Context, InputSpec
from harness.machine.environment import Machine
from harness.store.runs import RunStore
from harness.study.cell import Cell
from harness.study.study import load_study
from harness.train import loop

TRAIN: dict[str, Any] = {"backbone": "tiny", "pretrained": "none", "image_size": [96, 32], "epochs": 1}


@pytest.fixture
def context(cuhk_root: Path) -> Context:
    return Context(Machine(data_root=cuhk_root, device="cpu"))


def cells(folder: Path, **changes: Any) -> list[Cell]:
    asked = {"methods": ["baseline"], "datasets": ["cuhk-pedes"], "seeds": 2, "train": TRAIN, **changes}
    folder.mkdir(parents=True, exist_ok=True)
    return load_study(write_study(folder, **asked)).cells()


def test_two_seeds_start_from_other_heads_and_see_other_batches(tmp_path: Path, context: Context) -> None:
    one, other = cells(tmp_path)
    heads = [context.method(cell).classifier.weight for cell in (one, other)]
    assert not torch.equal(*heads)
    orders = [
        np.concatenate(context.training_data(cell, "cpu").batches.epoch(0)).tolist() for cell in (one, other)
    ]
    assert orders[0] != orders[1]


def test_two_seeds_of_a_backbone_without_weights_start_from_other_ones(
    tmp_path: Path, context: Context
) -> None:
    one, other = (context.method(cell).clip.text_projection for cell in cells(tmp_path))
    assert not torch.equal(one, other)


def test_methods_of_a_seed_start_from_one_backbone_and_see_the_same_batches(
    tmp_path: Path, context: Context
) -> None:
    uit, baseline = cells(tmp_path, methods=["uit", "baseline"], seeds=1)
    assert torch.equal(*(context.method(cell).clip.text_projection for cell in (uit, baseline)))
    orders = [
        np.concatenate(context.training_data(cell, "cpu").batches.epoch(1)).tolist()
        for cell in (uit, baseline)
    ]
    assert orders[0] == orders[1]


@pytest.mark.parametrize(
    ("name", "value"), [("pretrained", "rendered"), ("image_size", [192, 64]), ("backbone", "ViT-B-32")]
)
def test_backbone_weights_and_image_size_reach_the_model(
    name: str, value: Any, tmp_path: Path, context: Context
) -> None:
    changed = {**TRAIN, name: value}
    if name == "backbone":
        changed["image_size"] = [384, 128]
        cell = cells(tmp_path, train=changed)[0]
        assert InputSpec.of(cell).vocab_size == 49408
        return
    here, there = cells(tmp_path / "a")[0], cells(tmp_path / "b", train=changed)[0]
    weights = [context.method(cell).clip.visual.positional_embedding for cell in (here, there)]
    assert weights[0].shape != weights[1].shape or not torch.equal(*weights)
    sizes = [context.training_data(cell, "cpu").train.image_size for cell in (here, there)]
    assert sizes == [(96, 32), tuple(changed["image_size"])]


@pytest.mark.parametrize(("name", "value"), [("sampler", "released"), ("batch_size", 6)])
def test_the_sampler_that_was_asked_for_makes_the_batches(
    name: str, value: Any, tmp_path: Path, context: Context
) -> None:
    plain, changed = cells(tmp_path / "a")[0], cells(tmp_path / "b", train={**TRAIN, name: value})[0]
    orders = [
        [batch.tolist() for batch in context.training_data(cell, "cpu").batches.epoch(0)]
        for cell in (plain, changed)
    ]
    assert orders[0] != orders[1]


def test_a_cells_recipe_seed_metric_and_tie_order_reach_its_training(
    tmp_path: Path, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []

    def telling(method: Any, data: Any, settings: Any, run: Any, **given: Any) -> None:
        seen.append((settings.lr, given["seed"], given["options"].metric, given["options"].tie_order))
        raise RuntimeError("enough")

    monkeypatch.setattr(loop, "train", telling)
    context = Context(light_machine(cuhk_root))
    changed = {"select": {"metric": "mAP"}, "evaluate": {"tie_order": "released"}}
    for cell in light_study(tmp_path, **changed).cells():
        run_cell(cell, RunStore(tmp_path / "out"), context)
    assert [(lr, metric, order) for lr, _, metric, order in seen] == [(0.01, "mAP", "released")] * 2
    assert seen[0][1] != seen[1][1]


def test_a_cells_precision_and_tie_order_reach_its_evaluation(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, evaluate = [], features.evaluate

    def telling(method: Any, data: Any, **options: Any) -> Any:
        seen.append((options["tie_order"], options["precision"], data.split.name))
        return evaluate(method, data, **options)

    monkeypatch.setattr(features, "evaluate", telling)
    asked = {"methods": ["clip-zero-shot"], "evaluate": {"tie_order": "released"}, "seeds": 1}
    (cell,) = cells(tmp_path, **asked, train={**TRAIN, "precision": "bf16"})
    assert run_cell(cell, RunStore(tmp_path / "out"), context).state == "done"
    assert set(seen) == {("released", "bf16", "test")}


def test_the_identity_names_what_tagged_the_captions(tmp_path: Path, context: Context) -> None:
    cell = cells(tmp_path)[0]
    assert context.parts(cell)["protocol"]["tagger"] == f"{context.tagger.name} {context.tagger.version}"
