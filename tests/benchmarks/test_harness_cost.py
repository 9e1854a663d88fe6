"""What the harness adds to training and evaluation: between two cells, and to write a full-size model down.

`pytest --benchmark-only tests/benchmarks/test_harness_cost.py`; the second needs 8 GB of memory and 4 GB of
disk below `--basetemp`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from harness import registry
from harness.cellrun import CellRun
from harness.checkpoint import Position, pack
from harness.context import Context, Machine
from harness.launch import Options, run_cells
from harness.optimiser import make_optimiser
from harness.progress import Progress
from harness.schema import TrainSettings
from harness.store import RunStore
from harness.study import load_study
from methods.build import build_method
from methods.clip import load_backbone

FULL_SIZE = (384, 128)
PERSONS = 11_003  # of CUHK-PEDES


class Stopwatch(Progress):
    """When each cell began to train, when it ended, and how long it trained and evaluated."""

    def __init__(self) -> None:
        self.trains: list[float] = []
        self.ends: list[float] = []
        self.work = 0.0
        self._fresh = True

    def begin_cell(self, name: str, epochs: int) -> None:
        self._fresh = True

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        seconds = record["seconds"] + record["evaluation_seconds"]
        if self._fresh:
            self.trains.append(time.perf_counter() - seconds)
        self._fresh = False
        self.work += seconds

    def end_cell(self, name: str, outcome: str) -> None:
        assert outcome == "done", outcome
        self.ends.append(time.perf_counter())


def test_seconds_from_the_end_of_a_cell_to_the_first_step_of_the_next(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """Wanted: under 3 s. The demo's cells one after the other in one process, each cut to 50 identities."""
    study = load_study(Path("studies/demo.yaml"), ["train.epochs=1"], subset=50, seeds=1)
    cells = [cell for cell in study.cells() if cell.trains]
    watch = Stopwatch()
    context = Context(Machine(device="cpu"), watch)
    run = lambda: run_cells(cells, RunStore(tmp_path), context, Options(context.machine, workers=1))  # noqa: E731
    benchmark.pedantic(run, rounds=1)
    gaps = [begin - end for end, begin in zip(watch.ends, watch.trains[1:], strict=False)]
    benchmark.extra_info.update(cells=len(cells), gap=statistics.median(gaps), longest_gap=max(gaps))


def test_writing_down_a_full_size_model(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """One checkpoint with the optimiser's state, and one model for a selection, each flushed to the disk."""
    entry = registry.method("uit")
    backbone = load_backbone("ViT-B-16-quickgelu", "none", FULL_SIZE, seed=0)
    uit = build_method(
        entry, entry.resolve({}), backbone=backbone, identities=PERSONS, image_size=FULL_SIZE, seed=0
    )
    adam = make_optimiser(uit, TrainSettings())
    for weight in uit.parameters():
        weight.grad = weight.detach().clone()
    adam.step()
    adam.zero_grad(set_to_none=True)
    run, seconds = CellRun(tmp_path), {}

    def write() -> None:
        start = time.perf_counter()
        run.save_checkpoint(pack(Position(epoch=1), uit, adam), 1)
        seconds["checkpoint"] = time.perf_counter() - start
        run.save_model("val", uit.state_dict(), 1)
        seconds["model"] = time.perf_counter() - start - seconds["checkpoint"]

    benchmark.pedantic(write, rounds=1)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    benchmark.extra_info.update(seconds, gigabytes=size / 1e9)
