"""Searches of hyper-parameters: what was tried, what it cost, what mattered; every trial, failed ones too.

A run that searched leaves `search.json` in its directory: `{"searches": [...]}`, one mapping per method
and dataset with its budget, space, winner and trials (see `harness/search/search_json.py`).
Scores of trials are validation scores; none of them enters a table of results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.machine.paths import as_typed
from harness.store.run_files import SEARCH, read_mapping
from harness.store.seals import is_broken
from reports.context import ReportContext, slug
from reports.document import Block, Column, Prose, Section, Table, TableCell
from reports.formatting import missing, number, plural
from reports.sections.importance import FEW_TRIALS, importances
from reports.sections.search_figures import history, importance, interaction, parallel, slices
from reports.tuning import SearchRecord

_KEYS = {
    *("method", "dataset", "sampler", "pruner", "space", "trials", "winner", "finished", "failed"),
    *("trials_allotted", "epochs_allotted", "epochs_trained", "seconds"),
}


def searches(path: Path) -> list[SearchRecord]:
    """The searches a run left; none when there is no file, it is damaged, or was altered since."""
    values = read_mapping(path)
    entries = [] if is_broken(values) else values.get("searches")
    known = entries if isinstance(entries, list) else []
    return [entry for entry in known if isinstance(entry, dict) and entry.keys() >= _KEYS]


def section(context: ReportContext) -> Section | None:
    """Budgets first, then each search with its figures and all its trials; None when nothing was searched."""
    records = [search for run in context.stored_runs.runs for search in searches(run.path / SEARCH)]
    altered = [run.path for run in context.stored_runs.runs if is_broken(read_mapping(run.path / SEARCH))]
    blocks: list[Block] = [
        Prose(
            f"{SEARCH} in {as_typed(path)} was altered after it was written, so none of its searches is "
            "shown; `run` writes it again from the database of the search."
        )
        for path in altered
    ]
    if not records and not blocks:
        return None
    blocks += [Prose(budget_statement(records)), _budgets(records)] if records else []
    for search in records:
        blocks += _chapter(context, search)
    return Section("search", "Search of hyper-parameters", tuple(blocks))


def budget_statement(records: Sequence[SearchRecord]) -> str:
    """Whether every method got the same budget, what was spent of it, and what the scores here are for."""
    finished = {search["finished"] for search in records}
    epochs = {search["epochs_allotted"] for search in records}
    promised = {search["trials_allotted"] for search in records}
    if len(finished) == len(epochs) == 1 and finished == promised:
        budget = (
            f"Equal budgets: {plural(finished.pop(), 'finished trial')} of at most "
            f"{plural(epochs.pop(), 'epoch')} for every method and dataset."
        )
    else:
        lines = (
            f"{_name(search)} {search['finished']} of {search['trials_allotted']} trials of "
            f"{plural(search['epochs_allotted'], 'epoch')}"
            for search in records
        )
        budget = f"Budgets are not equal yet ({'; '.join(lines)}), so no winner is compared."
    return (
        f"{budget} A trial counts when it is complete or pruned; a failed one is shown and replaced. "
        f"{_cost(records)} Trials are scored on validation only, at the best epoch of one seed, so their "
        "scores are optimistic: winners are trained again on fresh seeds before they enter a table."
    )


def _cost(records: Sequence[SearchRecord]) -> str:
    """What was really spent: pruning and failures make methods differ here, and a reader must know it."""
    hours = sum(search["seconds"] for search in records) / 3600
    epochs = [search["epochs_trained"] for search in records]
    spent = plural(sum(epochs), "epoch")
    if len(records) > 1:
        least, most = min(epochs), max(epochs)
        spent += f" ({least} each)" if least == most else f" (from {least} to {most} a search)"
    return f"Trained in all: {spent} in {number(hours, 2)} hours of all workers together."


def _name(search: SearchRecord) -> str:
    again = f", search {search['repeat']}" if search.get("repeat", 1) > 1 else ""
    return f"{search['method']} on {search['dataset']}{again}"


def _key(search: SearchRecord) -> str:
    again = f"-{search['repeat']}" if search.get("repeat", 1) > 1 else ""
    return slug(f"{search['method']}-{search['dataset']}{again}")


def _budgets(records: Sequence[SearchRecord]) -> Table:
    columns = (
        Column("Method", "left"),
        Column("Dataset", "left"),
        *(Column(label) for label in ("Finished", "Pruned", "Failed")),
        Column("Epochs", help="Trained in all, also by pruned and failed trials"),
        Column("Hours", help="Of all workers together"),
        Column("Recipe", help="Validation score of the recipe's own values, the first trial"),
        Column("Winner", help="Validation score of the best complete trial"),
    )
    return Table(
        "search-budgets", "What every search was given and what it cost", columns, tuple(map(_row, records))
    )


def _row(search: SearchRecord) -> tuple[TableCell, ...]:
    trials = search["trials"]
    counts = (
        search["finished"],
        sum(trial["state"] == "pruned" for trial in trials),
        search["failed"],
        search["epochs_trained"],
    )
    return (
        *(TableCell(search[name], search[name]) for name in ("method", "dataset")),
        *(TableCell(number(count, 0), count) for count in counts),
        TableCell(number(search["seconds"] / 3600, 2), search["seconds"]),
        _score(_recipe(search)),
        _score(_winner(search)) if _winner(search) else missing("no complete trial"),
    )


def _winner(search: SearchRecord) -> Mapping[str, Any] | None:
    return next((trial for trial in search["trials"] if trial["number"] == search["winner"]), None)


def _recipe(search: SearchRecord) -> Mapping[str, Any] | None:
    """The trial of the recipe's own values: the last one, as one that failed is tried again."""
    return next((trial for trial in reversed(search["trials"]) if trial["recipe"]), None)


