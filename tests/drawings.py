"""The drawings of a page as numbers: what matplotlib was given, read before a drawing is closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from reports.document import Figure
from reports.figures import FigureWriter

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line or a row of markers."""

    points: list[Point]
    marker: str
    label: str
    colour: str


@dataclass(frozen=True)
class Panel:
    """Axes with what is drawn in them."""

    title: str
    labels: tuple[str, str]
    ticks: tuple[list[str], list[str]]
    limits: tuple[Point, Point]
    lines: list[Line]
    texts: list[tuple[float, float, str]]
    axes: Any = field(repr=False)

    def marks(self, marker: str) -> list[Point]:
        """Points that are drawn with a marker, in the order of their lines."""
        return [point for line in self.lines if line.marker == marker for point in line.points]


def _points(line: Any) -> list[Point]:
    return [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]


def panel(axes: Any) -> Panel:
    """What is drawn in `axes`."""
    return Panel(
        axes.get_title() or axes.get_title("left"),
        (axes.get_xlabel(), axes.get_ylabel()),
        (
            [text.get_text() for text in axes.get_xticklabels()],
            [text.get_text() for text in axes.get_yticklabels()],
        ),
        (axes.get_xlim(), axes.get_ylim()),
        [
            Line(_points(one), str(one.get_marker()), str(one.get_label()), str(one.get_color()))
            for one in axes.lines
        ],
        [(*map(float, text.get_position()), text.get_text()) for text in axes.texts],
        axes,
    )


@contextmanager
def drawn() -> Iterator[dict[str, list[Panel]]]:
    """The visible panels of every figure that is finished meanwhile, by the figure's key."""
    found: dict[str, list[Panel]] = {}
    finish = FigureWriter.finish

    def look(self: FigureWriter, drawing: Any, key: str, alt: str, caption: str) -> Figure:
        found[key] = [panel(axes) for axes in drawing.axes if axes.get_visible()]
        return finish(self, drawing, key, alt, caption)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureWriter, "finish", look)
        yield found
