"""A certificate says what was found: the same digits where nothing was touched, what differs elsewhere."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from light_runs import PLUGIN, light_machine, light_study, run_light
from typer.testing import CliRunner

from harness.cli.verbs import app
from harness.launch.context import Context
from harness.machine import files
from harness.store import results_table
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.store.seals import SEAL
from harness.study.cell import Cell
from harness.trust import run_comparison
from harness.trust.certificate import Certificate
from harness.trust.run_comparison import Expectation
from harness.trust.verify import pick, verify
from reports.sections.provenance import certificate as shown


@pytest.fixture(scope="module")
def finished(cuhk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    return run_light(light_study(folder), folder / "out", Context(light_machine(cuhk_root))).directory


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> RunStore:
    shutil.copytree(finished, tmp_path / "out")
    return RunStore(tmp_path / "out")


def verified(store: RunStore, cuhk_root: Path, **options: int | bool) -> Certificate:
    return verify([store.directory], light_machine(cuhk_root), **options)[0]  # type: ignore[arg-type]


def edit_records(
    run: CellRun, column: str, query: int, value: object, *, with_new_checksum: bool = False
) -> None:
    """Change one value of one query by hand; a careful forger also renews the checksum."""
    path = run.directory / "records" / "cuhk-pedes.val.t2i.parquet"
    frame = pd.read_parquet(path)
    values = frame[column].to_list()
    values[query] = value
    frame[column] = pd.Series(values, dtype=frame[column].dtype)
    frame.to_parquet(path, index=False)
    if with_new_checksum:
        run.finish()


def test_an_untouched_cell_trains_again_to_the_same_bits(store: RunStore, cuhk_root: Path) -> None:
    certificate = verified(store, cuhk_root, cells=1)
    assert certificate.differences == []
    (checked,) = certificate.checked
    assert checked.expected.exact, checked.expected.basis
    assert checked.compared == 3 * (12 + 6)
    kept = json.loads((store.directory / "certificate.json").read_text())
    assert (kept["verdict"], kept["finished"], kept["cells"][0]["cell"]) == ("reproduced", 2, checked.cell)


def test_stored_models_evaluate_again_to_the_same_records(store: RunStore, cuhk_root: Path) -> None:
    certificate = verified(store, cuhk_root, evaluate_only=True)
    assert certificate.differences == []
    assert {each.cell for each in certificate.checked} == {run.name for run in store.cells()}


@pytest.mark.parametrize(("column", "value"), [("rank", 5), ("ap", 0.123), ("person_id", "99")])
def test_one_edited_record_is_caught_whichever_cells_are_drawn(
    store: RunStore, cuhk_root: Path, column: str, value: object
) -> None:
    run = store.cells()[1]
    edit_records(run, column, 3, value)
    certificate = verified(store, cuhk_root, cells=0)
    assert any(run.name in text and "not as it was" in text for text in certificate.differences)


def test_an_edited_record_under_a_new_checksum_is_caught_by_its_scores(
    store: RunStore, cuhk_root: Path
) -> None:
    edit_records(store.cells()[0], "ap", 0, 0.123, with_new_checksum=True)
    (found,) = verified(store, cuhk_root, cells=0).differences
    assert "mAP is stored as" in found


def test_records_and_scores_forged_together_are_caught_by_evaluating_again(
    store: RunStore, cuhk_root: Path
) -> None:
    run = store.cells()[0]
    frame = run.records("cuhk-pedes", "val", "t2i")
    forged = frame["top_score"].iloc[2] + 0.5
    edit_records(run, "top_score", 2, forged, with_new_checksum=True)
    found = verified(store, cuhk_root, cells=2, evaluate_only=True).differences
    assert len(found) == 1
    assert found[0].startswith(f"{run.name}: cuhk-pedes t2i, selected on val: query 2: top_score was")


def edited_table(store: RunStore, edit: Callable[[list[list[str]]], None]) -> None:
    path = store.directory / "results.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    edit(rows)
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")


def test_an_edited_row_of_the_table_is_caught(store: RunStore, cuhk_root: Path) -> None:
    def edit(rows: list[list[str]]) -> None:
        rows[3][rows[0].index("R1")] = "99.0000"

    edited_table(store, edit)
    found = verified(store, cuhk_root, cells=0).differences
    assert "results.csv: line 4 is not what the store holds" in found


def test_a_row_that_was_taken_out_of_the_table_is_missed(store: RunStore, cuhk_root: Path) -> None:
    edited_table(store, lambda rows: rows.pop(3))
    assert verified(store, cuhk_root, cells=0).differences == [
        f"results.csv: lacks rows of {store.cells()[0].name}"
    ]


def test_a_table_written_before_a_cell_finished_is_out_of_date_and_not_edited(
    store: RunStore, cuhk_root: Path
) -> None:
    edited_table(store, lambda rows: rows.pop(3))
    os.utime(store.directory / "results.csv", (1, 1))
    assert verified(store, cuhk_root, cells=0).differences == []


def test_a_cell_that_finishes_while_the_table_is_written_is_not_missed(
    store: RunStore, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.cells()[0]
    rows = results_table.results_rows

    def slowly(store: RunStore) -> list[dict[str, Any]]:
        found = rows(store)
        run.finish()
        return found

    run.set_status("running")
    monkeypatch.setattr(results_table, "results_rows", slowly)
    results_table.write_results_table(store)
    monkeypatch.undo()
    assert "lacks rows" not in str(verified(store, cuhk_root, cells=0).differences)


def test_a_swapped_model_is_named(store: RunStore, cuhk_root: Path) -> None:
    first, second = store.cells()
    for selection in ("val", "last", "test"):
        first.model_path(selection).unlink()
        shutil.copyfile(second.model_path(selection), first.model_path(selection))
    found = verified(store, cuhk_root, evaluate_only=True).differences
    assert found
    assert all(text.startswith(first.name) for text in found)


def edit_loss(run: CellRun) -> None:
    """Change a loss of the second epoch by hand, with a checksum that fits."""
    lines = run.history
    lines[1]["losses"]["apart"] += 1e-6
    (run.directory / "history.jsonl").write_text("".join(map(files.json_line, lines)))


def edit_score(run: CellRun) -> None:
    path = run.directory / "results.json"
    rows = json.loads(path.read_text())
    rows[0]["R1"] += 0.5
    path.write_text(json.dumps(rows))


def edit_gallery(run: CellRun) -> None:
    path = run.directory / "results.json"
    path.write_text(path.read_text().replace('"gallery": 6', '"gallery": 7'))


def edit_weight(run: CellRun) -> None:
    """Change one weight, with a label that fits."""
    weights = run.load_model("val")
    weights["image.bias"][0] += 1e-3
    epoch = run.model_epoch("val")
    assert epoch is not None
    run.save_model("val", weights, epoch)


def edit_rank(run: CellRun) -> None:
    edit_records(run, "rank", 1, 6)


def edit_setting(run: CellRun) -> None:
    path = run.directory / "cell.json"
    path.write_text(path.read_text().replace('"lr": 0.01', '"lr": 0.02', 1))


NAMED = {
    edit_loss: "history.jsonl is not as it was",
    edit_score: "results.json is not as it was",
    edit_gallery: "results.json is not as it was",
    edit_weight: "model-val.safetensors is not as it was",
    edit_rank: "records/cuhk-pedes.val.t2i.parquet is not as it was",
    edit_setting: "cell.json is not as it was written",
}


@pytest.mark.parametrize("again", [[], ["--evaluate-only"]], ids=["train", "evaluate only"])
@pytest.mark.parametrize("edit", NAMED)
def test_one_edit_by_hand_exits_4_and_is_named_whichever_way_a_store_is_verified(
    store: RunStore, cuhk_root: Path, edit: Any, again: list[str]
) -> None:
    run = store.cells()[1]
    edit(run)
    arguments = ["verify", str(store.directory), "--cells", "0", "--plugin", str(PLUGIN), *again]
    done = CliRunner().invoke(app, [*arguments, "--data-root", str(cuhk_root)])
    assert done.exit_code == 4
    assert f"differs: {run.name}: {NAMED[edit]}" in done.output


CAUGHT = {
    edit_loss: "epoch 2: losses.apart was",
    edit_gallery: "gallery was 7, is 6",
    edit_weight: "its weights are not the ones that training gives now",
}


@pytest.mark.parametrize("edit", CAUGHT)
def test_an_edit_with_new_checksums_is_caught_by_training_again(
    store: RunStore, cuhk_root: Path, edit: Any
) -> None:
    for run in store.cells():
        edit(run)
        run.finish()
    found = verified(store, cuhk_root, cells=1).differences
    assert any(CAUGHT[edit] in text for text in found), found


def without_checksums(run: CellRun, *names: str) -> None:
    """Take these checksums out of the status, or all of them."""
    path = run.directory / "status.json"
    status = json.loads(path.read_text())
    if names:
        status["checksums"] = {name: kept for name, kept in status["checksums"].items() if name not in names}
    else:
        del status["checksums"]
    status.pop(SEAL, None)  # as an older version left it
    path.write_text(json.dumps(status))


@pytest.mark.parametrize("name", ["results.json", "history.jsonl", "model-last.safetensors"])
def test_a_file_that_is_gone_with_its_checksum_is_missed(store: RunStore, cuhk_root: Path, name: str) -> None:
    run = store.cells()[0]
    without_checksums(run, name)
    assert f"{run.name}: {name} has no checksum" in verified(store, cuhk_root, cells=0).differences
    (run.directory / name).unlink()
    assert f"{run.name}: {name} is gone" in verified(store, cuhk_root, cells=0).differences


def test_a_cell_without_any_checksums_is_named_and_its_models_are_evaluated_again(
    store: RunStore, cuhk_root: Path
) -> None:
    run = store.cells()[0]
    without_checksums(run)
    certificate = verified(store, cuhk_root, cells=0)
    (checked,) = certificate.checked
    assert (checked.cell, checked.has_checksums, certificate.differences) == (run.name, False, [])
    edit_records(run, "top_score", 2, run.records("cuhk-pedes", "val", "t2i")["top_score"].iloc[2] + 0.5)
    (found,) = verified(store, cuhk_root, cells=0).differences
    assert found.startswith(f"{run.name}: cuhk-pedes t2i, selected on val: query 2: top_score was")


def cells_of(*groups: tuple[str, bool, int]) -> list[tuple[CellRun, Cell]]:
    """So many cells of each method, which trains or not."""
    plan = light_study(Path(tempfile.mkdtemp())).cells()[0]
    cells = [
        replace(plan, method=method, trains=trains, seed=seed)
        for method, trains, count in groups
        for seed in range(count)
    ]
    return [(CellRun(Path("/nowhere") / f"{cell.method}.{cell.seed}"), cell) for cell in cells]


@pytest.mark.parametrize("seed", range(20))
def test_trained_cells_are_drawn_first_and_of_as_many_methods_as_possible(seed: int) -> None:
    finished = cells_of(("zero", False, 6), ("one", True, 5), ("two", True, 3), ("three", True, 2))
    drawn = [run.name for run in pick(finished, 12, seed)]
    methods = [name.partition(".")[0] for name in drawn]
    assert set(methods[:3]) == {"one", "two", "three"}
    assert sorted(methods[:10]) == ["one"] * 5 + ["three"] * 2 + ["two"] * 3
    assert set(methods[10:]) == {"zero"}
    assert drawn == [run.name for run in pick(finished, 12, seed)]


def test_which_seed_of_a_method_is_drawn_changes_with_the_draw() -> None:
    finished = cells_of(("one", True, 5))
    assert len({pick(finished, 1, seed)[0].name for seed in range(20)}) > 1


def test_the_certificate_and_the_page_count_trained_and_untrained_cells_apart(
    cuhk_root: Path, tmp_path: Path
) -> None:
    study = light_study(tmp_path, methods=["light", "clip-zero-shot"], seeds=2)
    store = run_light(study, tmp_path / "out", Context(light_machine(cuhk_root)))
    wanted = "1 of 2 trained cells trained again, 1 not; 0 of 2 untrained cells evaluated again, 2 not"
    certificate = verified(store, cuhk_root, cells=1)
    assert (certificate.verdict, certificate.coverage()) == ("reproduced", wanted)
    assert wanted in shown(store.directory)[0].text  # type: ignore[union-attr]
    nothing = verified(store, cuhk_root, cells=0)
    assert nothing.verdict == "nothing trained was run again"
    assert nothing.coverage().startswith("0 of 2 trained cells trained again, 2 not")
    evaluated = verified(store, cuhk_root, cells=3, evaluate_only=True)
    assert evaluated.verdict == "evaluations reproduced"
    assert evaluated.coverage() == (
        "0 of 2 trained cells trained again, 2 evaluated again, 0 not; "
        "1 of 2 untrained cells evaluated again, 1 not"
    )


def test_a_store_without_finished_cells_is_refused(tmp_path: Path, cuhk_root: Path) -> None:
    (tmp_path / "study.yaml").write_text("name: empty\n")
    done = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert done.exit_code == 2
    assert "no finished cell" in done.output


def test_the_report_shows_the_certificate_and_that_it_is_out_of_date(
    store: RunStore, cuhk_root: Path
) -> None:
    assert "has not been verified" in shown(store.directory)[0].text  # type: ignore[union-attr]
    verified(store, cuhk_root, cells=0)
    assert "no difference was found" in shown(store.directory)[0].text  # type: ignore[union-attr]
    store.cells()[0].fail("error", "lost")
    assert "changed since" in shown(store.directory)[0].text  # type: ignore[union-attr]
    (store.directory / "certificate.json").write_text("{")
    assert "damaged" in shown(store.directory)[0].text  # type: ignore[union-attr]


def frame(ranks: list[int], scores: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "query": range(len(ranks)),
            "person_id": "1",
            "rank": pd.Series(ranks, dtype="Int64"),
            "positives": 1,
            "top_score": list(pd.Series(scores).to_numpy().reshape(-1, 1)),
        }
    )


def test_elsewhere_rounding_is_allowed_and_nothing_more() -> None:
    loose = Expectation(False, "another processor", cosine=1e-4, moved_ranks=0.02)
    then = frame([1, 2, 3], [0.5, 0.6, 0.7])
    assert list(run_comparison.records(then, frame([1, 3, 3], [0.50005, 0.6, 0.7]), "here", loose)) == []
    (moved,) = run_comparison.records(then, frame([1, 2, 3], [0.5, 0.601, 0.7]), "here", loose)
    assert "query 1: top_score" in moved
    (ranks,) = run_comparison.records(then, frame([2, 3, 3], [0.5, 0.6, 0.7]), "here", loose)
    assert "(2 of 3 queries)" in ranks


def test_a_run_on_other_hardware_is_not_asked_for_the_same_bits(store: RunStore, cuhk_root: Path) -> None:
    for run in store.cells():
        was = run.description["recorded"]["trained_on"]
        run.describe(trained_on={**was, "processor": "another processor"})
    (checked,) = verified(store, cuhk_root, cells=1).checked
    assert not checked.expected.exact
    assert "another processor" in checked.expected.basis
    assert "standard errors" in checked.expected.basis
