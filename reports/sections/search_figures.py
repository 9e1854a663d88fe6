"""Drawings of a search: its history, slices, importances, an interaction, and parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from harness.machine.words import plural
from reports.document import Figure, visible
from reports.figures import INK, MUTED, PALETTE, RULE, FigureWriter
from reports.sections.importance import Importance
from reports.tuning import SearchRecord

Trial = Mapping[str, Any]

_PER_ROW = 3
_LINES = 300
"""Trials on parallel coordinates; of more, every so many by rank, and the best."""
_COLOURS = ("viridis", 0.3, 0.9)
"""From low to high scores: the part of the map that stands out from white paper and from a dark screen."""


def _colours() -> Any:
    import matplotlib
    from matplotlib.colors import ListedColormap

    name, low, high = _COLOURS
    return ListedColormap(matplotlib.colormaps[name]([low + (high - low) * at / 63 for at in range(64)]))


def _scored(search: SearchRecord) -> list[Trial]:
    return [trial for trial in search["trials"] if trial["value"] is not None]


def _named(search: SearchRecord) -> str:
    return f"{search['method']} on {search['dataset']}"


def _metric(search: SearchRecord) -> str:
    return f"validation {search.get('metric', 'R1')}"


def history(figure_writer: FigureWriter, search: SearchRecord, key: str) -> Figure:
    """Score by number of trial, and the best so far; failed trials stand at the bottom."""
    with figure_writer.axes(1, 1, (7.6, 2.8)) as (drawing, grid):
        axes = grid[0, 0]
        complete = [trial for trial in search["trials"] if trial["state"] == "complete"]
        pruned = [
            trial for trial in search["trials"] if trial["state"] == "pruned" and trial["value"] is not None
        ]
        failed = [trial for trial in search["trials"] if trial["state"] == "failed"]
        best = list(accumulate((trial["value"] for trial in complete), max))
        numbers = [trial["number"] for trial in complete]
        axes.step(numbers, best, where="post", color=PALETTE[1], lw=1.2, label="best so far")
        axes.plot(numbers, [t["value"] for t in complete], "o", ms=4.5, color=PALETTE[0], label="complete")
        if pruned:
            values = [trial["value"] for trial in pruned]
            axes.plot(
                [t["number"] for t in pruned], values, "o", ms=4.5, mfc="none", color=MUTED, label="pruned"
            )
        if failed and (complete or pruned):
            bottom = min(trial["value"] for trial in (*complete, *pruned))
            axes.plot(
                [t["number"] for t in failed], [bottom] * len(failed), "x", color=PALETTE[1], label="failed"
            )
        _recipe_line(axes, search)
        axes.set_xlabel("trial")
        axes.set_ylabel(_metric(search))
        axes.grid(axis="y")
        # Beside the drawing: scores may lie anywhere in it.
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        alt = f"Optimisation history of {_named(search)}: {plural(len(search['trials']), 'trial')}"
        caption = "Score of every trial in the order they were drawn; of pruned ones, the last before it."
        return figure_writer.finish(drawing, f"search-history-{key}", alt, f"{_named(search)}. {caption}")


def _recipe_line(axes: Any, search: SearchRecord) -> None:
    recipe = next((trial for trial in _scored(search) if trial["recipe"]), None)
    if recipe is not None:
        axes.axhline(recipe["value"], color=MUTED, lw=0.9, ls="--", zorder=0, label="recipe")


def slices(figure_writer: FigureWriter, search: SearchRecord, key: str) -> Figure:
    """Score against each setting alone, with the recipe's value marked."""
    names = list(search["space"])
    columns = min(_PER_ROW, len(names))
    rows = -(-len(names) // columns)
    size = (0.6 + 2.5 * columns, 0.4 + 2.2 * rows)
    with figure_writer.axes(rows, columns, size, sharey=True) as (drawing, grid):
        for axes, name in zip(grid.flat, names, strict=False):
            _slice(axes, search, name)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        drawing.supylabel(_metric(search), fontsize=9)
        alt = f"Score against each setting of {_named(search)}: {', '.join(names)}"
        recipe = ", ".join(f"{name} {_short(search['space'][name]['recipe'])}" for name in names)
        caption = f"Filled: complete; hollow: pruned. The dashed line marks the recipe's value ({recipe})."
        return figure_writer.finish(drawing, f"search-slices-{key}", alt, f"{_named(search)}. {caption}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _slice(axes: Any, search: SearchRecord, name: str) -> None:
    terms = search["space"][name]
    position = _places(terms)
    for state, fill in (("complete", PALETTE[0]), ("pruned", "none")):
        trials = [trial for trial in _scored(search) if trial["state"] == state and name in trial["params"]]
        at = [position(trial["params"][name]) for trial in trials]
        axes.plot(at, [trial["value"] for trial in trials], "o", ms=4.5, mfc=fill, mec=PALETTE[0])
    axes.axvline(position(terms["recipe"]), color=PALETTE[1], lw=1.1, ls="--")
    _scale(axes, "x", terms)
    axes.set_xlabel(visible(name))
    axes.grid(axis="y")
    axes.margins(y=0.12)


def _places(terms: Mapping[str, Any]) -> Any:
    """Where a value stands on an axis: itself, or its place among the choices."""
    choices = terms.get("choices")
    return (lambda value: value) if choices is None else (lambda value: choices.index(value))


def _scale(axes: Any, side: str, terms: Mapping[str, Any]) -> None:
    axis = axes.xaxis if side == "x" else axes.yaxis
    if "choices" in terms:
        axis.set_ticks(range(len(terms["choices"])), [visible(str(choice)) for choice in terms["choices"]])
    elif terms.get("log"):
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        axes.set(**{f"{side}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    if "choices" not in terms:
        # The whole range, not only where trials happen to lie: what was left out shows, too.
        low, high = terms["low"], terms["high"]
        if terms.get("log"):
            spare = (high / low) ** 0.05
            axes.set(**{f"{side}lim": (low / spare, high * spare)})
        else:
            spare = (high - low) * 0.05
            axes.set(**{f"{side}lim": (low - spare, high + spare)})


def importance(
    figure_writer: FigureWriter, search: SearchRecord, key: str, shares: Sequence[Importance]
) -> Figure | None:
    """Shares of the variance with their intervals; None when they cannot be computed."""
    if not shares:
        return None
    with figure_writer.axes(1, 1, (5.6, 0.7 + 0.4 * len(shares))) as (drawing, grid):
        axes = grid[0, 0]
        for row, item in enumerate(shares):
            axes.plot([item.low, item.high], [row, row], color=PALETTE[0], lw=1.6, solid_capstyle="butt")
            axes.plot([item.share], [row], "o", color=PALETTE[0], ms=6)
        axes.set_yticks(range(len(shares)), [visible(item.name) for item in shares])
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(f"share of the variance of {_metric(search)}")
        axes.grid(axis="x")
        listed = ", ".join(
            f"{item.name} {item.share:.2f} [{item.low:.2f}, {item.high:.2f}]" for item in shares
        )
        caption = "Functional ANOVA of resampled complete trials: the median, and the bar that holds 90 %."
        alt = f"Importance of the settings of {_named(search)}: {listed}"
        return figure_writer.finish(
            drawing, f"search-importance-{key}", alt, f"{_named(search)}. {caption} {listed}."
        )


def interaction(
    figure_writer: FigureWriter, search: SearchRecord, key: str, shares: Sequence[Importance]
) -> Figure | None:
    """Two settings against each other, coloured by score: mask ratio and temperature if both are there."""
    pair = _pair(search, shares)
    trials = [trial for trial in _scored(search) if trial["state"] == "complete"]
    if pair is None or len(trials) < 2:
        return None
    across, up = pair
    terms = search["space"]
    with figure_writer.axes(1, 1, (5.2, 3.8)) as (drawing, grid):
        axes = grid[0, 0]
        positions = [_places(terms[name]) for name in pair]
        for trial in _scored(search):
            if trial["state"] == "pruned":
                at = [[at(trial["params"][name])] for at, name in zip(positions, pair, strict=True)]
                axes.plot(*at, "o", ms=5, mfc="none", mec=MUTED, zorder=1)
        x, y = (
            [at(trial["params"][name]) for trial in trials] for at, name in zip(positions, pair, strict=True)
        )
        scores = [trial["value"] for trial in trials]
        dots = axes.scatter(x, y, c=scores, cmap=_colours(), s=46, edgecolors=INK, linewidths=0.6)
        axes.plot(
            [positions[0](terms[across]["recipe"])],
            [positions[1](terms[up]["recipe"])],
            "+",
            color=PALETTE[1],
            ms=18,
            mew=1.6,
            zorder=0,
        )
        _scale(axes, "x", terms[across])
        _scale(axes, "y", terms[up])
        axes.set_xlabel(visible(across))
        axes.set_ylabel(visible(up))
        drawing.colorbar(dots, ax=axes, label=_metric(search))
        alt = f"{across} against {up} of {_named(search)}, coloured by score"
        caption = "Complete trials, lighter is better; hollow ones were pruned; the cross marks the recipe."
        return figure_writer.finish(drawing, f"search-interaction-{key}", alt, f"{_named(search)}. {caption}")


def _pair(search: SearchRecord, shares: Sequence[Importance]) -> tuple[str, str] | None:
    names = list(search["space"])
    if {"mask_ratio", "temperature"} <= set(names):
        return "mask_ratio", "temperature"
    ranked = [item.name for item in shares] or names
    return (ranked[0], ranked[1]) if len(ranked) > 1 else None


def parallel(figure_writer: FigureWriter, search: SearchRecord, key: str) -> Figure | None:
    """Every complete trial as a line through its settings to its score; None for a single setting."""
    names = list(search["space"])
    trials = sorted((t for t in _scored(search) if t["state"] == "complete"), key=lambda t: float(t["value"]))
    if len(names) < 2 or len(trials) < 2:
        return None
    low, high = trials[0]["value"], trials[-1]["value"]
    colours = _colours()
    with figure_writer.axes(1, 1, (1.6 + 1.5 * len(names), 3.0)) as (drawing, grid):
        axes = grid[0, 0]
        for trial in (*trials[: -1 : -(-len(trials) // _LINES)], trials[-1]):
            height = (trial["value"] - low) / ((high - low) or 1.0)
            heights = [_share(search["space"][name], trial["params"][name]) for name in names]
            # Better trials are thicker as well as lighter, so that print shows them, too.
            width = 0.8 + 1.4 * height
            axes.plot(range(len(names) + 1), [*heights, height], color=colours(height), lw=width)
        for index, name in enumerate(names):
            axes.axvline(index, color=RULE, lw=0.8, zorder=0)
            axes.plot(
                [index],
                [_share(search["space"][name], search["space"][name]["recipe"])],
                "_",
                color=PALETTE[1],
                ms=14,
                mew=2.2,
            )
            for at, text in zip((-0.04, 1.04), _ends(search["space"][name]), strict=True):
                axes.text(index, at, visible(text), ha="center", va="top" if at < 0 else "bottom", fontsize=8)
        for at, value in ((-0.04, low), (1.04, high)):
            axes.text(
                len(names), at, f"{value:.1f}", ha="center", va="top" if at < 0 else "bottom", fontsize=8
            )
        axes.axvline(len(names), color=RULE, lw=0.8, zorder=0)
        axes.set_xticks(range(len(names) + 1), [*(visible(name) for name in names), _metric(search)])
        axes.tick_params(axis="x", length=0, pad=14)
        axes.set_yticks([])
        axes.set_ylim(-0.05, 1.05)
        axes.spines[["left", "bottom"]].set_visible(False)
        alt = f"Parallel coordinates of the {len(trials)} complete trials of {_named(search)}"
        caption = (
            "One line per complete trial, lighter and thicker is better; short marks are the recipe's values."
        )
        return figure_writer.finish(drawing, f"search-parallel-{key}", alt, f"{_named(search)}. {caption}")


def _share(terms: Mapping[str, Any], value: Any) -> float:
    """Where a value lies between the ends of its axis, from 0 to 1."""
    import math

    if "choices" in terms:
        return float(terms["choices"].index(value)) / max(len(terms["choices"]) - 1, 1)
    low, high = terms["low"], terms["high"]
    if terms.get("log"):
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _ends(terms: Mapping[str, Any]) -> tuple[str, str]:
    if "choices" in terms:
        return str(terms["choices"][0]), str(terms["choices"][-1])
    return f"{terms['low']:g}", f"{terms['high']:g}"
