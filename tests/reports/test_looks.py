"""Looks at a study while its seeds grow: they are recorded, their levels hold, the page says which it is."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stores
from light_runs import light_machine, light_study, run_light
from simulated_studies import Regime, any_false_over_looks
from stores import Truth
from study_files import write_study

from harness.launch.context import Context
from harness.machine.errors import StudyError
from harness.store.look_history import LOOKS, look_history, record_look, record_plan
from harness.study.study import load_study
from reports.assemble import build
from reports.comparison import ComparisonOptions
from reports.looks import Looks, planned_level, real_level

QUICK = ComparisonOptions(resamples=200)
GROWING = Truth({"uit": 60.0, "baseline": 55.0}, seeds=3, people=40, directions=("t2i",), selections=("val",))


def test_the_level_of_three_planned_looks_is_pococks() -> None:
    assert planned_level(3) == pytest.approx(0.0221, abs=5e-5)
    assert planned_level(5) == pytest.approx(0.0158, abs=5e-5)
    assert planned_level(1) == 0.05


@pytest.mark.parametrize(("seeds", "level"), [((3, 5), 0.05), ((3, 5, 10), 0.05), ((3, 5, 10), 0.0221)])
def test_the_real_level_is_that_of_simulated_sums(seeds: tuple[int, ...], level: float) -> None:
    draws = np.random.default_rng(0).normal(size=(200_000, seeds[-1])).cumsum(axis=1)
    bound = {0.05: 1.95996, 0.0221: 2.28905}[level]
    crossed = [np.abs(draws[:, count - 1]) > bound * np.sqrt(count) for count in seeds]
    assert real_level(seeds, level) == pytest.approx(np.any(crossed, axis=0).mean(), abs=0.002)


def test_three_planned_looks_find_a_difference_that_is_not_there_in_at_most_5_5_of_100_studies() -> None:
    """Six methods and no difference; with the full level at each look it happens about twice as often."""
    regime = Regime(person=0.61, run=0.43, seed=0.85, people=60)
    planned, unplanned = any_false_over_looks(regime, (3, 5, 10), (planned_level(3), 0.05), studies=300)
    assert planned <= 5.5
    assert unplanned > planned


def test_a_plan_is_recorded_once_and_again_when_it_changes(tmp_path: Path) -> None:
    for seeds in ((0, 1, 2), (0, 1, 2), (0, 1, 2, 3, 4)):
        record_plan(tmp_path, seeds, (3, 5))
    assert [record["seeds"] for record in look_history(tmp_path).records] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert look_history(tmp_path).planned == (3, 5)


def test_a_plan_that_comes_after_the_first_look_does_not_count(tmp_path: Path) -> None:
    record_plan(tmp_path, (0, 1, 2), ())
    record_look(tmp_path, {"clean/a": {"uit": 3}}, "first")
    record_plan(tmp_path, (0, 1, 2), (3, 5, 10))
    assert look_history(tmp_path).planned == ()


def test_looks_are_only_ever_appended_and_a_damaged_line_hides_no_other(tmp_path: Path) -> None:
    record_look(tmp_path, {"clean/a": {"uit": 3}}, "first")
    before = (tmp_path / LOOKS).read_text()
    record_look(tmp_path, {"clean/a": {"uit": 3}}, "first")
    assert (tmp_path / LOOKS).read_text() == before
    record_look(tmp_path, {"clean/a": {"uit": 5}}, "second")
    assert (tmp_path / LOOKS).read_text().startswith(before)
    (tmp_path / LOOKS).write_text((tmp_path / LOOKS).read_text().replace('"uit": 3', '"uit": 2'))
    assert look_history(tmp_path).looks == [{"clean/a": {"uit": 5}}]
    assert look_history(tmp_path).dropped


def look_of(folder: Path) -> set[str]:
    with (folder / "verdicts.csv").open() as file:
        return {row["look"] for row in csv.DictReader(file)}


def test_a_report_over_more_seeds_is_another_look_and_says_what_the_level_really_is(tmp_path: Path) -> None:
    stores.write(tmp_path, GROWING)
    for _ in range(2):  # the same store again is no look
        build([tmp_path], options=QUICK)
        assert look_of(tmp_path) == {"1"}
        assert "not planned" not in (tmp_path / "report.html").read_text()
    stores.write(tmp_path, replace(GROWING, seeds=5))
    build([tmp_path], options=QUICK)
    assert look_of(tmp_path) == {"2"}
    said = "Look 2 (at 3 and 5 seeds), not planned: with level 0.05 each, the chance of a false difference is"
    assert said in (tmp_path / "report.html").read_text()
    assert [look["clean/rendered-plaza"] for look in look_history(tmp_path).looks] == [
        {"uit": 3, "baseline": 3},
        {"uit": 5, "baseline": 5},
    ]


def test_planned_looks_are_judged_at_their_level_and_the_page_says_which_it_is(tmp_path: Path) -> None:
    stores.write(tmp_path, GROWING)
    record_plan(tmp_path, (0, 1, 2), (3, 5, 10))
    build([tmp_path], options=QUICK)
    said = "Look 1 of 3 (planned at 3, 5 and 10 seeds): each has the level 0.0221"
    assert said in (tmp_path / "report.html").read_text()


def test_a_look_that_was_not_planned_among_planned_ones_is_counted() -> None:
    looks = Looks(planned=(3, 5, 10), taken=(3, 4, 5))
    assert (looks.number, looks.as_planned) == (3, False)
    assert looks.real_level == pytest.approx(real_level((3, 4, 5), planned_level(3)))
    assert "taken at 3, 4 and 5 seeds" in looks.sentence


def test_planned_looks_in_a_study_give_the_seeds_of_the_first_and_survive_more_seeds(tmp_path: Path) -> None:
    path = write_study(tmp_path, seeds={"looks": [3, 5, 10]})
    study = load_study(path)
    assert (study.seeds, study.looks) == ((0, 1, 2), (3, 5, 10))
    more = load_study(path, seeds=5)
    assert (more.seeds, more.looks) == ((0, 1, 2, 3, 4), (3, 5, 10))


@pytest.mark.parametrize(
    "seeds",
    [{"looks": [5, 3]}, {"looks": [3]}, {"looks": [1, 3]}, {"looks": []}, {"look": [3, 5]}, {"looks": 3}],
)
def test_looks_that_make_no_sense_are_refused_with_their_line(tmp_path: Path, seeds: object) -> None:
    with pytest.raises(StudyError, match=r"study\.yaml:\d+: (looks|seeds)"):
        load_study(write_study(tmp_path, seeds=seeds))


def test_a_run_records_its_plan_and_a_report_on_it_is_a_look(two_datasets: Path, tmp_path: Path) -> None:
    context, out = Context(light_machine(two_datasets)), tmp_path / "run"
    study = light_study(tmp_path, seeds={"looks": [2, 3]})
    run_light(study, out, context)
    build([out], options=QUICK)
    run_light(load_study(study.source, seeds=3), out, context)
    build([out], options=QUICK)
    history = look_history(out)
    assert [record["kind"] for record in history.records] == ["plan", "look", "plan", "look"]
    assert history.planned == (2, 3)
    assert "Look 2 of 2 (planned at 2 and 3 seeds)" in (out / "report.html").read_text()
