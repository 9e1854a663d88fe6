"""A study's search: one per method and dataset, the same budget for each, and the winners' settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from harness.launch.cells import LaunchOptions
from harness.launch.context import Context
from harness.launch.launchers import open_launcher
from harness.machine.environment import Machine
from harness.machine.errors import ExitCode, HarnessError
from harness.machine.words import plural
from harness.search.creation import create_search
from harness.search.database import StorageError, search_url
from harness.search.live_table import SearchDisplay
from harness.search.plan import SearchPlan
from harness.search.search_checks import plan_problems
from harness.search.search_json import recorded_searches
from harness.search.search_loop import PluginFailed, SearchProgress, run_searches
from harness.search.space import Parameter, Scalar
from harness.search.trial_queue import trial_queue
from harness.search.trial_record import trial_record
from harness.search.trial_training import FOLDER, CellObjective, attach_progress
from harness.search.winner import winning_trial
from harness.store.run_files import SEARCH
from harness.store.runs import RunStore
from harness.study.arms import StudyArm, Tuned, arms_of, searched_settings
from harness.study.cell import Cell
from harness.study.schema import Choices, Range
from harness.study.schema import Search as SearchSection
from harness.study.study import Study


class SearchIncomplete(HarnessError):
    """Methods got unequal budgets, so no winner may be compared; lists them."""

    exit_code = ExitCode.INCOMPLETE


def search_seed(study: Study, repeat: int = 1) -> int:
    """The seed of all trials of a search: one from 1000 on that no cell of the comparison has."""
    fresh = (seed for seed in count(1000) if seed not in study.seeds)
    return next(islice(fresh, repeat - 1, None))


def searches_of(
    study: Study, context: Context, out: Path, machine: Machine | None = None
) -> list[SearchPlan]:
    """The searches a study asks for, by dataset and method; none without a `search:` section.

    Trials run on `machine`, as their workers see it; None: on that of `context`.

    Raises `StorageError` for a storage URL that cannot be one.
    """
    if study.search is None:
        return []
    url = search_url(study.search.storage, out)
    datasets = study.search.datasets or study.datasets
    return [
        _search(study, study.search, arm, dataset, context, url, out.absolute(), machine or context.machine)
        for dataset in datasets
        for plan in study.plans
        for arm in arms_of(plan, study.search, dataset)
        if arm.repeat
    ]


def _search(
    study: Study,
    section: SearchSection,
    arm: StudyArm,
    dataset: str,
    context: Context,
    url: str,
    out: Path,
    machine: Machine,
) -> SearchPlan:
    label, repeat = arm.method, arm.repeat
    lengthened = {"epochs": section.epochs} if section.epochs is not None else None
    cell = replace(study.cell(label, dataset, search_seed(study, repeat), lengthened), targets=())
    settings = cell.all_settings()
    parts = context.parts(cell)
    kept = {name: value for name, value in parts["settings"].items() if name not in section.space}
    ranges, searched = section.ranges(), searched_settings(study.plan(label), section)
    validation = context.dataset(dataset, cell.subset).splits["val"].counts()
    return SearchPlan(
        name=search_name(study, label, dataset, repeat),
        url=url,
        space={name: _parameter(name, ranges[name], settings[name]) for name in searched},
        recipe={name: settings[name] for name in searched},
        trials=section.trials,
        epochs=cell.train.epochs,
        objective=CellObjective(cell, out, machine),
        sampler=section.sampler,
        pruner=section.pruner,
        seed=cell.seed,
        grid_points=section.points,
        terms={**{name: parts[name] for name in ("dataset", "protocol", "code")}, "train": kept},
        about={
            "method": label,
            "dataset": dataset,
            "metric": study.select.metric,
            "arm": "tuned",
            "repeat": repeat,
            "trained_as": arm.label,
            "settings_it_lacks": [name for name in section.space if name not in searched],
            "validation": {"queries": validation["captions"], "people": validation["person_ids"]},
        },
    )


def _parameter(name: str, written: Range | Choices, recipe: object) -> Parameter:
    if isinstance(written, Choices):
        return Parameter(name, choices=written.choices)
    # `low: 0` may mean 0.0: a setting is whole when the recipe's own value is.
    whole = isinstance(recipe, int)
    return Parameter(name, written.low, written.high, written.log, written.step, integer=whole)


def search_problems(study: Study, context: Context, out: Path) -> list[str]:
    """Everything a search would be refused for, one line each; nothing is written, nothing is made."""
    try:
        searches = searches_of(study, context, out)
    except StorageError as error:
        return [str(error)]
    return plan_problems(searches, out)


def budgets_left(study: Study, context: Context, out: Path) -> list[tuple[Cell, int]]:
    """Of each search, its recipe's cell and how many trials `search.json` of `out` leaves to its budget."""
    found = recorded_searches(out / SEARCH)
    finished = {record.get("name"): int(record.get("finished", 0)) for record in found}
    return [
        (search.objective.recipe, max(0, search.trials - finished.get(search.name, 0)))
        for search in searches_of(study, context, out)
        if isinstance(search.objective, CellObjective)
    ]


