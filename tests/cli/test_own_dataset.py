"""What is said of one's own dataset: nothing of published counts, and of a subset only where one was cut."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from factories import draw_person
from own_registry import without_plugins
from study_files import write_study
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from harness.data.propose import propose


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three people in each split, described by `data init`."""
    without_plugins(monkeypatch)
    folder = tmp_path / "lab"
    rows = []
    for person, split in enumerate(3 * ("train", "val", "test")):
        draw_person(folder / f"photos/{person}.jpg", person, 0)
        rows.append((f"{person}.jpg", person, f"person number {person}", split))
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "person", "text", "split"), *rows])
    propose(folder)
    return tmp_path


def test_data_check_of_an_own_dataset_does_not_miss_published_counts(lab: Path) -> None:
    done = invoke("data", "check", "lab", "--data-root", lab)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "lab: your own dataset: no published counts"
    embedded = invoke("data", "check", "rendered-plaza").stdout.splitlines()[0]
    assert embedded == "rendered-plaza: the published counts"


@pytest.mark.parametrize(("subset", "said"), [(8, False), (2, True)])
def test_a_subset_is_noted_only_where_a_split_was_cut(lab: Path, subset: int, said: bool) -> None:
    study = write_study(lab, methods=["baseline"], datasets=["lab"], seeds=1, subset=subset)
    done = invoke("check", study, "--data-root", lab, "--device", "cpu", "--out", lab / "out")
    assert done.exit_code == 0, done.output
    assert (f"only {subset} identities per split" in done.stdout) == said


def test_dataset_files_are_found_by_the_variable_as_by_the_option(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = invoke("data", "check", "lab")
    assert absent.exit_code == 2
    assert "lab" in absent.output
    monkeypatch.setenv("HARNESS_DATA", str(lab))
    done = invoke("data", "check", "lab")
    assert done.exit_code == 0, done.output
    study = write_study(lab, methods=["baseline"], datasets=["lab"], seeds=1)
    done = invoke("check", study, "--device", "cpu", "--out", lab / "out")
    assert done.exit_code == 0, done.output
