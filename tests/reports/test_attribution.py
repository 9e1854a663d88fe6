"""Shapley values and ablation paths against brute force, on games whose answer is known."""

from __future__ import annotations

import random
from itertools import permutations, product
from math import factorial
from pathlib import Path

import pytest
import stores
import yaml

from harness.machine.grids import Levels, runs_of
from reports.attribution import ablation_path, design, shapley
from reports.comparison import ComparisonOptions, comparison_groups
from reports.context import ReportContext
from reports.figures import FigureWriter
from reports.published import published
from reports.sections.attribution import section
from reports.stored_runs import read


def game(switches: int, seed: int) -> dict[Levels, float]:
    chance = random.Random(seed)
    return {run: chance.uniform(-50, 50) for run in product((False, True), repeat=switches)}


def by_orders(scores: dict[Levels, float], switches: int) -> list[float]:
    """The definition: what a switch adds, averaged over every order of turning them on."""
    added = [0.0] * switches
    for order in permutations(range(switches)):
        here = [False] * switches
        for switch in order:
            before = scores[tuple(here)]
            here[switch] = True
            added[switch] += (scores[tuple(here)] - before) / factorial(switches)
    return added


@pytest.mark.parametrize("switches", [1, 2, 3, 4, 5])
def test_shapley_values_of_a_full_grid_are_the_average_over_every_order(switches: int) -> None:
    scores = game(switches, seed=switches)
    assert shapley(scores) == pytest.approx(by_orders(scores, switches), abs=1e-9)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("switches", [1, 2, 3, 4, 5])
def test_shapley_values_and_path_sum_to_the_total_to_1e_9(switches: int, full: bool) -> None:
    everything = game(switches, seed=10 + switches)
    scores = everything if full else {run: everything[run] for run in runs_of(switches)}
    total = everything[(True,) * switches] - everything[(False,) * switches]
    assert abs(sum(shapley(scores)) - total) < 1e-9
    path = ablation_path(scores)
    assert abs(sum(step.gain for step in path) - total) < 1e-9
    assert sorted(step.switch for step in path) == list(range(switches))


def test_half_the_runs_are_enough_for_four_and_five_switches_that_act_in_pairs() -> None:
    assert [len(runs_of(switches)) for switches in range(1, 6)] == [2, 4, 8, 8, 16]
    for switches in (4, 5):
        chance = random.Random(switches)
        alone = [chance.uniform(-5, 5) for _ in range(switches)]
        pairs = {(i, j): chance.uniform(-5, 5) for i in range(switches) for j in range(i)}
        scores = {
            run: sum(value for on, value in zip(run, alone, strict=True) if on)
            + sum(value for (i, j), value in pairs.items() if run[i] and run[j])
            for run in product((False, True), repeat=switches)
        }
        half = {run: scores[run] for run in runs_of(switches)}
        assert shapley(half) == pytest.approx(by_orders(scores, switches), abs=1e-9)


def test_the_path_takes_the_largest_gain_first_and_says_the_scores_of_the_runs() -> None:
    scores = {(False, False): 10.0, (True, False): 14.0, (False, True): 15.0, (True, True): 16.0}
    path = ablation_path(scores)
    assert [(step.switch, round(step.gain, 9)) for step in path] == [(1, 5.0), (0, 1.0)]
    assert shapley(scores) == pytest.approx([2.5, 3.5])


def test_a_grid_with_a_run_missing_attributes_nothing() -> None:
    scores = game(3, seed=1)
    del scores[False, True, False]
    assert design(list(scores)) is None
    with pytest.raises(ValueError, match="neither every combination"):
        shapley(scores)
    with pytest.raises(ValueError, match="between 1 and 5"):
        runs_of(6)


def test_the_chapter_attributes_the_score_to_the_switches_that_the_study_ablates(tmp_path: Path) -> None:
    switches = ["tir", "cmt"]
    runs = {"-".join(map(str, run)): dict(zip(switches, run, strict=True)) for run in runs_of(2)}
    r1 = {name: 40.0 + 10 * on["tir"] + 2 * on["cmt"] for name, on in runs.items()}
    stores.write(tmp_path, stores.Truth(r1=r1, switches=runs, people=120, seeds=2))
    study = yaml.safe_load((tmp_path / "study.yaml").read_text())
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study, "ablate": switches}))
    stored, options = read([tmp_path]), ComparisonOptions(resamples=200)
    groups = tuple(comparison_groups(stored, options))
    made = section(ReportContext(stored, groups, options, published(), FigureWriter()))
    assert made is not None
    table = next(table for table in made.tables if table.key == "attribution-r1-rendered-plaza")
    assert [row[0].text for row in table.rows] == ["tir", "cmt", "together"]
    values = [float(row[1].sort or 0) for row in table.rows]
    gains = [float(row[4].sort or 0) for row in table.rows]
    mean = {name: 100 * one.scores["R1"].mean() for name, one in groups[0].methods.items()}
    assert values[2] == pytest.approx(mean["True-True"] - mean["False-False"])
    assert abs(values[0] + values[1] - values[2]) < 1e-9
    assert abs(gains[0] + gains[1] - gains[2]) < 1e-9
    assert [row[3].text for row in table.rows] == ["1", "2", ""]
