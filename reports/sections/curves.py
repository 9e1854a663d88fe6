"""Learning curves: validation R1 of every seed, with the epoch that the tables quote."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from harness.machine.words import plural_are
from reports.cell_views import CellView, Evaluation
from reports.context import ReportContext
from reports.document import Figure, Prose, Section, visible
from reports.figures import INK, PALETTE

_PER_ROW = 4
_PANELS = 24
"""Methods on one figure; further ones would be too small to read."""


def section(context: ReportContext) -> Section | None:
    """One figure for each training set; None before any epoch has been validated."""
    settings = dict.fromkeys(
        (cell.preset, cell.dataset, cell.population) for cell in context.stored_runs.cells if cell.parts
    )
    figures = [
        figure
        for setting in settings
        if (figure := _figure(context, Evaluation(setting[0], setting[1], setting[1], "t2i", setting[2])))
    ]
    if not figures:
        return None
    text = (
        "Validation R1 by epoch, one line per seed; the dot marks the epoch chosen on validation. A run "
        "without a dot has no result yet."
    )
    return Section("curves", "Learning curves", (Prose(text), *figures))


def _figure(context: ReportContext, evaluation: Evaluation) -> Figure | None:
    cells: dict[str, list[CellView]] = {}
    for name in context.stored_runs.methods:
        of_method = [
            cell
            for cell in context.stored_runs.cells
            if cell.method == name and evaluation.holds(cell) and curve(cell.history)
        ]
        if of_method:
            cells[name] = of_method
    if not cells:
        return None
    shown = dict(list(cells.items())[:_PANELS])
    columns = min(_PER_ROW, len(shown))
    rows = -(-len(shown) // columns)
    with context.figure_writer.axes(
        rows, columns, (0.6 + 2.1 * columns, 0.7 + 1.6 * rows), sharex=True, sharey=True
    ) as (drawing, grid):
        for axes, (name, runs) in zip(grid.flat, shown.items(), strict=False):
            _draw(axes, runs, evaluation)
            axes.set_title(visible(name))
            axes.grid(axis="y")
            _whole_epochs(axes)
        _legend(drawing, {cell.seed for runs in shown.values() for cell in runs})
        for axes in grid.flat[max(0, len(shown) - columns) : len(shown)]:
            axes.tick_params(labelbottom=True)  # also above an empty evaluation of the last row
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        drawing.supxlabel("epoch", fontsize=9)
        drawing.supylabel("validation R1", fontsize=9)
        rest = len(cells) - len(shown)
        return context.figure_writer.finish(
            drawing,
            f"curves-{evaluation.key}",
            f"Validation R1 by epoch for every method and seed, trained on {evaluation.title}",
            f"Trained on {evaluation.title}."
            + (f" {plural_are(rest, 'more method')} not drawn." if rest else ""),
        )


def _whole_epochs(axes: Any) -> None:
    """Ticks at whole epochs alone, also of a run that has a single one."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def _legend(drawing: Any, seeds: Collection[int]) -> None:
    """Which colour is which seed; many seeds share colours, and a legend of them would tell nothing."""
    from matplotlib.lines import Line2D

    if len(seeds) < len(PALETTE):
        lines = [Line2D([], [], color=_colour(seed), label=f"seed {seed}") for seed in sorted(seeds)]
        drawing.legend(handles=lines, loc="outside upper left", ncols=len(lines))


def _colour(seed: int) -> str:
    return PALETTE[seed % (len(PALETTE) - 1)]


def _draw(axes: Any, runs: Sequence[CellView], evaluation: Evaluation) -> None:
    """The lines of all runs as one collection and their dots as another: one artist a run takes longer."""
    from matplotlib.collections import LineCollection

    curves = [curve(cell.history) for cell in runs]
    colours = [_colour(cell.seed) for cell in runs]
    axes.add_collection(LineCollection(curves, colors=colours, linewidths=1.1, alpha=0.9, zorder=2))
    chosen = [
        (epoch, score, colour)
        for cell, points, colour in zip(runs, curves, colours, strict=True)
        if (row := cell.row(evaluation, "val")) is not None
        for epoch, score in points
        if epoch == row.get("epoch")
    ]
    if chosen:
        epochs, scores, of_seed = zip(*chosen, strict=True)
        axes.scatter(epochs, scores, s=25, c=of_seed, edgecolors=INK, linewidths=0.6, zorder=2.1)
    axes.autoscale_view()


def curve(history: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Epochs with their validation R1, where it was measured."""
    points = []
    for line in history:
        scores = line.get("val")
        value = scores.get("R1") if isinstance(scores, Mapping) else None
        if isinstance(value, (int, float)) and value == value:
            points.append((int(line["epoch"]), float(value)))
    return points
