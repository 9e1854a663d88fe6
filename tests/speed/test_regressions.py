"""What moved between two suites of benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import verbs
from harness.speed.regressions import REFERENCE, moved


def test_a_machine_that_is_slower_throughout_moves_nothing() -> None:
    before = {REFERENCE: 1.0, "ranking": 4.0, "report": 0.5}
    assert moved(before, {name: 3 * seconds for name, seconds in before.items()}) == {}


def test_what_moved_by_more_than_15_percent_is_told_the_slower_first() -> None:
    before = {REFERENCE: 1.0, "slower": 1.0, "faster": 1.0, "within": 1.0, "gone": 1.0}
    now = {REFERENCE: 2.0, "slower": 2.4, "faster": 1.6, "within": 2.28, "new": 1.0}
    assert list(moved(before, now).items()) == [
        ("slower", pytest.approx(1.2)),
        ("faster", pytest.approx(0.8)),
    ]


def test_a_suite_without_the_reference_loop_is_not_compared() -> None:
    with pytest.raises(ValueError, match="earlier suite did not time the reference loop"):
        moved({"ranking": 1.0}, {REFERENCE: 1.0, "ranking": 1.0})


def write_suite(path: Path, medians: dict[str, float]) -> str:
    benchmarks = [
        {"fullname": f"tests/x.py::{name}", "stats": {"median": median}} for name, median in medians.items()
    ]
    path.write_text(json.dumps({"benchmarks": benchmarks}))
    return str(path)


def test_bench_compare_prints_what_moved_and_never_fails_for_it(tmp_path: Path) -> None:
    before = write_suite(tmp_path / "before.json", {REFERENCE: 1.0, "test_ranking": 1.0, "test_old": 1.0})
    now = write_suite(tmp_path / "now.json", {REFERENCE: 1.0, "test_ranking": 2.0})
    done = CliRunner().invoke(verbs.app, ["bench", "compare", now, "--before", before])
    assert done.exit_code == 0
    assert "test_ranking: 2.00 times its former share of the reference loop" in done.stdout
    assert f"test_old: only in {before}" in done.stdout
    assert "1 of 1 benchmarks moved by more than 15%" in done.stdout


def test_suites_that_cannot_be_compared_are_said_to_be_so(tmp_path: Path) -> None:
    old = write_suite(tmp_path / "old.json", {"test_ranking": 1.0})
    now = write_suite(tmp_path / "now.json", {REFERENCE: 1.0, "test_ranking": 1.0})
    done = CliRunner().invoke(verbs.app, ["bench", "compare", now, "--before", old])
    assert done.exit_code == 0
    assert "did not time the reference loop" in done.stdout