def known_winners(study: Study, out: Path) -> Tuned:
    """The settings that won the searches whose whole budget `search.json` of `out` holds."""
    if study.search is None:
        return {}
    winners = dict[tuple[str, str, int], Mapping[str, Any]]()
    for record in recorded_searches(out / SEARCH):
        method, dataset, repeat = (
            str(record.get("method")),
            str(record.get("dataset")),
            record.get("repeat", 1),
        )
        named = record.get("name") == search_name(study, method, dataset, repeat)
        if named and record["finished"] >= study.search.trials and record["winner"] is not None:
            winners[method, dataset, repeat] = record["trials"][record["winner"]]["params"]
    return winners


def awaiting_search(study: Study, winners: Tuned) -> set[tuple[str, str]]:
    """Dataset and label of the tuned arms whose settings are not known before their search has ended."""
    return {
        (dataset, arm.label)
        for dataset in study.datasets
        for plan in study.plans
        for arm in arms_of(plan, study.search, dataset)
        if arm.repeat and (arm.method, dataset, arm.repeat) not in winners
    }


def search_name(study: Study, method: str, dataset: str, repeat: int) -> str:
    """What a search of a study is called in its database and in `search.json`."""
    return f"{study.name}/{method}/{dataset}" + (f"/{repeat}" if repeat > 1 else "")


def search_study(study: Study, store: RunStore, context: Context, options: LaunchOptions) -> Tuned:
    """Search every method of the study; the settings that won.

    All trials are kept in `search.json`, their cells below `trials`. The winners' scores are not results: the
    caller trains their settings again on the study's own seeds. Raises `StorageError` when the terms of a
    stored search differ or its database cannot be used, and `SearchIncomplete` when a method got less than
    the budget of the others.
    """
    problems = search_problems(study, context, store.directory)
    if problems:
        raise StorageError("\n".join(problems))
    searches = searches_of(study, context, store.directory, options.worker_machine)
    if not searches:
        return {}
    for search in searches:
        create_search(search)
    watch = SearchDisplay(searches, store.directory, context.progress)
    launcher = open_launcher(options.launcher, _resources(options, store), context.progress.relay)
    if getattr(launcher, "slots", 1) == 1:
        attach_progress(options.worker_machine, context.progress, watch.draw)
    try:
        end = run_searches(searches, launcher, watch)
    except StorageError as error:
        raise SearchIncomplete([f"{error}; what was finished is kept, run again to continue"]) from error
    except PluginFailed as error:
        watch.write()
        raise SearchIncomplete([str(error)]) from error
    finally:
        context.progress.show(None)
    launcher.shutdown()
    watch.write()
    _require_equal_budgets(end)
    return {_place(search): winner for search in searches if (winner := _winner(search)) is not None}


def _resources(options: LaunchOptions, store: RunStore) -> Any:
    return replace(options.resources, folder=store.directory / FOLDER / "jobs")


def _place(search: SearchPlan) -> tuple[str, str, int]:
    return search.about["method"], search.about["dataset"], search.about["repeat"]


def _winner(search: SearchPlan) -> Mapping[str, Scalar] | None:
    best = winning_trial(trial_queue(search).trials())
    return dict(best.params) if best is not None else None


def _require_equal_budgets(end: Sequence[SearchProgress]) -> None:
    short = [each for each in end if each.budget.finished < each.search.trials]
    if short:
        last = "no winner is compared: methods would have had unequal budgets; run again to try as many more"
        raise SearchIncomplete([*map(_shortfall, short), last])


def _shortfall(each: SearchProgress) -> str:
    text = f"{each.search.name}: {each.budget.finished} of {plural(each.search.trials, 'trial')} finished"
    failed = [one for one in map(trial_record, trial_queue(each.search).trials()) if one["reason"]]
    if failed:
        text += f", {len(failed)} failed, the last one with {failed[-1]['reason']}: {failed[-1]['detail']}"
    return text
