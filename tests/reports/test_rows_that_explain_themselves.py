"""A row of a table does not contradict itself: where numbers rest on unlike things, it says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import stores
from stores import Truth

import reports
from reports.comparison import ComparisonOptions
from reports.formatting import signed

QUICK = ComparisonOptions(resamples=50)
METHODS = {"uit": 55.0, "lucky": 50.0, "same": 55.0}


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> reports.ReportResult:
    """The seed that one method lacks is one in which the reference was far better."""
    truth = Truth(
        r1=METHODS, people=60, seeds=3, failed={("lucky", 2): "oom"}, lucky={("uit", 2): 8.0}, name="unlike"
    )
    folder = tmp_path_factory.mktemp("unlike") / "run"
    stores.write(folder, truth)
    return reports.build([folder], options=QUICK, width=100)


def test_a_difference_over_fewer_seeds_than_its_scores_says_over_which(unlike: reports.ReportResult) -> None:
    assert unlike.context is not None
    (group,) = unlike.context.same_dataset
    item = group.against_reference["lucky", "R1"]
    means = {name: group.means(name, "R1") for name in METHODS}
    shared = sum(means["lucky"][:2]) / 2 - sum(means["uit"][:2]) / 2
    assert item.value == pytest.approx(shared)
    assert item.value != pytest.approx(sum(means["lucky"]) / 2 - sum(means["uit"]) / 3, abs=1)
    said = "Difference of lucky: over the 2 shared seeds; scores: over all seeds of each method."
    assert said in unlike.table_text.replace("\n", " ")
    assert unlike.table_text.count("shared seed") == 1
    assert f"{signed(item.value)} [" in unlike.path.read_text()
    assert "over the 2 shared seeds" in unlike.path.read_text()


def test_the_line_on_more_columns_is_a_whole_command(unlike: reports.ReportResult) -> None:
    lines = [" ".join(line.split()) for line in unlike.table_text.splitlines()]
    assert any(line.startswith("python -m harness report ") for line in lines)


def test_one_seed_has_no_p_value(tmp_path: Path) -> None:
    stores.write(tmp_path / "run", Truth(r1=METHODS, people=40, seeds=1))
    made = reports.build([tmp_path / "run"], options=QUICK)
    assert made.table_text.count("one seed") == 2
    assert "1.000" not in made.table_text
    assert "one seed" in (tmp_path / "run" / "report" / "tables" / "r1-rendered-plaza.md").read_text()


def test_an_interval_without_zero_beside_cannot_tell_is_explained(tmp_path: Path) -> None:
    truth = Truth(r1={"uit": 55.0, **{f"m{number}": 54.5 - 0.5 * number for number in range(10)}}, people=150)
    stores.write(tmp_path / "run", truth)
    made = reports.build([tmp_path / "run"], options=QUICK)
    assert made.context is not None
    (group,) = made.context.same_dataset
    items = [item for (_, metric), item in group.against_reference.items() if metric == "R1"]
    beside = [item for item in items if item.verdict == "cannot tell" and item.low * item.high > 0]
    assert bool(beside) == ("p is adjusted by Holm, the interval is not" in made.table_text)
    assert beside
