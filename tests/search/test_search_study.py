"""The search of a study with real training: trials are cells on validation only, winners train afresh."""

from __future__ import annotations

import csv
import json
import time
from itertools import count
from pathlib import Path
from typing import Any

import factories
import pytest
from light_runs import PLUGIN, light_machine, light_study

from harness.cli.check import examine
from harness.launch.cells import LaunchOptions, run_cells
from harness.launch.context import Context
from harness.machine.environment import Machine
from harness.search.database import StorageError
from harness.search.plan import TrialFailed
from harness.search.study import (
    SearchIncomplete,
    budgets_left,
    search_problems,
    search_seed,
    search_study,
    searches_of,
)
from harness.search.trial_training import CellObjective, TrialContext
from harness.store import checkpoint_files
from harness.store.results_table import write_results_table
from harness.store.runs import RunStore
from harness.study.study import Study, load_study
from harness.train import loop
from harness.train.loop import Trainer

STUDY = """
name: small
methods: [baseline]
datasets: [cuhk-pedes]
seeds: 2
train: {backbone: tiny, pretrained: none, image_size: [96, 32], epochs: 2, batch_size: 12, precision: fp32}
search:
  trials: 2
  epochs: 1
  sampler: random
  pruner: none
  space:
    temperature: {low: 0.01, high: 0.1, log: true}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    factories.write_cuhk(root)
    return root


@pytest.fixture
def context(data: Path) -> Context:
    return Context(Machine(data_root=data, device="cpu"))


def study(tmp_path: Path, *overrides: str) -> Study:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)
    return load_study(path, overrides)


@pytest.mark.slow
def test_trials_train_as_cells_and_never_see_the_test_split(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    images = TrialContext.images

    def watched(self: TrialContext, name: str, input_spec: Any, split: str) -> Any:
        seen.append(split)
        return images(self, name, input_spec, split)

    monkeypatch.setattr(TrialContext, "images", watched)
    small, store = study(tmp_path), RunStore(tmp_path / "out")
    tuned = search_study(small, store, context, LaunchOptions(context.machine, workers=1))
    assert set(seen) == {"train", "val"}
    trials = RunStore(tmp_path / "out" / "trials").cells()
    assert len(trials) == 2
    assert {run.status.state for run in trials} == {"done"}
    assert all(run.results == [] and not (run.directory / "records").exists() for run in trials)

    # Thousands of trials fit a disk: what an ended one leaves are its numbers.
    left = {path.name for run in trials for path in run.directory.rglob("*") if path.is_file()}
    assert left == {"cell.json", "history.jsonl", "lock", "results.json", "status.json"}

    (record,) = json.loads((tmp_path / "out" / "search.json").read_text())["searches"]
    scores = {
        run.cell.all_settings()["temperature"]: max(line["val"]["R1"] for line in run.history)
        for run in trials
    }
    assert {trial["params"]["temperature"]: trial["value"] for trial in record["trials"]} == scores
    assert record["trials"][0]["params"] == {"temperature": 0.02}
    winner = record["trials"][record["winner"]]
    assert tuned == {("baseline", "cuhk-pedes", 1): winner["params"]}

    # No score of a trial is a result; the winner's settings come back on seeds that no trial had.
    write_results_table(store)
    assert list(csv.DictReader((tmp_path / "out" / "results.csv").open())) == []
    cells = small.cells(tuned)
    used = {"baseline": 0.02, "baseline-tuned": winner["params"]["temperature"]}
    assert {(cell.method, cell.method_settings["temperature"]) for cell in cells} == set(used.items())
    about = {"arm": "tuned", "repeat": 1, "trained_as": "baseline-tuned", "settings_it_lacks": []}
    assert {name: record[name] for name in about} == about
    assert search_seed(small) not in {cell.seed for cell in cells}
    assert {run.description["cell"]["seed"] for run in trials} == {search_seed(small)}

    assert search_problems(small, context, tmp_path / "out") == []
    changed = search_problems(study(tmp_path, "search.space.temperature.high=0.2"), context, tmp_path / "out")
    assert len(changed) == 1
    assert "space.temperature.high: was 0.1, is now 0.2" in changed[0]
    longer = search_problems(study(tmp_path, "train.lr=2.0e-5"), context, tmp_path / "out")
    assert "train.lr: was 1e-05, is now 2e-05" in longer[0]
    assert search_problems(study(tmp_path, "search.trials=3"), context, tmp_path / "out") == []
    with pytest.raises(StorageError, match="trials: 2 were asked for before, now 1"):
        search_study(
            study(tmp_path, "search.trials=1"),
            RunStore(tmp_path / "out"),
            context,
            LaunchOptions(context.machine, workers=1),
        )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["search.space.temperature.low=0.03"], "the first trial is the recipe's own 0.02"),
        (["search.sampler=grid"], "the grid has 9 points, the recipe's included; ask for 9"),
        (
            ["search.trials=4", "search.space.temperature={choices: [0.01, 0.02]}"],
            "the space has only 2 points; 4 trials would repeat some",
        ),
        (["search.storage=mysql://host/db"], "SQLite or PostgreSQL"),
        (["search.storage=sqlite:////proc/none/search.db"], "cannot be made: No such file or directory"),
        (["search.storage=sqlite:////proc/search.db"], "cannot be made"),
        (["search.sampler=cmaes"], "cmaes learns from two ranges or more"),
    ],
)
def test_a_search_that_cannot_be_is_refused_and_nothing_is_made(
    tmp_path: Path, context: Context, overrides: list[str], message: str
) -> None:
    problems = search_problems(study(tmp_path, *overrides), context, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(problems) == 1
    assert message in problems[0]


LIGHT_SEARCH = {"trials": 12, "sampler": "random", "space": {"lr": {"low": 1e-5, "high": 0.1, "log": True}}}


def test_a_pruned_trial_leaves_its_numbers_only_however_slow_the_disk(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any) -> None:
        time.sleep(0.2)
        save(*arguments)

    def falling(*arguments: Any, **settings: Any) -> dict[str, float]:
        """Each trial scores worse than those before it."""
        return {**scores(*arguments, **settings), "R1": next(heights)}

    save, scores, heights = checkpoint_files.save, loop.scores, count(100.0, -0.1)
    monkeypatch.setattr(checkpoint_files, "save", slow)
    monkeypatch.setattr(loop, "scores", falling)
    context = Context(light_machine(data))
    pruning = {**LIGHT_SEARCH, "trials": 6, "pruner": "median"}
    light = light_study(tmp_path, seeds=1, search=pruning)
    search_study(light, RunStore(tmp_path / "out"), context, LaunchOptions(context.machine, workers=1))
    (record,) = json.loads((tmp_path / "out" / "search.json").read_text())["searches"]
    assert [trial["state"] for trial in record["trials"]] == ["complete"] * 4 + ["pruned"] * 2
    trials = RunStore(tmp_path / "out" / "trials").cells()
    assert sorted(run.status.state for run in trials) == ["done"] * 4 + ["pruned"] * 2
    left = {path.name for run in trials for path in run.directory.rglob("*") if path.is_file()}
    assert left == {"cell.json", "history.jsonl", "lock", "results.json", "status.json"}


def test_a_trial_whose_worker_died_before_its_score_was_written_down_is_not_trained_again(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(light_machine(data))
    light = light_study(tmp_path, seeds=1, search=LIGHT_SEARCH)
    (search,) = searches_of(light, context, tmp_path / "out")
    first: dict[int, float] = {}
    score = search.objective({"lr": 0.05}, first.__setitem__)
    assert score == max(first.values())
    monkeypatch.setattr(Trainer, "start_epoch", lambda *_: pytest.fail("trained again"))
    second: dict[int, float] = {}
    assert search.objective({"lr": 0.05}, second.__setitem__) == score
    assert second == first


def test_a_plugin_that_fails_in_its_step_ends_the_search_at_once_with_its_file_and_line(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, store = Context(light_machine(data)), RunStore(tmp_path / "out")
    light, options = light_study(tmp_path, seeds=1, search=LIGHT_SEARCH), LaunchOptions(context.machine, 1)
    monkeypatch.setenv("LIGHT_TROUBLE", "error")
    with pytest.raises(SearchIncomplete) as caught:
        search_study(light, store, context, options)
    line = next(
        number
        for number, text in enumerate(PLUGIN.read_text().splitlines(), 1)
        if 'RuntimeError("a bug of the method")' in text
    )
    assert f"{PLUGIN.name}:{line}: RuntimeError: a bug of the method" in str(caught.value)
    (record,) = json.loads((tmp_path / "out" / "search.json").read_text())["searches"]
    assert [trial["state"] for trial in record["trials"]] == ["failed"]

    # Repaired, its code is another one and the space too; nothing that was stored binds them.
    monkeypatch.delenv("LIGHT_TROUBLE")
    other = {**LIGHT_SEARCH, "trials": 2, "space": {"lr": {"low": 1e-4, "high": 0.1, "log": True}}}
    repaired = light_study(tmp_path, seeds=1, search=other)
    assert search_problems(repaired, context, tmp_path / "out") == []
    search_study(repaired, store, context, options)
    (record,) = json.loads((tmp_path / "out" / "search.json").read_text())["searches"]
    assert [trial["state"] for trial in record["trials"]] == ["complete"] * 2


def test_a_plugin_that_fails_for_some_settings_only_fails_those_trials(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(light_machine(data))
    light = light_study(tmp_path, seeds=1, search={**LIGHT_SEARCH, "trials": 3})
    ran = CellObjective.__call__

    def second_fails(self: CellObjective, settings: Any, report_epoch: Any) -> float:
        if next(calls) == 1:
            raise TrialFailed("error", "RuntimeError: only here", f"{PLUGIN}:1")
        return ran(self, settings, report_epoch)

    calls = count()
    monkeypatch.setattr(CellObjective, "__call__", second_fails)
    search_study(light, RunStore(tmp_path / "out"), context, LaunchOptions(context.machine, workers=1))
    (record,) = json.loads((tmp_path / "out" / "search.json").read_text())["searches"]
    assert [trial["state"] for trial in record["trials"]] == ["complete", "failed", "complete", "complete"]


@pytest.mark.parametrize("name", ["q?x=1", "a#b", "50%", "{x}", "a b", "é&;"])
def test_a_folder_of_any_name_holds_the_database_of_its_search(tmp_path: Path, data: Path, name: str) -> None:
    context, out = Context(light_machine(data)), tmp_path / name
    light = light_study(tmp_path, seeds=1, search={**LIGHT_SEARCH, "trials": 1})
    for _ in range(2):
        search_study(light, RunStore(out), context, LaunchOptions(context.machine, workers=1))
    assert (out / "search.db").is_file()
    assert {path.name for path in tmp_path.iterdir()} <= {name, "study.yaml", "search-cache"}


@pytest.mark.parametrize(("asked", "trained"), [(None, 3), (2, 2)])
def test_a_trial_trains_as_many_epochs_as_asked_and_is_worth_its_best_one(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None, trained: int
) -> None:
    # Each epoch scores two splits.
    heights, scores = iter([50.0, 50.0, 70.0, 70.0, 40.0, 40.0]), loop.scores

    def falling_in_the_end(*arguments: Any, **settings: Any) -> dict[str, float]:
        return {**scores(*arguments, **settings), "R1": next(heights)}

    monkeypatch.setattr(loop, "scores", falling_in_the_end)
    context = Context(light_machine(data))
    epochs = {} if asked is None else {"epochs": asked}
    light = light_study(tmp_path, seeds=1, search={**LIGHT_SEARCH, "trials": 1, **epochs})
    search_study(light, RunStore(tmp_path / "out"), context, LaunchOptions(context.machine, workers=1))
    (record,) = json.loads((tmp_path / "out" / "search.json").read_text())["searches"]
    (trial,) = record["trials"]
    assert trial["value"] == 70.0
    assert [score for _, score in trial["intermediate"]] == [50.0, 70.0, 40.0][:trained]
    assert (trial["epochs"], record["epochs_allotted"]) == (trained, trained)
    longer = light_study(tmp_path, seeds=1, search={**LIGHT_SEARCH, "trials": 4, **epochs})
    ((cell, left),) = budgets_left(longer, context, tmp_path / "out")
    assert (left, cell.train.epochs) == (3, trained), "what `check` counts the time of"


def test_check_counts_the_trials_and_epochs_of_a_search_with_the_cost(
    tmp_path: Path, context: Context
) -> None:
    searched = study(tmp_path, "methods=[baseline, uit-no-aug]", "search.trials=5", "search.epochs=3")
    cost = examine(searched, context, LaunchOptions(context.machine), tmp_path / "out").cost
    assert (cost["trials"], cost["trial_epochs_at_most"]) == (2 * 5, 2 * 5 * 3)
    arms = 2
    assert (cost["cells"], cost["epochs"]) == (arms * 2 * 2, arms * 2 * 2 * 2)
    twice = study(tmp_path, "search.trials=5", "search.repeats=2")
    cost = examine(twice, context, LaunchOptions(context.machine), tmp_path / "out").cost
    assert (cost["trials"], cost["cells"]) == (2 * 5, (1 + 2) * 2)


@pytest.mark.slow
def test_check_knows_a_trained_winner_and_none_of_a_search_that_goes_on(
    tmp_path: Path, context: Context
) -> None:
    def states(searched: Study) -> dict[tuple[str, int], str]:
        found = examine(searched, context, options, out).states
        return {(cell.method, cell.seed): found.get(cell.key, "queued") for cell in searched.cells()}

    out, options = tmp_path / "out", LaunchOptions(context.machine, workers=1)
    ended, store = study(tmp_path), RunStore(out)
    recipe, tuned = ("baseline", 0), ("baseline-tuned", 0)
    store_cells = ended.cells(search_study(ended, store, context, options))
    run_cells([cell for cell in store_cells if cell.seed == 0], store, context, options)
    assert states(ended) == {
        recipe: "done",
        ("baseline", 1): "queued",
        tuned: "done",
        (tuned[0], 1): "queued",
    }
    more = study(tmp_path, "search.trials=3")
    assert states(more)[recipe] == "done"
    assert states(more)[tuned] == "queued", "another trial may win"


def test_a_method_short_of_its_budget_means_that_no_winner_is_compared(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(self: Any, settings: Any, report_epoch: Any) -> float:
        return float("nan")

    monkeypatch.setattr("harness.search.trial_training.CellObjective.__call__", diverges)
    with pytest.raises(SearchIncomplete) as caught:
        search_study(
            study(tmp_path), RunStore(tmp_path / "out"), context, LaunchOptions(context.machine, workers=1)
        )
    assert caught.value.exit_code == 3
    errors = str(caught.value)
    assert "small/baseline/cuhk-pedes: 0 of 2 trials finished, 4 failed, the last one with nan" in errors
    assert "unequal budgets" in errors
    (record,) = json.loads((tmp_path / "out" / "search.json").read_text())["searches"]
    assert [trial["reason"] for trial in record["trials"]] == ["nan"] * 4


def test_a_trial_is_reported_and_worth_the_metric_that_the_study_selects_by(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each epoch scores two splits; R1 falls while mAP rises.
    heights, scores = iter([(90.0, 10.0)] * 2 + [(80.0, 20.0)] * 2 + [(70.0, 15.0)] * 2), loop.scores

    def apart(*arguments: Any, **settings: Any) -> dict[str, float]:
        r1, mean_precision = next(heights)
        return {**scores(*arguments, **settings), "R1": r1, "mAP": mean_precision}

    monkeypatch.setattr(loop, "scores", apart)
    context = Context(light_machine(data))
    search = {**LIGHT_SEARCH, "trials": 1}
    light = light_study(tmp_path, seeds=1, search=search, select={"metric": "mAP"})
    search_study(light, RunStore(tmp_path / "out"), context, LaunchOptions(context.machine, workers=1))
    (record,) = json.loads((tmp_path / "out" / "search.json").read_text())["searches"]
    (trial,) = record["trials"]
    assert trial["value"] == 20.0
    assert [score for _, score in trial["intermediate"]] == [10.0, 20.0, 15.0]
