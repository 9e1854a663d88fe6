"""Learning curves as they are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import stores
from matplotlib import pyplot
from stores import Truth

from reports.cell_views import Evaluation
from reports.sections import curves
from reports.stored_runs import read

HOME = Evaluation("clean", "rendered-plaza", "rendered-plaza", "t2i")


@pytest.fixture
def panel() -> Any:
    matplotlib.use("Agg")
    drawing, axes = pyplot.subplots()
    yield axes
    pyplot.close(drawing)


def test_every_run_has_its_line_through_all_epochs_and_a_dot_at_the_chosen_one_in_its_seeds_colour(
    tmp_path: Path, panel: Any
) -> None:
    stores.write(tmp_path, Truth(r1={"uit": 60.0}, seeds=3, people=30, epochs=5))
    cells = read([tmp_path]).cells
    curves._draw(panel, cells, HOME)
    lines, dots = panel.collections
    assert [len(line) for line in lines.get_segments()] == [5, 5, 5]
    for cell, line, dot in zip(cells, lines.get_segments(), dots.get_offsets(), strict=True):
        row = cell.row(HOME, "val")
        assert row is not None
        assert dot[0] == row["epoch"]
        assert any(np.allclose(point, dot) for point in line)
    assert np.allclose(lines.get_colors()[:, :3], dots.get_facecolors()[:, :3])
    low, high = panel.get_ylim()
    assert all(low <= score <= high for line in lines.get_segments() for _, score in line)


@pytest.mark.parametrize(("epochs", "ticks"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 3, 4, 5])])
def test_the_axis_has_ticks_at_whole_epochs_alone(
    tmp_path: Path, panel: Any, epochs: int, ticks: list[int]
) -> None:
    stores.write(tmp_path, Truth(r1={"uit": 60.0}, seeds=2, people=30, epochs=epochs))
    curves._draw(panel, read([tmp_path]).cells, HOME)
    curves._whole_epochs(panel)
    low, high = panel.get_xlim()
    assert [tick for tick in panel.get_xticks() if low <= tick <= high] == ticks
