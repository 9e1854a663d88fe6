"""A command on the page can be typed as it stands there."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import stores
from stores import Truth

import reports
from reports.comparison import ComparisonOptions
from reports.sections.cells import again
from reports.sections.first_screen import undecided

QUICK = ComparisonOptions(resamples=50)


def made_by_a_plugin(folder: Path, **recorded: object) -> reports.ReportResult:
    store = stores.write(folder, Truth(r1={"uit": 50.0, "mine": 50.3}, people=40, seeds=2, seed_sd=2.0))
    for run in store.cells():
        run.describe(**recorded)
    return reports.build([folder], options=QUICK)


def commands(made: reports.ReportResult) -> list[list[str]]:
    assert made.context is not None
    printed = [line["command"] for line in undecided(made.context)]
    printed += [again(cell) for cell in made.context.stored_runs.cells]
    assert len(printed) > 1
    return [shlex.split(command) for command in printed]


def after(words: list[str], option: str) -> list[str]:
    return [value for word, value in pairwise(words) if word == option]


def test_a_command_for_a_study_of_a_plugin_names_the_plugin_and_the_data(tmp_path: Path) -> None:
    own, data = tmp_path / "my method.py", tmp_path / "data"
    own.write_text("")
    plugins = [str(own), str(data / "x.dataset.yaml"), "/usr/lib/python3/site-packages/theirs.py"]
    for words in commands(made_by_a_plugin(tmp_path / "run", plugins=plugins, data_root=str(data))):
        assert words[:4] == ["python", "-m", "harness", "run"]
        assert after(words, "--plugin") == [str(own)]
        assert after(words, "--data-root") == [str(data)]


def test_a_command_names_the_copy_of_a_plugin_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "run" / "plugins" / "mine.0123456789ab" / "mine.py"
    kept.parent.mkdir(parents=True)
    kept.write_text("")
    monkeypatch.chdir(tmp_path)
    for words in commands(made_by_a_plugin(Path("run"), plugins=["/gone/mine.py"])):
        assert after(words, "--plugin") == [str(kept.relative_to(tmp_path))]


def test_more_seeds_are_not_promised_to_decide_a_difference_smaller_than_what_they_find(
    tmp_path: Path,
) -> None:
    made = made_by_a_plugin(tmp_path / "run")
    assert made.context is not None
    (line,) = undecided(made.context)
    assert line["text"].startswith("Undecided: ")
    assert "would find a difference of" in line["text"]
    assert "those undecided here are at most" in line["text"]
