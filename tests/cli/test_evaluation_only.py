"""A dataset that is a test split alone: what can be done with it works, what cannot is refused in words."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from factories import write_cuhk
from own_registry import without_plugins
from study_files import SMALL, write_study
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from harness.machine.errors import ExitCode


@pytest.fixture
def exam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset file of a test split without train and val."""
    without_plugins(monkeypatch)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    folder = write_cuhk(tmp_path)
    annotated = json.loads((folder / "reid_raw.json").read_text())
    (folder / "exam.json").write_text(json.dumps([row for row in annotated if row["split"] == "test"]))
    (folder / "exam.dataset.yaml").write_text("like: cuhk-pedes\nannotations: exam.json\nonly: test\n")
    return folder / "exam.dataset.yaml"


def called(verb: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [verb, *arguments, "--device", "cpu"])


def study_of(folder: Path, exam: Path, **changes: object) -> str:
    train = {**SMALL["train"], "pretrained": "rendered"}
    return str(write_study(folder, datasets=[str(exam)], seeds=1, **{"train": train, **changes}))


def test_a_method_that_is_not_trained_runs_on_a_dataset_with_a_test_split_alone(
    tmp_path: Path, exam: Path
) -> None:
    study, out = study_of(tmp_path, exam, methods=["clip-zero-shot"]), tmp_path / "out"
    checked = called("check", study, "--out", str(out))
    assert checked.exit_code == ExitCode.DONE, checked.stderr
    ran = called("run", study, "--out", str(out))
    assert ran.exit_code == ExitCode.DONE, ran.stderr
    with (out / "results.csv").open(encoding="utf-8") as file:
        assert {row["status"] for row in csv.DictReader(file)} == {"done"}


@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_method_that_trains_is_refused_on_a_dataset_without_a_training_split(
    tmp_path: Path, exam: Path, verb: str
) -> None:
    study = study_of(tmp_path, exam, methods=["baseline", "clip-zero-shot"])
    answer = called(verb, study, "--out", str(tmp_path / "out"))
    assert answer.exit_code == ExitCode.BAD_INPUT
    assert "exam has no train split: it can only be evaluated on" in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["evaluate", "query"])
def test_a_split_that_a_dataset_does_not_have_is_named(exam: Path, verb: str) -> None:
    sentence = ["a man"] if verb == "query" else []
    answer = called(
        verb, "tiny:rendered", *sentence, "--plugin", str(exam), "--dataset", "exam", "--split", "train"
    )
    assert answer.exit_code == ExitCode.BAD_INPUT
    assert "exam has no train split" in answer.stderr


def test_a_dataset_with_a_test_split_alone_is_evaluated_on(exam: Path) -> None:
    answer = called("evaluate", "tiny:rendered", "--plugin", str(exam), "--dataset", "exam", "--json")
    assert answer.exit_code == ExitCode.DONE, answer.stderr
    assert json.loads(answer.stdout)["scores"]["t2i"]["queries"] > 0
