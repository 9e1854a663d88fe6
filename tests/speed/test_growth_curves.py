"""The growth curves: every one can be measured, a point that is there is not measured again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import growth_curves
import pytest
from growth_curves import CURVES, Stopwatch, draw, exponent, summary

SMALLEST = {"cells left": 2, "cells report": 40, "trials left": 4, "trials report": 4}


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVES)
def test_every_curve_is_measured(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(Path(growth_curves.__file__).parent))
    watch, folder = Stopwatch(), tmp_path / "work"
    folder.mkdir()
    CURVES[name][1](SMALLEST.get(name, 200), watch, folder)
    assert watch.seconds > 0
    assert watch.megabytes >= 0


def test_the_exponent_is_that_of_the_two_largest_sizes() -> None:
    points = {str(size): {"seconds": seconds} for size, seconds in ((10, 9.0), (100, 1.0), (1000, 100.0))}
    assert exponent(points) == pytest.approx(2.0)
    assert exponent({"10": {"seconds": 1.0}}) is None
    assert exponent({"10": {"seconds": 0.001}, "100": {"seconds": 1.0}}) is None  # too short to tell


def test_points_are_written_as_they_are_measured_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int]] = []

    def measure(name: str, size: int) -> dict[str, float]:
        asked.append((name, size))
        if size == 30_000:
            raise RuntimeError("gallery at 30,000 failed")
        return {"seconds": (size / 10_000) ** 2, "megabytes": 1.0}

    monkeypatch.setattr(growth_curves, "measure", measure)
    command = ["growth", "--out", str(tmp_path), "--only", "gallery", "--most", "100000"]
    monkeypatch.setattr(sys, "argv", command)
    growth_curves.main()
    stored = json.loads((tmp_path / "growth.json").read_text())
    assert list(stored["growth"]["gallery"]) == ["10000", "100000"]
    assert (tmp_path / "growth.svg").read_text().count("<svg") == 1
    assert "gallery: 100,000 images" in capsys.readouterr().out
    growth_curves.main()
    assert asked == [("gallery", size) for size in (10_000, 30_000, 100_000, 30_000)]


def test_a_curve_that_grows_faster_than_linearly_is_named(tmp_path: Path) -> None:
    fast = {str(size): {"seconds": float(size**2), "megabytes": 1.0} for size in (100, 300)}
    slow = {str(size): {"seconds": float(size), "megabytes": 1.0} for size in (100, 300)}
    stored = {"growth": {"cells report": fast, "cells left": slow}}
    first, second = summary(stored)
    assert "FASTER THAN LINEAR" in first
    assert "FASTER" not in second
    draw(stored, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").stat().st_size > 1000
