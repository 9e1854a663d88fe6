"""How long a run takes to find what is left in a store of 2,000 finished cells."""

from __future__ import annotations

from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture
from stores import Truth, write

from harness.store import RunStore
from harness.why import not_reused

CELLS = 2000


def test_finding_what_is_left_of_two_thousand_cells(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    methods = {f"method-{number}": 50.0 for number in range(20)}
    truth = Truth(methods, seeds=CELLS // 20, people=4, captions=1, epochs=1, selections=("val",))
    write(tmp_path, truth)
    store = RunStore(tmp_path)

    def left() -> int:
        runs = store.cells()
        waiting = [
            run for run in runs if run.status.state != "done" or not all(map(run.has_records, run.results))
        ]
        return len(runs) - len(waiting) + len(not_reused(store, waiting))

    assert benchmark.pedantic(left, rounds=3) == CELLS
