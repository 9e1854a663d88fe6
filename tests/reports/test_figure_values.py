"""Figures of results: every point, interval and number lies where the tables beside the page have it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import stores
from drawings import Panel, drawn

from reports.assemble import build
from reports.comparison import ComparisonOptions
from reports.figures import PALETTE, VERDICT_COLOURS, VERDICT_MARKERS, forest

PLAZA, STATION = "rendered-plaza", "rendered-station"
METHODS = {"uit": 50.0, "irra": 44.0, "baseline": 49.0, "rde": 15.0}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Panel]]]:
    folder = tmp_path_factory.mktemp("run")
    truth = stores.Truth(
        METHODS, people=120, datasets=(PLAZA, STATION), transfer=True, directions=("t2i",), seed_sd=0.5
    )
    stores.write(folder, truth)
    with drawn() as found:
        build([folder], options=ComparisonOptions(resamples=200))
    return folder, found


def rows(folder: Path, table: str, **wanted: str) -> list[dict[str, str]]:
    with (folder / table).open(newline="") as file:
        return [
            row for row in csv.DictReader(file) if all(row[key] == value for key, value in wanted.items())
        ]


def compare_with_verdicts(shown: Panel, folder: Path, metric: str, place: str) -> None:
    family = {"metric": metric, "scope": "people", "direction": "t2i", "other": "uit"}
    wanted = rows(folder, "verdicts.csv", dataset=place, target=place, **family)
    assert len(wanted) == len(METHODS) - 1
    assert shown.title == f"{metric} on {place}"
    assert shown.ticks[1] == [row["one"] for row in wanted]
    assert shown.labels[0] == "points against uit"
    assert shown.limits[1][0] > shown.limits[1][1], "the first on top"
    assert [text for *_, text in shown.texts] == [row["verdict"] for row in wanted]
    for at, row in enumerate(wanted):
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        (span,) = (line for line in shown.lines if [y for _, y in line.points] == [at, at])
        assert [x for x, _ in span.points] == pytest.approx([low, high])
        assert span.colour == VERDICT_COLOURS[row["verdict"]]
        marks = shown.marks(VERDICT_MARKERS[row["verdict"]])
        assert [x for x, y in marks if y == at] == pytest.approx([value])


def test_the_first_figures_show_each_difference_with_its_interval_and_verdict(
    page: tuple[Path, dict[str, list[Panel]]],
) -> None:
    folder, found = page
    assert [key for key in found if key.startswith("forest-")] == [f"forest-{PLAZA}", f"forest-{STATION}"]
    for place in (PLAZA, STATION):
        compare_with_verdicts(*found[f"forest-{place}"], folder, "R1", place)


def test_of_a_single_dataset_map_is_shown_beside_r1(tmp_path: Path) -> None:
    stores.write(tmp_path, stores.Truth(METHODS, people=100, directions=("t2i",)))
    with drawn() as found:
        build([tmp_path], options=ComparisonOptions(resamples=200))
    compare_with_verdicts(*found[f"forest-{PLAZA}"], tmp_path, "R1", PLAZA)
    compare_with_verdicts(*found[f"forest-map-{PLAZA}"], tmp_path, "mAP", PLAZA)


def test_the_transfer_figure_shows_the_mean_of_each_method_from_each_place_to_each(
    page: tuple[Path, dict[str, list[Panel]]],
) -> None:
    folder, found = page
    for metric, key in (("R1", "transfer-r1"), ("mAP", "transfer-map")):
        panels = {one.title: one for one in found[key]}
        assert set(panels) == set(METHODS)
        for method, shown in panels.items():
            assert {tick for tick in (*shown.ticks[0], *shown.ticks[1]) if tick} <= {PLAZA, STATION}
            for x, y, text in shown.texts:
                source, target = (PLAZA, STATION)[int(y)], (PLAZA, STATION)[int(x)]
                wanted = rows(
                    folder, "results.csv", method=method, dataset=source, target=target, selection="val",
                    direction="t2i",
                )  # fmt: skip
                mean = sum(float(row[metric]) for row in wanted) / len(wanted)
                value, _, half = text.partition("\n±")
                assert float(value) == pytest.approx(mean, abs=0.051)
                assert 0 < float(half) < 50
            assert len(shown.texts) == 4


def shown_forest(values: list[tuple[float, float, float]], **options: Any) -> tuple[Panel, bool]:
    from drawings import panel

    from reports.figures import FigureWriter

    with FigureWriter(None).axes(1, 1, (4, 3)) as (_, grid):
        names = [f"method {row}" for row in range(len(values))]
        outside = forest(grid[0][0], names, values, ["better"] * len(values), **options)
        return panel(grid[0][0]), outside


def test_a_difference_far_beyond_the_others_is_an_arrow_at_the_edge_with_its_value() -> None:
    near = [(1.0, 0.5, 1.5), (-1.0, -2.0, 0.0)]
    shown, outside = shown_forest([*near, (-40.25, -42.0, -38.0)], margin=1.0, limits_from=near)
    assert outside
    left, right = shown.limits[0]
    assert (left, right) == pytest.approx((-2.0 - 0.08 * 3.5, 1.5 + 0.08 * 3.5))
    ((x, y),) = shown.marks("<")
    assert (left < x < left + 0.05 * (right - left), y) == (True, 2)
    assert [text for *_, text in shown.texts] == ["−40.2"]
    shown, outside = shown_forest([*near, (12.0, 11.0, 13.0)], margin=1.0, limits_from=near)
    assert [text for *_, text in shown.texts] == ["+12.0"]
    ((x, y),) = shown.marks(">")
    assert (x > 0.9 * right, y) == (True, 2)


def test_an_interval_that_leaves_the_figure_ends_in_an_arrow() -> None:
    near = [(1.0, 0.5, 1.5), (-1.0, -2.0, 0.0)]
    shown, outside = shown_forest([*near, (0.0, -9.0, 1.0)], limits_from=near)
    assert outside
    assert [y for _, y in shown.marks("<")] == [2]
    assert shown.marks(">") == []
    assert (0.0, 2.0) in shown.marks(VERDICT_MARKERS["better"])
    shown, outside = shown_forest(near, limits_from=near)
    assert not outside
    assert shown.marks("<") == shown.marks(">") == []


def test_without_named_rows_the_figure_holds_them_all_and_the_margin_is_a_band() -> None:
    shown, outside = shown_forest([(30.0, 20.0, 40.0), (-1.0, -2.0, 0.0)], margin=2.5)
    assert not outside
    assert shown.limits[0][0] < -2.0
    assert shown.limits[0][1] > 40.0
    (band,) = shown.axes.patches
    assert sorted(
        {float(x) for x, _ in band.get_xy()}
        if hasattr(band.get_xy(), "shape")
        else {band.get_x(), band.get_x() + band.get_width()}
    ) == [-2.5, 2.5]
    assert PALETTE[0] == VERDICT_COLOURS["better"]
