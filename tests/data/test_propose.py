"""`data init`: a proposed dataset file loads; what cannot be guessed is said and nothing is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from factories import draw_person
from own_registry import without_plugins
from typer.testing import CliRunner

from harness import registry
from harness.cli.verbs import app
from harness.data.datasets import load_dataset
from harness.data.propose import propose
from harness.machine.errors import DataError


def table(folder: Path, **names: str) -> list[dict[str, Any]]:
    rows = []
    for person, split in enumerate(("train", "train", "Validation", "test")):
        draw_person(folder / f"photos/all/{person}.jpg", person, 0)
        row = {"image": f"{person}.jpg", "person": person, "text": f"person {person}", "split": split}
        rows.append({names.get(name, name): value for name, value in row.items()})
    return rows


def test_a_folder_with_a_table_gets_a_file_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_plugins(monkeypatch)
    rows = table(tmp_path / "lab", image="file_name", person="pid", text="Caption")
    with (tmp_path / "lab/list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    proposal = propose(tmp_path / "lab")
    assert proposal.path == tmp_path / "lab/lab.dataset.yaml"
    assert proposal.rows[2] == "val  person 2  2.jpg  person 2"
    dataset = load_dataset(registry.load_dataset_file(proposal.path), None)
    assert {name: split.counts()["images"] for name, split in dataset.splits.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    with pytest.raises(DataError, match="exists already"):
        propose(tmp_path / "lab")


def test_what_cannot_be_guessed_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        propose(tmp_path)
    rows = table(tmp_path, person="thing")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="no column looks like the person"):
        propose(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps([{**row, "id": 1, "image": "gone.jpg"} for row in rows]))
    with pytest.raises(DataError, match=r"no image is where its paths lead, such as \['gone\.jpg'\]"):
        propose(tmp_path)
    assert not list(tmp_path.glob("*.dataset.yaml"))


@pytest.mark.parametrize("name", ["LIST.CSV", "List.Json"])
def test_an_annotation_file_is_found_however_its_ending_is_written(tmp_path: Path, name: str) -> None:
    rows = table(tmp_path)
    with (tmp_path / name).open("w", newline="") as file:
        if name.endswith("CSV"):
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            json.dump(rows, file)
    proposal = propose(tmp_path)
    assert [row.split()[0] for row in proposal.rows] == ["train", "train", "val", "test"]


def test_the_columns_and_splits_of_the_manuals_example_are_recognised(tmp_path: Path) -> None:
    rows = table(tmp_path, image="file", person="who", split="part")
    words = {"train": "learn", "Validation": "learn", "test": "exam"}
    (tmp_path / "a.json").write_text(json.dumps([{**row, "part": words[row["part"]]} for row in rows]))
    proposal = propose(tmp_path)
    assert [row.split()[0] for row in proposal.rows] == ["train", "train", "train", "test"]
    assert proposal.unsure == ()


def test_split_words_that_nobody_knows_are_named_with_what_to_write_and_their_rows_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_plugins(monkeypatch)
    rows = [{**row, "split": "morning" if row["split"] == "train" else "noon"} for row in table(tmp_path)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    done = CliRunner().invoke(app, ["data", "init", str(tmp_path)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.partition("  ")[0] for line in lines[1:5]] == [*["skip (morning)"] * 2, *["skip (noon)"] * 2]
    assert "split 'noon' in column 'split' was not recognised, so its 2 rows are left out" in lines[6]
    assert "write `noon: train` (or val, test) under `splits:`" in lines[6]
    checked = CliRunner().invoke(app, ["data", "check", tmp_path.name, "--data-root", str(tmp_path)])
    assert checked.exit_code == 2
    assert "a record of split 'morning', which the dataset file leaves out (skip), 2 times" in checked.stderr