def _score(trial: Mapping[str, Any] | None) -> TableCell:
    if trial is None or trial["value"] is None:
        return missing("not finished" if trial is None else trial["state"])
    return TableCell(number(trial["value"], 2), trial["value"], note=f"trial {trial['number']}")


def _settings(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in params.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _chapter(context: ReportContext, search: SearchRecord) -> list[Block]:
    how = f"Sampler {search['sampler']}, pruner {search['pruner']}."
    blocks: list[Block] = [Prose(f"{_name(search)}: {_verdict(search)} {how}", "lead")]
    complete = [trial for trial in search["trials"] if trial["state"] == "complete"]
    if complete:
        shares = importances(
            search["space"], [trial["params"] for trial in complete], [trial["value"] for trial in complete]
        )
        drawn = [
            history(context.figure_writer, search, _key(search)),
            slices(context.figure_writer, search, _key(search)),
            importance(context.figure_writer, search, _key(search), shares),
            interaction(context.figure_writer, search, _key(search), shares),
            parallel(context.figure_writer, search, _key(search)),
        ]
        blocks += [figure for figure in drawn if figure is not None]
        if not shares:
            reason = f"fewer than {FEW_TRIALS} complete trials, or all with one score"
            blocks.append(Prose(f"Which setting mattered cannot be decided: {reason}.", "note"))
    return [*blocks, _trials(search)]


def _verdict(search: SearchRecord) -> str:
    winner, recipe = _winner(search), _recipe(search)
    if winner is None:
        return "no trial is complete."
    if winner["recipe"]:
        return "the recipe's own values win."
    text = f"trial {winner['number']} wins with {_settings(winner['params'])}"
    if recipe is not None and recipe["value"] is not None:
        gain = winner["value"] - recipe["value"]
        if gain <= 0:
            return (
                f"no trial scores above the recipe's own values; trial {winner['number']} is as good, "
                f"with {_settings(winner['params'])}."
            )
        text += f", {number(gain, 2)} points of validation {search.get('metric', 'R1')} above the recipe"
    return f"{text}."


def _trials(search: SearchRecord) -> Table:
    names = list(search["space"])
    columns = (
        Column("Trial"),
        Column("How it ended", "left"),
        *(Column(_breakable(name)) for name in names),
        Column(f"Validation {search.get('metric', 'R1')}"),
        Column("Epochs"),
        Column("Seconds"),
    )
    rows = tuple(_trial(trial, names, search["winner"]) for trial in search["trials"])
    return Table(f"search-trials-{_key(search)}", f"All trials: {_name(search)}", columns, rows)


def _breakable(name: str) -> str:
    """A setting's name that a narrow heading may break into words."""
    return name.replace("_", " ")


def _trial(trial: Mapping[str, Any], names: Sequence[str], winner: int | None) -> tuple[TableCell, ...]:
    params = trial["params"]
    return (
        TableCell(str(trial["number"]), trial["number"], kind="strong" if trial["number"] == winner else ""),
        TableCell(_ending(trial, winner), trial["state"], kind="worse" if trial["state"] == "failed" else ""),
        *(
            TableCell(_short(params[name]), params[name]) if name in params else missing("not drawn")
            for name in names
        ),
        _score(trial),
        TableCell(str(trial["epochs"]), trial["epochs"]),
        TableCell(number(trial["seconds"], 1), trial["seconds"]),
    )


def _ending(trial: Mapping[str, Any], winner: int | None) -> str:
    ended = trial["state"]
    if trial["pruned_at"] is not None:
        ended = f"pruned after epoch {trial['pruned_at']}"
    if trial["reason"]:
        ended = f"failed ({trial['reason']}): {trial['detail']}"
    remarks = [ended]
    if trial["number"] == winner:
        remarks.append("winner")
    if trial["recipe"]:
        remarks.append("the recipe")
    if trial["resumed"]:
        remarks.append(f"taken up again {plural(trial['resumed'], 'time')} after its worker died")
    return "; ".join(remarks)
