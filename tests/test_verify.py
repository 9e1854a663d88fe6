"""A certificate says what was found: the same digits where nothing was touched, what differs elsewhere."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from factories import write_cuhk
from light_runs import PLUGIN, light_machine, light_study, run_light
from typer.testing import CliRunner

from harness import comparing
from harness.cli import app
from harness.comparing import Expectation
from harness.context import Context
from harness.store import CellRun, RunStore
from harness.verify import Certificate, verify
from reports.provenance import certificate as shown


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("data")
    write_cuhk(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield root


@pytest.fixture(scope="module")
def finished(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    return run_light(light_study(folder), folder / "out", Context(light_machine(data_root))).directory


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> RunStore:
    shutil.copytree(finished, tmp_path / "out")
    return RunStore(tmp_path / "out")


def verified(store: RunStore, data_root: Path, **options: int | bool) -> Certificate:
    return verify([store.directory], light_machine(data_root), **options)[0]  # type: ignore[arg-type]


def edit_records(run: CellRun, column: str, query: int, value: object, *, resealed: bool = False) -> None:
    """Change one value of one query by hand; a careful forger also renews the seal."""
    path = run.directory / "records" / "cuhk-pedes.val.t2i.parquet"
    frame = pd.read_parquet(path)
    values = frame[column].to_list()
    values[query] = value
    frame[column] = pd.Series(values, dtype=frame[column].dtype)
    frame.to_parquet(path, index=False)
    if resealed:
        rows = run.results
        for row in rows:
            if comparing.place_of(row) == ("cuhk-pedes", "val", "t2i"):
                row["records"] = run.seal("cuhk-pedes", "val", "t2i")
        run.write_results(rows)


def test_an_untouched_cell_trains_again_to_the_same_bits(store: RunStore, data_root: Path) -> None:
    certificate = verified(store, data_root, cells=1)
    assert certificate.differences == []
    (checked,) = certificate.checked
    assert checked.expected.exact, checked.expected.basis
    assert checked.compared == 3 * (12 + 6)
    kept = json.loads((store.directory / "certificate.json").read_text())
    assert (kept["verdict"], kept["finished"], kept["cells"][0]["cell"]) == ("reproduced", 2, checked.cell)


def test_stored_models_evaluate_again_to_the_same_records(store: RunStore, data_root: Path) -> None:
    certificate = verified(store, data_root, evaluate_only=True)
    assert certificate.differences == []
    assert {one.cell for one in certificate.checked} == {run.name for run in store.cells()}


@pytest.mark.parametrize(("column", "value"), [("rank", 5), ("ap", 0.123), ("person_id", "99")])
def test_one_edited_record_is_caught_whichever_cells_are_drawn(
    store: RunStore, data_root: Path, column: str, value: object
) -> None:
    run = store.cells()[1]
    edit_records(run, column, 3, value)
    certificate = verified(store, data_root, cells=0)
    assert any(
        run.name in text and "not the ones that were written" in text for text in certificate.differences
    )


def test_an_edited_record_under_a_new_seal_is_caught_by_its_scores(store: RunStore, data_root: Path) -> None:
    edit_records(store.cells()[0], "ap", 0, 0.123, resealed=True)
    (found,) = verified(store, data_root, cells=0).differences
    assert "mAP is stored as" in found


def test_records_and_scores_forged_together_are_caught_by_evaluating_again(
    store: RunStore, data_root: Path
) -> None:
    run = store.cells()[0]
    frame = run.records("cuhk-pedes", "val", "t2i")
    forged = frame["top_score"].iloc[2] + 0.5
    edit_records(run, "top_score", 2, forged, resealed=True)
    found = verified(store, data_root, cells=2, evaluate_only=True).differences
    assert len(found) == 1
    assert found[0].startswith(f"{run.name}: cuhk-pedes t2i, selected on val: query 2: top_score was")


def test_an_edited_score_in_the_table_is_caught(store: RunStore, data_root: Path) -> None:
    path = store.directory / "results.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    rows[3][rows[0].index("R1")] = "99.0000"
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    assert verified(store, data_root, cells=0).differences == [
        "results.csv: line 4 is not what the store holds"
    ]


def test_a_swapped_model_is_named(store: RunStore, data_root: Path) -> None:
    first, second = store.cells()
    for selection in ("val", "last", "test"):
        first.model_path(selection).unlink()
        shutil.copyfile(second.model_path(selection), first.model_path(selection))
    found = verified(store, data_root, evaluate_only=True).differences
    assert found
    assert all(text.startswith(first.name) for text in found)


def test_an_edited_history_is_caught_by_training_again(store: RunStore, data_root: Path) -> None:
    for run in store.cells():
        path = run.directory / "history.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[1]["losses"]["apart"] += 1e-6
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found,) = verified(store, data_root, cells=1).differences
    assert "epoch 2: losses.apart was" in found


def test_a_store_without_finished_cells_is_refused(tmp_path: Path, data_root: Path) -> None:
    (tmp_path / "study.yaml").write_text("name: empty\n")
    done = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert done.exit_code == 2
    assert "no finished cell" in done.output


def test_the_verb_exits_4_and_names_what_differs(store: RunStore, data_root: Path) -> None:
    edit_records(store.cells()[0], "rank", 1, 6)
    arguments = ["verify", str(store.directory), "--cells", "0", "--plugin", str(PLUGIN)]
    done = CliRunner().invoke(app, [*arguments, "--data-root", str(data_root)])
    assert done.exit_code == 4
    assert f"differs: {store.cells()[0].name}: cuhk-pedes t2i, selected on val" in done.output


def test_the_report_shows_the_certificate_and_that_it_is_out_of_date(
    store: RunStore, data_root: Path
) -> None:
    assert "has not been verified" in shown(store.directory)[0].text  # type: ignore[union-attr]
    verified(store, data_root, cells=0)
    assert "everything is the same" in shown(store.directory)[0].text  # type: ignore[union-attr]
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
    assert list(comparing.records(then, frame([1, 3, 3], [0.50005, 0.6, 0.7]), "here", loose)) == []
    (moved,) = comparing.records(then, frame([1, 2, 3], [0.5, 0.601, 0.7]), "here", loose)
    assert "query 1: top_score" in moved
    (ranks,) = comparing.records(then, frame([2, 3, 3], [0.5, 0.6, 0.7]), "here", loose)
    assert "(2 of 3 queries)" in ranks


def test_a_run_on_other_hardware_is_not_asked_for_the_same_bits(store: RunStore, data_root: Path) -> None:
    for run in store.cells():
        was = run.description["recorded"]["trained_on"]
        run.describe(trained_on={**was, "processor": "another processor"})
    (checked,) = verified(store, data_root, cells=1).checked
    assert not checked.expected.exact
    assert "another processor" in checked.expected.basis
    assert "standard errors" in checked.expected.basis
