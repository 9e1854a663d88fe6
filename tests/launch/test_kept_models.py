"""A finished cell keeps one model and every number; what else it shall keep is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from factories import write_rstp
from light_runs import light_machine, light_study, run_light

from harness.launch.context import Context
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.trust.verify import verify


def ran(folder: Path, root: Path, **changes: Any) -> CellRun:
    """The one cell of a study of the light method."""
    study = light_study(folder, **{"seeds": 1, "keep": [], **changes})
    (run,) = run_light(study, folder / "out", Context(light_machine(root))).cells()
    assert run.status.state == "done"
    return run


def left(run: CellRun) -> tuple[list[str], int]:
    """The models on the disk, and the number of checkpoints."""
    models = sorted(path.stem.removeprefix("model-") for path in run.directory.glob("model-*"))
    return models, len(list((run.directory / "checkpoint").glob("*")))


def scores(run: CellRun) -> dict[tuple[str, str, str], tuple[float, ...]]:
    return {
        (row["target"], row["selection"], row["direction"]): (row["R1"], row["mAP"], row["mINP"])
        for row in run.results
    }


@pytest.mark.parametrize(
    ("changes", "models", "checkpoints"),
    [
        ({}, ["val"], 0),
        ({"select": {"split": "last"}}, ["last"], 0),
        ({"preset": "released", "train": None}, ["test"], 0),
        ({"keep": ["last", "checkpoint"]}, ["last", "val"], 1),
        ({"keep": ["val", "last", "test", "checkpoint"]}, ["last", "test", "val"], 1),
    ],
)
def test_a_finished_cell_keeps_the_selected_model_and_what_was_asked_for(
    cuhk_root: Path, tmp_path: Path, changes: dict[str, Any], models: list[str], checkpoints: int
) -> None:
    if "train" in changes:
        recipe = {"backbone": "tiny", "pretrained": "none", "image_size": [96, 32], "epochs": 2}
        changes = {**changes, "train": {**recipe, "batch_size": 8, "precision": "fp32", "warmup_epochs": 0}}
    assert left(ran(tmp_path, cuhk_root, **changes)) == (models, checkpoints)


def test_every_score_and_record_stays_whatever_models_are_kept(cuhk_root: Path, tmp_path: Path) -> None:
    few = ran(tmp_path / "few", cuhk_root)
    everything = ran(tmp_path / "all", cuhk_root, keep=["val", "last", "test", "checkpoint"])
    assert scores(few) == scores(everything)
    assert len(scores(few)) == 3 * 2
    assert few.name == everything.name
    for key in scores(few):
        pd.testing.assert_frame_equal(few.records(*key), everything.records(*key))


def test_a_finished_cell_is_not_touched_again_for_lack_of_the_models_it_did_not_keep(
    cuhk_root: Path, tmp_path: Path
) -> None:
    run = ran(tmp_path, cuhk_root)
    before = {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")}
    again = ran(tmp_path, cuhk_root)
    assert {path: path.stat().st_mtime_ns for path in again.directory.rglob("*")} == before


def test_a_target_added_later_is_evaluated_by_the_kept_model_without_training_again(
    cuhk_root: Path, tmp_path: Path
) -> None:
    write_rstp(cuhk_root)
    run = ran(tmp_path, cuhk_root)
    home, trained = scores(run), (run.directory / "history.jsonl").stat().st_mtime_ns
    again = ran(tmp_path, cuhk_root, evaluate={"targets": ["rstpreid"]})
    assert (again.directory / "history.jsonl").stat().st_mtime_ns == trained
    added = {key[:2] for key in scores(again)} - {key[:2] for key in home}
    assert added == {("rstpreid", "val")}
    assert {key: value for key, value in scores(again).items() if key[0] == "cuhk-pedes"} == home
    at_once = ran(tmp_path / "at-once", cuhk_root, evaluate={"targets": ["rstpreid"]})
    assert {key[1] for key in scores(at_once) if key[0] == "rstpreid"} == {"val", "last", "test"}


@pytest.mark.parametrize("selection", ["val", "last"])
def test_an_altered_record_is_made_again_even_where_its_model_was_not_kept(
    cuhk_root: Path, tmp_path: Path, selection: str
) -> None:
    run = ran(tmp_path, cuhk_root)
    before, kept = scores(run), run.records("cuhk-pedes", selection, "t2i")
    path = run.records_path("cuhk-pedes", selection, "t2i")
    kept.assign(rank=1).to_parquet(path, index=False)
    again = ran(tmp_path, cuhk_root)
    assert scores(again) == before
    pd.testing.assert_frame_equal(again.records("cuhk-pedes", selection, "t2i"), kept)
    assert left(again) == (["val"], 0)


@pytest.mark.parametrize("what", ["results.json", "model-val.safetensors", "history.jsonl"])
def test_what_is_gone_of_a_finished_cell_comes_back_the_same(
    cuhk_root: Path, tmp_path: Path, what: str
) -> None:
    run = ran(tmp_path, cuhk_root)
    before, weights = scores(run), run.load_model("val")
    (run.directory / what).unlink()
    again = ran(tmp_path, cuhk_root)
    assert scores(again) == before
    assert all(bool((again.load_model("val")[name] == value).all()) for name, value in weights.items())


@pytest.mark.parametrize("evaluate_only", [False, True])
def test_a_store_of_selected_models_alone_is_verified(
    cuhk_root: Path, tmp_path: Path, evaluate_only: bool
) -> None:
    run = ran(tmp_path, cuhk_root)
    store = RunStore(tmp_path / "out")
    machine = light_machine(cuhk_root)
    (certificate,) = verify([store.directory], machine, cells=1, evaluate_only=evaluate_only)
    assert certificate.differences == []
    assert certificate.verdict == ("evaluations reproduced" if evaluate_only else "reproduced")
    run.model_path("val").unlink()
    (certificate,) = verify([store.directory], machine, cells=0)
    assert f"{run.name}: model-val.safetensors is gone" in certificate.differences
