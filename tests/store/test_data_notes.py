"""Whatever the loader had to say of the data stands beside every number from it, in one wording."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import stores
from stores import Truth

from harness.data.dataset import Dataset, Split
from harness.data.splits import keep_identities
from harness.store.data_notes import data_sentences
from harness.store.results_table import RESULT_COLUMNS, results_rows, write_results_table
from harness.store.runs import RunStore
from harness.trust.audit import edited_table

KNOWN = {
    "official": False,
    "notes": ["2 identities are written in two ways and taken as one."],
    "problems": ["an earlier edition of RSTPReid"],
    "captions_cut": 3,
    "skipped": 1,
}


def test_unofficial_counts_guesses_cut_captions_and_images_left_out_are_each_a_sentence() -> None:
    said = data_sentences("rstpreid", KNOWN)
    assert said[0] == "the counts are not the official ones."
    assert set(KNOWN["notes"] + KNOWN["problems"]) < set(said)  # type: ignore[operator]
    assert "3 captions longer than the text encoder reads, cut at its length." in said
    assert "1 image missing or unreadable, left out." in said


def test_a_subset_is_said_instead_of_its_counts() -> None:
    assert data_sentences("rstpreid", {"official": False, "subset": 16}) == ["a subset, 16 people per split."]


@pytest.mark.parametrize(
    "note", ["2 identities are written in two ways and taken as one.", "25 captions are in two languages"]
)
def test_a_subset_is_said_though_another_remark_has_the_same_number(note: str) -> None:
    said = data_sentences("rstpreid", {"official": False, "subset": 2, "notes": [note]})
    assert said == ["a subset, 2 people per split.", note]


def test_a_subset_that_the_loader_speaks_of_is_said_once() -> None:
    people, captions = np.arange(4), ("a",) * 4
    paths = tuple(Path(f"{person}.jpg") for person in people)
    split = Split("test", paths, ("a", "b", "c", "d"), people, captions, people)
    whole = Dataset("rstpreid", Path(), {"test": split}, official=True, fingerprint="")
    known = {**keep_identities(whole, 2).provenance(), "subset": 2}
    assert data_sentences("rstpreid", known) == ["rstpreid: only 2 identities per split"]


def test_images_left_out_are_said_though_captions_were_left_out_too() -> None:
    problem = "an empty caption was left out; its image stays (record 7: 1 of 2 empty)"
    said = data_sentences("rstpreid", {"official": True, "problems": [problem], "skipped": 3})
    assert said == [problem, "3 images missing or unreadable, left out."]


def test_of_data_without_remarks_nothing_is_said() -> None:
    assert data_sentences("rendered-plaza", {"official": False, "captions_cut": 0, "skipped": 0}) == []


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return stores.write(tmp_path / "out", Truth({"uit": 60.0, "baseline": 55.0}, seeds=1))


def test_every_row_of_results_csv_says_what_the_loader_said_of_its_target(store: RunStore) -> None:
    for run in store.cells():
        run.write_results([{**row, "data": KNOWN} for row in run.results])
        run.finish()
    scored = [row for row in results_rows(store) if row["R1"]]
    assert scored
    for row in scored:
        assert "2 identities are written in two ways" in row["data"]
        assert "\n" not in row["data"]


def test_a_table_without_the_column_of_data_was_written_by_an_older_version_and_not_edited(
    store: RunStore,
) -> None:
    path = write_results_table(store)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    older = [name for name in RESULT_COLUMNS if name != "data"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, older, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    assert list(edited_table(store)) == []
