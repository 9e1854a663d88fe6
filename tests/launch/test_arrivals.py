"""A cell's settings, seed and options reach what trains and what evaluates it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from light_runs import light_machine, light_study
from study_files import write_study

from harness.data.captions import cleaned
from harness.evaluate import features
from harness.launch.cell import run_cell
from harness.launch.context import Context, InputSpec
from harness.launch.models import open_model
from harness.machine.environment import Machine
from harness.store.runs import RunStore
from harness.study.cell import Cell
from harness.study.study import load_study
from harness.train import loop
from methods.backbones import IMAGENET_MEAN
from methods.cost import build_on_meta, parameters
from methods.open_clip_export import export_open_clip

RIVALS = Path(os.environ.get("RIVALS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden" / "rivals")
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


def test_the_identity_names_the_pretrained_weights_by_their_content(tmp_path: Path, context: Context) -> None:
    file = tmp_path / "start.pt"
    file.write_bytes(b"weights")
    (cell,) = cells(tmp_path, seeds=1, train={**TRAIN, "pretrained": "none"})
    cell = replace(cell, train=cell.train.model_copy(update={"pretrained": str(file)}))
    digest = hashlib.sha256(b"weights").hexdigest()
    assert context.parts(cell)["settings"]["pretrained"] == f"sha256:{digest}"


def test_the_text_length_reaches_tokens_model_cost_and_the_opened_model(
    tmp_path: Path, context: Context
) -> None:
    (cell,) = cells(tmp_path, seeds=1, train={**TRAIN, "text_length": 64})
    assert InputSpec.of(cell).context_length == 64
    test = context.split("cuhk-pedes", InputSpec.of(cell), "test", "cpu")
    assert test.batch(np.arange(1)).captions.shape == (1, 64)
    method = context.method(cell)
    assert method.clip.positional_embedding.shape[0] == 64
    meta = build_on_meta("baseline", "tiny", (96, 32), text_length=64)
    assert parameters(method.clip) == parameters(meta.clip)
    store = RunStore(tmp_path / "runs")
    assert run_cell(cell, store, context).state == "done"
    (run,) = store.cells()
    opened = open_model(run.directory)
    assert opened.input_spec().context_length == 64
    folder = export_open_clip(opened.backbone, tmp_path / "exported")
    assert (
        json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]["context_length"]
        == 64
    )


def test_a_datasets_text_length_is_its_cells_unless_the_recipe_says_another(tmp_path: Path) -> None:
    file = tmp_path / "long-texts.dataset.yaml"
    file.write_text("like: cuhk-pedes\ntext_length: 96\n")
    (stated,) = cells(tmp_path, datasets=[str(file)], seeds=1)
    (chosen,) = cells(tmp_path, datasets=[str(file)], seeds=1, train={**TRAIN, "text_length": 32})
    (other,) = cells(tmp_path, seeds=1)
    assert [cell.train.text_length for cell in (stated, chosen, other)] == [96, 32, None]


def test_normalisation_cleaning_resizing_and_dropout_reach_the_inputs_and_the_model(
    tmp_path: Path, context: Context
) -> None:
    (plain,) = cells(tmp_path, seeds=1)
    settings = {"normalisation": "imagenet", "test_resize": "bicubic", "caption_cleaning": True}
    (cell,) = cells(tmp_path, seeds=1, train={**TRAIN, **settings, "text_dropout": 0.5})
    own, usual = (
        {name: context.split("cuhk-pedes", InputSpec.of(each), name, "cpu") for name in ("train", "test")}
        for each in (cell, plain)
    )
    assert own["test"].mean == context.method(cell).clip.config.mean == IMAGENET_MEAN
    assert torch.equal(own["train"]._pixels, usual["train"]._pixels)
    assert not torch.equal(own["test"]._pixels, usual["test"]._pixels)
    captions = context.dataset("cuhk-pedes", None).splits["test"].captions
    tokens = context.method(cell).clip.tokenizer([cleaned(captions[0])])
    assert torch.equal(own["test"].batch(np.arange(1)).captions, tokens)
    method, ids = context.method(cell), tokens
    once, again = (method.train().encode_text(ids) for _ in range(2))
    assert not torch.equal(once, again)
    assert torch.equal(method.eval().encode_text(ids), context.method(plain).eval().encode_text(ids))


def test_captions_are_cleaned_as_tbps_clips_released_code_cleans_them() -> None:
    stored = json.loads((RIVALS / "tbps-clip" / "expected.json").read_text())
    for caption, expected in stored["caption_cleaning"].items():
        assert cleaned(caption) == expected
    words = stored["caption_cleaning_truncates_to_words"]
    assert cleaned("word " * 200) == " ".join(["word"] * words)


def test_two_seeds_move_other_captions_and_every_method_of_a_seed_the_same(
    tmp_path: Path, context: Context
) -> None:
    noisy = cells(tmp_path, methods=["baseline", "uit"], data={"caption_noise": 0.5})
    moved: dict[int, list[list[bool]]] = {}
    for cell in noisy:
        found = context.training_data(cell, "cpu").moved
        assert found is not None
        moved.setdefault(cell.seed, []).append(found.tolist())
    (one, again), (other, _) = moved.values()
    assert one == again != other


def test_the_model_of_each_selection_has_that_selections_weights(tmp_path: Path, context: Context) -> None:
    cell = cells(tmp_path)[0]
    run, method = context.open_run(RunStore(tmp_path / "out"), cell), context.method(cell)
    for epoch, selection in enumerate(("val", "last", "test"), 1):
        weights = {name: torch.full_like(weight, epoch) for name, weight in method.state_dict().items()}
        run.save_model(selection, weights, epoch)
    for epoch, selection in enumerate(("val", "last", "test"), 1):
        assert (context.trained_method(cell, run, selection).classifier.weight == epoch).all()
