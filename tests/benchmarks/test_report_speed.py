"""How long a report over 1,000 cells takes, and how large its page is."""

from __future__ import annotations

from pathlib import Path

import stores
from pytest_benchmark.fixture import BenchmarkFixture
from stores import Truth

from harness import files
from reports.assemble import ReportResult, build


def test_a_report_over_a_thousand_cells(benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Wanted: under 30 s and 10 MB. Prints the time; only the page's size can fail."""
    # The store flushes every file to the disk; simulating one need not.
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: None)
    r1 = {
        name: 60.0 - 2 * number
        for number, name in enumerate(("uit", "b", "c", "d", "e", "f", "g", "h", "i", "j"))
    }
    datasets = ("rendered-plaza", "rendered-station")
    truth = Truth(r1=r1, seeds=50, people=250, datasets=datasets, directions=("t2i",), epochs=60)
    stores.write(tmp_path, truth)
    made: ReportResult = benchmark.pedantic(lambda: build([tmp_path]), rounds=1)
    size = made.path.stat().st_size
    benchmark.extra_info["page_bytes"] = size
    assert size < 10_000_000
