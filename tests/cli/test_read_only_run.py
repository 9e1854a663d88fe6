"""A run that may only be read is reported on as far as that goes, and named with the way out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stores
from stores import Truth
from typer.testing import CliRunner, Result

from harness.cli.verbs import app


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A finished run in which nobody may write; permissions alone would not stop a root user."""
    folder = tmp_path / "run"
    stores.write(folder, Truth({"uit": 60.0, "irra": 50.0}, seeds=2, people=40, directions=("t2i",)))
    (folder / "results.csv").unlink(missing_ok=True)

    def refusing(made: Callable[..., Any]) -> Callable[..., Any]:
        def make(*arguments: Any, **keywords: Any) -> Any:
            if Path(keywords.get("dir") or "/").is_relative_to(folder):
                raise PermissionError(13, "Permission denied", str(keywords["dir"]))
            return made(*arguments, **keywords)

        return make

    for name in ("mkstemp", "TemporaryFile"):
        monkeypatch.setattr(tempfile, name, refusing(getattr(tempfile, name)))
    before = {path.name for path in folder.iterdir()}
    yield folder
    assert {path.name for path in folder.iterdir()} - before <= {"looks.jsonl"}


def test_report_of_a_run_that_cannot_be_written_names_the_folder_and_the_option(
    run: Path, tmp_path: Path
) -> None:
    for words in ((), ("--export", "mlflow"), ("--export", "mlflow", "--json")):
        asked = invoke("report", run, *words)
        assert asked.exit_code == 2
        assert asked.stderr == (
            f"{run} cannot be written: Permission denied; have the page written elsewhere: "
            "--out FOLDER/report.html\n"
        )
    done = invoke("report", run, "--out", tmp_path / "page/report.html")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "page/verdicts.csv").is_file()


def test_report_in_json_of_a_run_that_cannot_be_written_is_printed_without_writing(run: Path) -> None:
    done = invoke("report", run, "--json")
    assert done.exit_code == 0, done.stderr
    (report,) = json.loads(done.stdout)["reports"]
    assert report["report"] is None
    assert report["headline"]
    assert done.stderr == f"{run} cannot be written: Permission denied; no page is written\n"


def test_bundle_of_a_run_that_cannot_be_written_says_what_to_do(run: Path) -> None:
    asked = invoke("bundle", run)
    assert asked.exit_code == 2
    assert asked.stderr.startswith(f"{run} cannot be written: Permission denied; a bundle renews")
