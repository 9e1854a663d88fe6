"""The report's chapter on searches: budgets, every trial, what mattered and how sure that is."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stores

from harness.store.seals import write_sealed
from reports.comparison import ComparisonOptions
from reports.context import ReportContext
from reports.figures import FigureWriter
from reports.published import published
from reports.sections import search
from reports.sections.importance import importances
from reports.stored_runs import read

SPACE = {
    "mask_ratio": {"low": 0.3, "high": 0.9, "log": False, "recipe": 0.7},
    "temperature": {"low": 0.01, "high": 0.1, "log": True, "recipe": 0.02},
    "cmt_positive": {"choices": ["own_pair", "weakest"], "recipe": "weakest"},
}


def trial(number: int, state: str = "complete", value: float | None = 40.0, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    params = {
        "mask_ratio": float(rng.uniform(0.3, 0.9)),
        "temperature": float(10 ** rng.uniform(-2, -1)),
        "cmt_positive": ["own_pair", "weakest"][number % 2],
    }
    plain = {
        "number": number, "state": state, "params": params, "value": value, "epochs": 4,
        "intermediate": [], "seconds": 90.0, "resumed": 0,
        "pruned_at": None, "reason": None, "detail": None, "recipe": number == 0,
    }  # fmt: skip
    return {**plain, **more}


def entry(trials: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    finished = [one for one in trials if one["state"] in ("complete", "pruned")]
    complete = [one for one in trials if one["state"] == "complete"]
    winner = max(complete, key=lambda one: one["value"], default=None)
    plain = {
        "name": "s/uit/rendered-plaza", "method": "uit", "dataset": "rendered-plaza", "metric": "R1",
        "storage": "sqlite:///x", "sampler": "tpe", "pruner": "median", "trials_allotted": len(finished),
        "epochs_allotted": 4, "space": SPACE, "finished": len(finished),
        "failed": len(trials) - len(finished),
        "epochs_trained": 4 * len(trials), "seconds": 90.0 * len(trials),
        "winner": winner["number"] if winner else None, "trials": trials,
    }  # fmt: skip
    return {**plain, **more}


def planted() -> list[dict[str, Any]]:
    trials = [trial(number) for number in range(14)]
    for one in trials:
        one["value"] = 60 - 80 * (one["params"]["mask_ratio"] - 0.5) ** 2
    trials[4] = trial(4, "pruned", 31.5, pruned_at=2, epochs=2)
    trials[9] = trial(9, "failed", None, reason="oom", detail="CUDA out of memory <b>9 GiB</b>")
    trials[11]["resumed"] = 1
    return trials


def context(folder: Path, searches: list[dict[str, Any]] | str) -> ReportContext:
    stores.write(folder, stores.Truth(r1={"uit": 50.0}, seeds=1, people=20))
    text = searches if isinstance(searches, str) else json.dumps({"searches": searches})
    (folder / "search.json").write_text(text)
    return ReportContext(
        read([folder]), (), ComparisonOptions(), published(), FigureWriter(folder / "figures")
    )


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "importances", functools.partial(importances, resamples=2))


def test_a_run_without_a_search_has_no_chapter_about_it(tmp_path: Path) -> None:
    assert search.section(context(tmp_path, "not json")) is None
    (tmp_path / "search.json").unlink()
    assert search.section(context(tmp_path, [])) is None


def test_searches_that_were_altered_after_they_were_written_enter_no_table_and_the_chapter_says_so(
    tmp_path: Path,
) -> None:
    made = context(tmp_path, [])
    file = tmp_path / "search.json"
    write_sealed(file, {"searches": [entry(planted())]})
    whole = search.section(made)
    assert whole is not None
    assert len(search.searches(file)) == 1
    file.write_text(file.read_text().replace('"winner": ', '"winner": 1'))
    assert search.searches(file) == []
    said = search.section(made)
    assert said is not None
    (sentence,) = said.blocks
    assert "was altered after it was written, so none of its searches is shown" in str(sentence)


def test_every_trial_is_disclosed_with_its_state_and_reason(tmp_path: Path) -> None:
    section = search.section(context(tmp_path, [entry(planted())]))
    assert section is not None
    table = section.tables[-1]
    assert [row[0].text for row in table.rows] == [str(number) for number in range(14)]
    remarks = {row[0].text: row[1].text for row in table.rows}
    assert "failed (oom): CUDA out of memory" in remarks["9"]
    assert "pruned after epoch 2" in remarks["4"]
    assert "taken up again 1 time after its worker died" in remarks["11"]
    assert "the recipe" in remarks["0"]
    winner = max((one for one in planted() if one["state"] == "complete"), key=lambda one: one["value"])
    assert "winner" in remarks[str(winner["number"])]
    assert sum("winner" in text for text in remarks.values()) == 1


@pytest.mark.parametrize(
    ("values", "winner", "said"),
    [
        ([40.0, 41.25, 39.0], 1, "points of validation mAP above the recipe"),
        ([40.0, 40.0, 39.0], 1, "no trial scores above the recipe's own values; trial 1 is as good"),
        ([40.0, 39.0, 38.0], 0, "the recipe's own values win."),
        ([None, 41.0, 39.0], 1, "trial 1 wins with"),
        ([None, None, None], None, "no trial is complete."),
    ],
)
def test_a_winner_is_said_to_be_above_the_recipe_only_where_it_is(
    values: list[float | None], winner: int | None, said: str
) -> None:
    trials = [
        trial(number, "failed" if value is None else "complete", value) for number, value in enumerate(values)
    ]
    verdict = search._verdict(entry(trials, winner=winner, metric="mAP"))
    assert said in verdict
    assert ("1.25 points" in verdict) == ("points of validation" in verdict) == (values[1] == 41.25)


def test_equal_budgets_are_stated_and_unequal_ones_are_named(tmp_path: Path) -> None:
    one, other = entry(planted()), entry(planted(), method="uit-mlm")
    assert "Equal budgets: 13 finished trials of at most 4 epochs" in search.budget_statement([one, other])
    other["finished"] = 12
    text = search.budget_statement([one, other])
    assert "not equal" in text
    assert "uit-mlm on rendered-plaza 12 of 13 trials of 4 epochs" in text


def test_what_pruning_saved_one_method_and_not_another_is_said(tmp_path: Path) -> None:
    searches = [entry(planted(), epochs_trained=54), entry(planted(), method="irra", epochs_trained=40)]
    text = search.budget_statement(searches)
    assert "Trained in all: 94 epochs (from 40 to 54 a search) in 0.70 hours" in text
    assert "(54 each)" in search.budget_statement([searches[0], searches[0]])


def test_a_recipe_that_failed_and_was_tried_again_is_shown_with_its_score(tmp_path: Path) -> None:
    trials = [trial(0, "failed", None, reason="oom", detail="x"), trial(1, recipe=True), trial(2, value=45.0)]
    section = search.section(context(tmp_path, [entry(trials)]))
    assert section is not None
    assert section.tables[0].rows[0][-2].text == "40.00"


def test_the_chapter_shows_every_figure_with_the_recipe_and_the_interaction(tmp_path: Path) -> None:
    section = search.section(context(tmp_path, [entry(planted())]))
    assert section is not None
    assert [figure.key.split("-")[1] for figure in section.figures] == [
        "history", "slices", "importance", "interaction", "parallel",
    ]  # fmt: skip
    interaction = section.figures[3]
    assert "mask_ratio against temperature" in interaction.alt
    assert (tmp_path / "figures" / f"{interaction.key}.pdf").is_file()


def test_a_search_that_has_only_begun_or_only_failed_can_be_reported(tmp_path: Path) -> None:
    begun = [trial(0, "running", None), trial(1, "queued", None, params={})]
    broken = [trial(number, "failed", None, reason="nan", detail="nan") for number in range(3)]
    found = [entry(begun), entry(broken, method="uit-mlm"), entry([trial(0)], method="baseline")]
    section = search.section(context(tmp_path, found))
    assert section is not None
    assert len(section.tables) == 4


def test_the_setting_that_makes_the_score_gets_the_share_and_noise_a_wide_interval() -> None:
    rng = np.random.default_rng(5)
    points = [
        {"mask_ratio": float(a), "temperature": float(10**b), "cmt_positive": "weakest"}
        for a, b in zip(rng.uniform(0.3, 0.9, 40), rng.uniform(-2, -1, 40), strict=True)
    ]
    shares = {
        one.name: one for one in importances(SPACE, points, [math.sin(4 * p["mask_ratio"]) for p in points])
    }
    assert shares["mask_ratio"].share > 0.8
    assert shares["mask_ratio"].low > shares["temperature"].high
    few = {one.name: one for one in importances(SPACE, points[:9], rng.normal(size=9).tolist())}
    assert few["mask_ratio"].high - few["mask_ratio"].low > 0.3
    assert all(0 <= one.low <= one.share <= one.high <= 1 for one in few.values())


@pytest.mark.parametrize("scores", [[1.0] * 20, [1.0, 2.0]])
def test_importance_is_not_told_from_equal_scores_or_from_too_few(scores: list[float]) -> None:
    points = [trial(number)["params"] for number in range(len(scores))]
    assert importances(SPACE, points, scores) == []


def test_importance_is_the_same_every_time_it_is_computed() -> None:
    trials = [one for one in planted() if one["state"] == "complete"]
    points, scores = [one["params"] for one in trials], [one["value"] for one in trials]
    assert importances(SPACE, points, scores, resamples=5) == importances(SPACE, points, scores, resamples=5)
