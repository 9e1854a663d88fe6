"""What of a cell is evaluated, and what is still missing: every selection's model on every target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.launch.context import Context, InputSpec
from harness.machine.terms import DIRECTIONS, SELECTIONS, Selection
from harness.store.cell_run import CellRun, evaluation_key
from harness.study.cell import Cell

if TYPE_CHECKING:
    from methods.base import Method


def missing_evaluations(
    run: CellRun, cell: Cell, context: Context, selections: Sequence[Selection] = SELECTIONS
) -> list[tuple[str, Selection]]:
    """Evaluations (target, selection) without results and records on the data as it is now.

    On its own dataset every selection is wanted. On another target that was added, or whose data changed,
    after the models that are not kept had been deleted, only the kept ones can be had without training again.
    """
    rows = [row for row in run.results if row.get("fingerprint") == _data_now(row, cell, context)]
    have = {evaluation_key(row) for row in rows if run.records_path(*evaluation_key(row)).exists()}
    scored = {(row["target"], row["selection"]) for row in rows}
    return [
        (target, selection)
        for target in cell.targets
        for selection in selections
        if not {(target, selection, direction) for direction in DIRECTIONS} <= have
        and (
            target == cell.dataset or (target, selection) in scored or run.model_epoch(selection) is not None
        )
    ]


def _data_now(row: Mapping[str, Any], cell: Cell, context: Context) -> str | None:
    """The fingerprint, now, of the data of a row of results; None for a target that is not asked for now."""
    target = row.get("target")
    return context.data_fingerprint(target, cell) if target in cell.targets else None


def lacks_models(
    cell: Cell, run: CellRun, context: Context, selections: Sequence[Selection] = SELECTIONS
) -> bool:
    """Whether a model is gone that a finished cell keeps, or that a missing evaluation needs."""
    needed = {selection for _, selection in missing_evaluations(run, cell, context, selections)}
    needed |= {selection for selection in cell.kept_models if selection in selections}
    return any(run.model_epoch(selection) is None for selection in needed)


def evaluate_cell(
    cell: Cell,
    run: CellRun,
    context: Context,
    before: Sequence[Mapping[str, Any]],
    selections: Sequence[Selection],
) -> None:
    """Evaluate the model of every selection on every target that `before` lacks, and keep all of it."""
    everything = [(target, selection) for target in cell.targets for selection in selections]
    missing = missing_evaluations(run, cell, context, selections) if before else everything
    rows = [
        dict(row)
        for row in before
        if row.get("fingerprint") == _data_now(row, cell, context)
        and (row["target"], row["selection"]) not in missing
    ]
    work: dict[tuple[int, str], list[Selection]] = {}
    for target, selection in missing:
        epoch = run.model_epoch(selection)
        if epoch is not None:
            work.setdefault((epoch, target), []).append(selection)
    order = sorted(work, key=lambda each: (each[0], cell.targets.index(each[1])))
    for done, (epoch, target) in enumerate(order, 1):
        chosen_by = work[epoch, target]
        method = context.trained_method(cell, run, chosen_by[0])
        rows += _evaluated(cell, run, context, method, target, chosen_by, epoch)
        context.progress.working(f"evaluating {run.name}", done, len(work))
    run.write_results(sorted(rows, key=lambda row: (row["target"], row["selection"], row["direction"])))


def _evaluated(
    cell: Cell,
    run: CellRun,
    context: Context,
    method: Method,
    target: str,
    chosen_by: Sequence[str],
    epoch: int,
) -> Iterator[dict[str, Any]]:
    from harness.evaluate.features import evaluate, records_frame, result_row
    from harness.machine.devices import to_precision

    device = context.fabric(cell).device
    spec = InputSpec.of(cell)
    data = context.split(target, spec, "test", device)
    to_precision(method.to(device), cell.train.precision)
    found = evaluate(method, data, precision=cell.train.precision, tie_order=cell.tie_order)
    dataset = context.dataset(target, cell.subset)
    beside = {
        "fingerprint": context.data_fingerprint(target, cell),
        "skipped": dataset.skipped + len(context.images(target, spec, "test").broken),
        "data": {**context.data_provenance(target, spec), "subset": cell.subset},
    }
    for direction, records in found.items():
        frame = records_frame(records, data.split, direction)
        for selection in chosen_by:
            run.save_records(target, selection, direction, frame)
            row = result_row(records, target=target, selection=selection, direction=direction, epoch=epoch)
            yield {**row, **beside}
