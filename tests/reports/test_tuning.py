"""Tuned ablations with planted truths: does the gain survive, and what of a winner's lead is luck?"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import stores

from reports.comparison import ComparisonGroup, ComparisonOptions, comparison_groups
from reports.context import ReportContext
from reports.document import Figure, Table
from reports.figures import FigureWriter
from reports.published import published
from reports.sections import tuning as chapter
from reports.stored_runs import read
from reports.tuning import (
    arms_in,
    expected_best,
    fresh_lead,
    lead_noise,
    tuned_against_recipe,
    tuned_gains,
)

OPTIONS = ComparisonOptions(resamples=2000, margin=2.5)


def record(method: str, repeat: int = 1, trained_as: str = "", **more: Any) -> dict[str, Any]:
    values = [60.0, 64.0, 63.9, 61.0]
    trials = [
        {
            "number": number, "state": "complete", "value": value, "recipe": number == 0, "params": {},
            "epochs": 4, "intermediate": [], "seconds": 1.0, "resumed": 0,
            "pruned_at": None, "reason": None, "detail": None,
        }
        for number, value in enumerate(values)
    ]  # fmt: skip
    return {
        "name": f"planted/{method}", "method": method, "dataset": "rendered-plaza", "metric": "R1",
        "arm": "tuned", "repeat": repeat, "trained_as": trained_as or f"{method}-tuned",
        "settings_it_lacks": ["mask_ratio"] if "no-tir" in method else [],
        "validation": {"queries": 400, "people": 100}, "sampler": "tpe", "pruner": "none",
        "trials_allotted": 4, "epochs_allotted": 4, "finished": 4, "failed": 0, "epochs_trained": 16,
        "seconds": 4.0, "space": {"lr": {}}, "winner": 1, "trials": trials, **more,
    }  # fmt: skip


def group_of(folder: Path, r1: dict[str, float], **more: Any) -> ComparisonGroup:
    planted = {"people": 1500, "captions": 2, "seeds": 5, "seed_sd": 0.1, **more}
    stores.write(folder, stores.Truth(r1=r1, **planted))
    (group,) = comparison_groups(read([folder]), OPTIONS)
    return group


def test_a_part_that_helps_only_untuned_is_worse_to_lose_untuned_tied_tuned_and_the_difference_is_significant(
    tmp_path: Path,
) -> None:
    r1 = {"uit": 60.0, "uit-no-tir": 52.0, "uit-tuned": 66.0, "uit-no-tir-tuned": 66.0}
    group = group_of(tmp_path, r1)
    arms = arms_in(group, [record("uit"), record("uit-no-tir")])
    (gain,) = tuned_gains(group, arms, "R1")
    assert gain.method == "uit-no-tir"
    assert gain.untuned.verdict == "worse"
    assert gain.tuned.verdict == "tied"
    assert gain.change.verdict == "better"
    assert gain.change.p_holm < 0.05
    expected = gain.tuned.estimate.value - gain.untuned.estimate.value
    assert gain.change.estimate.value == pytest.approx(expected)


def test_a_part_that_helps_only_tuned_is_found_by_the_same_table(tmp_path: Path) -> None:
    r1 = {"uit": 60.0, "uit-no-tir": 60.0, "uit-tuned": 68.0, "uit-no-tir-tuned": 60.0}
    group = group_of(tmp_path, r1)
    (gain,) = tuned_gains(group, arms_in(group, [record("uit"), record("uit-no-tir")]), "R1")
    assert gain.untuned.verdict == "tied"
    assert (gain.tuned.verdict, gain.change.verdict) == ("worse", "worse")


def test_a_search_on_its_own_ends_in_a_verdict_of_tuned_against_recipe(tmp_path: Path) -> None:
    group = group_of(tmp_path, {"uit": 60.0, "uit-tuned-1": 66.0, "uit-tuned-2": 68.0})
    records = [record("uit", 1, "uit-tuned-1"), record("uit", 2, "uit-tuned-2")]
    arms = arms_in(group, records)
    assert arms == {"uit": ("uit-tuned-1", "uit-tuned-2")}
    found = tuned_against_recipe(group, arms, "R1")["uit"]
    assert found.verdict == "better"
    means = {name: 100 * one.scores["R1"].mean() for name, one in group.methods.items()}
    expected = (means["uit-tuned-1"] + means["uit-tuned-2"]) / 2 - means["uit"]
    assert found.estimate.value == pytest.approx(expected)


def test_the_standard_error_of_a_winner_is_that_of_its_hits_and_trials_within_it_are_counted() -> None:
    noise = lead_noise(record("uit"))
    assert noise is not None
    assert noise.least_se == pytest.approx((64 * 36 / 400) ** 0.5)
    assert noise.most_se == pytest.approx((64 * 36 / 100) ** 0.5)
    assert (noise.within_least, noise.within_most, noise.complete) == (1, 3, 4)
    assert noise.lead == 4.0
    assert lead_noise(record("uit", winner=None)) is None
    assert lead_noise(record("uit", validation={})) is None


def test_the_selection_bias_is_what_fresh_seeds_do_not_show_of_the_lead(tmp_path: Path) -> None:
    group = group_of(tmp_path, {"uit": 60.0, "uit-tuned": 61.0})
    fresh = fresh_lead(group, "uit", "uit-tuned", "R1")
    best = {
        name: [max(line["val"]["R1"] for line in cell.history) for cell in one.cells]
        for name, one in group.methods.items()
    }
    assert fresh == pytest.approx(sum(best["uit-tuned"]) / 5 - sum(best["uit"]) / 5)
    assert fresh == pytest.approx(1.0, abs=0.6)


def test_the_expected_best_of_a_budget_is_the_mean_over_all_ways_to_spend_it() -> None:
    scores = [3.0, 9.0, 1.0, 7.0, 7.0]
    for budget in range(1, 6):
        ways = [max(chosen) for chosen in itertools.combinations(scores, budget)]
        assert expected_best(scores, budget) == pytest.approx(sum(ways) / len(ways))
    with pytest.raises(ValueError, match="a budget from 1 to 5"):
        expected_best(scores, 6)


def test_the_chapter_says_gains_selection_bias_budgets_repeats_and_the_share_of_the_space(
    tmp_path: Path,
) -> None:
    labels = ("uit", "uit-no-tir")
    r1 = {name: 60.0 for label in labels for name in (label, f"{label}-tuned-1", f"{label}-tuned-2")}
    stores.write(tmp_path, stores.Truth(r1=r1, people=60, seeds=2))
    records = [record(label, repeat, f"{label}-tuned-{repeat}") for label in labels for repeat in (1, 2)]
    (tmp_path / "search.json").write_text(json.dumps({"searches": records}))
    stored = read([tmp_path])
    groups = tuple(comparison_groups(stored, ComparisonOptions(resamples=200)))
    context = ReportContext(stored, groups, ComparisonOptions(resamples=200), published(), FigureWriter())
    section = chapter.section(context)
    assert section is not None
    tables = {block.key: block for block in section.blocks if isinstance(block, Table)}
    kinds = ("gains-r1", "gains-map", "selection", "budget", "repeats")
    assert all(f"tuning-{kind}-rendered-plaza" in tables for kind in kinds)
    shares = {
        row[0].text: (row[1].text, row[1].note) for row in tables["tuning-selection-rendered-plaza"].rows
    }
    assert shares["uit-no-tir, search 2"] == ("1 of 2", "no mask_ratio")
    assert shares["uit"] == ("1 of 1", "")
    assert [row[1].text for row in tables["tuning-repeats-rendered-plaza"].rows] == ["2", "2"]
    budgets = tables["tuning-budget-rendered-plaza"]
    assert [column.label for column in budgets.columns] == ["Search", "1 trial", "2 trials", "4 trials"]
    assert budgets.rows[0][3].sort == 64.0
    curves = [block for block in section.blocks if isinstance(block, Figure)]
    assert [figure.key for figure in curves] == ["tuning-budget-rendered-plaza"]
    (tmp_path / "search.json").unlink()
    assert chapter.section(context) is None
