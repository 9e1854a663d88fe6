"""What the drawings of a search show: every point, line and mark lies at the value it stands for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_search_section import SPACE, entry, planted

from reports.document import Figure
from reports.figures import PALETTE, FigureWriter
from reports.sections import search_figures
from reports.sections.importance import Importance

Drawn = dict[str, Any]
Points = set[tuple[float, float]]


class Looking(FigureWriter):
    """Hands each drawing to `look` before it is closed."""

    look: Callable[[Any], None]

    def finish(self, drawing: Any, key: str, alt: str, caption: str) -> Figure:
        type(self).look(drawing)
        return super().finish(drawing, key, alt, caption)


@pytest.fixture
def looking() -> Callable[[Callable[[Any], None]], FigureWriter]:
    def make(look: Callable[[Any], None]) -> FigureWriter:
        Looking.look = staticmethod(look)
        return Looking(None)

    return make


SEARCH = entry(planted())
COMPLETE = [one for one in SEARCH["trials"] if one["state"] == "complete"]
PRUNED = [one for one in SEARCH["trials"] if one["state"] == "pruned"]
CHOICES = SPACE["cmt_positive"]["choices"]


def place(name: str, value: Any) -> float:
    return float(CHOICES.index(value)) if name == "cmt_positive" else float(value)


def points(line: Any) -> Points:
    return {(round(float(x), 9), round(float(y), 9)) for x, y in zip(*line.get_data(), strict=True)}


def expected(trials: list[Any], name: str) -> Points:
    return {(round(place(name, one["params"][name]), 9), round(one["value"], 9)) for one in trials}


def upright(axes: Any) -> list[float]:
    """Where vertical lines stand."""
    return [
        float(line.get_xdata()[0])
        for line in axes.lines
        if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]
    ]


def test_the_history_shows_every_trial_at_its_number_and_score_and_the_best_so_far(looking: Any) -> None:
    seen: Drawn = {}

    def look(drawing: Any) -> None:
        (axes,) = drawing.axes
        seen.update({line.get_label(): points(line) for line in axes.lines})
        seen["axes"] = (axes.get_xlabel(), axes.get_ylabel())
        seen["best"] = list(axes.lines[0].get_ydata())

    search_figures.history(looking(look), SEARCH, "k")
    assert seen["complete"] == {(one["number"], round(one["value"], 9)) for one in COMPLETE}
    assert seen["pruned"] == {(4, 31.5)}
    assert seen["failed"] == {(9, 31.5)}, "at the bottom"
    assert seen["best"] == [max(one["value"] for one in COMPLETE[: n + 1]) for n in range(len(COMPLETE))]
    assert {y for _, y in seen["recipe"]} == {round(SEARCH["trials"][0]["value"], 9)}
    assert seen["axes"] == ("trial", "validation R1")


def test_a_slice_shows_a_setting_against_the_score_over_its_whole_range(looking: Any) -> None:
    seen: dict[str, Drawn] = {}

    def look(drawing: Any) -> None:
        for axes in (one for one in drawing.axes if one.get_visible()):
            complete, pruned = axes.lines[0], axes.lines[1]
            seen[axes.get_xlabel()] = {
                "complete": points(complete),
                "pruned": points(pruned),
                "filled": (complete.get_markerfacecolor(), pruned.get_markerfacecolor()),
                "recipe": upright(axes),
                "scale": axes.get_xscale(),
                "range": axes.get_xlim(),
                "ticks": [text.get_text() for text in axes.get_xticklabels()],
            }

    search_figures.slices(looking(look), SEARCH, "k")
    assert set(seen) == set(SPACE)
    for name, shown in seen.items():
        assert shown["complete"] == expected(COMPLETE, name)
        assert shown["pruned"] == expected(PRUNED, name)
        assert shown["filled"] == (PALETTE[0], "none")
        assert shown["recipe"] == [place(name, SPACE[name]["recipe"])]
    assert [seen[name]["scale"] for name in SPACE] == ["linear", "log", "linear"]
    assert seen["cmt_positive"]["ticks"] == CHOICES
    for name in ("mask_ratio", "temperature"):
        low, high = seen[name]["range"]
        assert low < SPACE[name]["low"] < SPACE[name]["high"] < high
        across = math.log if SPACE[name]["log"] else float
        spare = 0.05 * (across(SPACE[name]["high"]) - across(SPACE[name]["low"]))
        assert across(SPACE[name]["low"]) - across(low) == pytest.approx(spare)
        assert across(high) - across(SPACE[name]["high"]) == pytest.approx(spare)


def test_the_interaction_shows_two_settings_with_the_score_as_colour(looking: Any) -> None:
    seen: Drawn = {}

    def look(drawing: Any) -> None:
        axes, bar = drawing.axes
        (dots,) = axes.collections
        seen["dots"] = {
            (*map(float, at), float(score))
            for at, score in zip(dots.get_offsets(), dots.get_array(), strict=True)
        }
        seen["lines"] = [points(line) for line in axes.lines]
        seen["labels"] = (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel())
        seen["scales"] = (axes.get_xscale(), axes.get_yscale())

    search_figures.interaction(looking(look), SEARCH, "k", ())
    assert seen["dots"] == {
        (one["params"]["mask_ratio"], one["params"]["temperature"], one["value"]) for one in COMPLETE
    }
    assert seen["lines"] == [
        {(round(PRUNED[0]["params"]["mask_ratio"], 9), round(PRUNED[0]["params"]["temperature"], 9))},
        {(0.7, 0.02)},
    ]
    assert seen["labels"] == ("mask_ratio", "temperature", "validation R1")
    assert seen["scales"] == ("linear", "log")


def test_other_searches_show_the_two_settings_that_mattered_most(looking: Any) -> None:
    space = {("lr" if name == "temperature" else name): terms for name, terms in SPACE.items()}
    trials = [
        {**one, "params": {("lr" if n == "temperature" else n): v for n, v in one["params"].items()}}
        for one in planted()
    ]
    shares = [
        Importance(name, share, 0.0, 1.0)
        for name, share in (("lr", 0.7), ("cmt_positive", 0.2), ("mask_ratio", 0.1))
    ]
    seen: Drawn = {}

    def look(drawing: Any) -> None:
        seen["labels"] = (drawing.axes[0].get_xlabel(), drawing.axes[0].get_ylabel())

    search_figures.interaction(looking(look), entry(trials, space=space), "k", shares)
    assert seen["labels"] == ("lr", "cmt_positive")


def test_importances_are_drawn_at_their_share_with_their_interval_and_listed(looking: Any) -> None:
    shares = [Importance("mask_ratio", 0.75, 0.5, 0.875), Importance("temperature", 0.25, 0.125, 0.5)]
    seen: Drawn = {}

    def look(drawing: Any) -> None:
        (axes,) = drawing.axes
        seen["lines"] = [sorted(points(line)) for line in axes.lines]
        seen["names"] = [text.get_text() for text in axes.get_yticklabels()]

    figure = search_figures.importance(looking(look), SEARCH, "k", shares)
    assert seen["lines"] == [
        [(0.5, 0), (0.875, 0)], [(0.75, 0)], [(0.125, 1), (0.5, 1)], [(0.25, 1)],
    ]  # fmt: skip
    assert seen["names"] == ["mask_ratio", "temperature"]
    assert figure is not None
    assert "mask_ratio 0.75 [0.50, 0.88], temperature 0.25 [0.12, 0.50]" in figure.caption


def test_parallel_lines_go_through_a_trials_settings_to_its_score(looking: Any) -> None:
    seen: Drawn = {}

    def look(drawing: Any) -> None:
        (axes,) = drawing.axes
        seen["trials"] = [line for line in axes.lines if len(line.get_xdata()) == len(SPACE) + 1]
        seen["heights"] = [list(line.get_ydata()) for line in seen["trials"]]
        seen["widths"] = [line.get_linewidth() for line in seen["trials"]]
        seen["recipe"] = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "_"]
        seen["ends"] = [text.get_text() for text in axes.texts]
        seen["ticks"] = [text.get_text() for text in axes.get_xticklabels()]

    def heights(params: dict[str, Any]) -> list[float]:
        ratio = (params["mask_ratio"] - 0.3) / (0.9 - 0.3)
        temperature = math.log(params["temperature"] / 0.01) / math.log(0.1 / 0.01)
        return [ratio, temperature, float(CHOICES.index(params["cmt_positive"]))]

    search_figures.parallel(looking(look), SEARCH, "k")
    ranked = sorted(COMPLETE, key=lambda one: one["value"])
    low, high = ranked[0]["value"], ranked[-1]["value"]
    share = [(one["value"] - low) / (high - low) for one in ranked]
    wanted = [[*heights(one["params"]), at] for one, at in zip(ranked, share, strict=True)]
    assert np.allclose(seen["heights"], wanted)
    assert seen["widths"] == sorted(seen["widths"]), "better is thicker"
    assert seen["widths"][0] < seen["widths"][-1]
    assert seen["recipe"] == pytest.approx(
        heights({"mask_ratio": 0.7, "temperature": 0.02, "cmt_positive": "weakest"})
    )
    assert seen["ends"] == ["0.3", "0.9", "0.01", "0.1", "own_pair", "weakest", f"{low:.1f}", f"{high:.1f}"]
    assert seen["ticks"] == [*SPACE, "validation R1"]


def test_of_more_trials_than_lines_the_best_and_the_worst_are_still_drawn(
    looking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_figures, "_LINES", 4)
    seen: Drawn = {}

    def look(drawing: Any) -> None:
        (axes,) = drawing.axes
        seen["last"] = [
            line.get_ydata()[-1] for line in axes.lines if len(line.get_xdata()) == len(SPACE) + 1
        ]

    search_figures.parallel(looking(look), SEARCH, "k")
    assert len(seen["last"]) <= 4 + 1
    assert min(seen["last"]) == 0
    assert max(seen["last"]) == 1
