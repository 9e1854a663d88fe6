"""How long a report over thousands of cells takes, how much memory, and how large its page is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import stores
from pytest_benchmark.fixture import BenchmarkFixture
from stores import Truth

from harness.machine import files
from reports.assemble import ReportResult, build


@pytest.mark.parametrize("cells", [1000, 2000])
def test_a_report_over_many_cells(
    benchmark: BenchmarkFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cells: int,
    peak_gigabytes: Callable[[], float],
) -> None:
    """Wanted: 1,000 under 30 s, 2,000 under a minute. Prints the time; only the page's size can fail."""
    # The store flushes every file to the disk; simulating one need not.
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: None)
    r1 = {
        name: 60.0 - 2 * number
        for number, name in enumerate(("uit", "b", "c", "d", "e", "f", "g", "h", "i", "j"))
    }
    datasets = ("rendered-plaza", "rendered-station")
    truth = Truth(r1=r1, seeds=cells // 20, people=250, datasets=datasets, directions=("t2i",), epochs=60)
    stores.write(tmp_path, truth)
    made: ReportResult = benchmark.pedantic(lambda: build([tmp_path]), rounds=1)
    size = made.path.stat().st_size
    benchmark.extra_info["page_bytes"] = size
    benchmark.extra_info["peak_gigabytes"] = peak_gigabytes()
    assert size < 10_000_000
