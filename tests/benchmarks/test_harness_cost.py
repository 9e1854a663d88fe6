"""What the harness adds to training and evaluation: between two cells, and in a cell of full size.

`pytest --benchmark-only tests/benchmarks/test_harness_cost.py`; the second needs 8 GB of memory and 6 GB of
disk below `--basetemp`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture
from study_files import write_study

from harness import registry
from harness.launch.cells import LaunchOptions, run_cells
from harness.launch.context import Context
from harness.machine.environment import Machine
from harness.machine.progress import Progress
from harness.store.runs import RunStore
from harness.study.cell import Cell
from harness.study.study import load_study

HEAVY_METHOD = Path(__file__).parents[1] / "heavy_method.py"
HEAVY = {
    "methods": ["heavy"],
    "datasets": ["rendered-plaza"],
    "seeds": 2,
    "train": {
        "backbone": "ViT-B-16-quickgelu",
        "pretrained": "none",
        "image_size": [96, 32],
        "epochs": 4,
        "batch_size": 16,
    },
}


class Stopwatch(Progress):
    """When each cell began, trained and ended, and how long its epochs and their evaluation took."""

    def __init__(self) -> None:
        self.begins: list[float] = []
        self.trains: list[float] = []
        self.trained: list[float] = []
        self.ends: list[float] = []
        self.work: list[float] = []

    def begin_cell(self, name: str, epochs: int) -> None:
        self.begins.append(time.perf_counter())
        self.work.append(0.0)

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        seconds, now = record["seconds"] + record["evaluation_seconds"], time.perf_counter()
        if not self.work[-1]:
            self.trains.append(now - seconds)
            self.trained.append(now)
        self.trained[-1] = now
        self.work[-1] += seconds

    def end_cell(self, name: str, outcome: str) -> None:
        assert outcome.startswith("done"), outcome
        self.ends.append(time.perf_counter())


def run_under(watch: Stopwatch, cells: list[Cell], out: Path, *plugins: Path) -> None:
    context = Context(Machine(device="cpu", plugins=plugins), watch)
    run_cells(cells, RunStore(out), context, LaunchOptions(context.machine, workers=1))


def test_seconds_from_the_end_of_a_cell_to_the_first_step_of_the_next(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """Wanted: under 3 s. The demo's cells one after the other in one process, each cut to 50 identities."""
    study = load_study(Path("studies/demo.yaml"), ["train.epochs=1"], subset=50, seeds=1)
    cells = [cell for cell in study.cells() if cell.trains]
    watch = Stopwatch()
    benchmark.pedantic(lambda: run_under(watch, cells, tmp_path), rounds=1)
    gaps = [begin - end for end, begin in zip(watch.ends, watch.trains[1:], strict=False)]
    benchmark.extra_info.update(cells=len(cells), gap=statistics.median(gaps), longest_gap=max(gaps))


def test_seconds_of_a_full_size_cell_besides_its_epochs(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Building the method, checkpoints, models, checksums, of as many weights as UIT's at full size.

    Of the second of two cells, as most cells of a study are. A cell of four epochs writes down as much as one
    of sixty, but for the checkpoints that `Pace` holds to half a percent of the time. The models' evaluation
    at the end, of few images, is counted in.
    """
    registry.load_plugin(HEAVY_METHOD)
    study = load_study(write_study(tmp_path, **HEAVY), subset=20)
    watch, out = Stopwatch(), tmp_path / "run"
    benchmark.pedantic(lambda: run_under(watch, study.cells(), out, HEAVY_METHOD), rounds=1)
    benchmark.extra_info.update(
        before_training=watch.trains[1] - watch.ends[0],
        between_epochs=watch.trained[1] - watch.trains[1] - watch.work[1],
        after_training=watch.ends[1] - watch.trained[1],
        gigabytes=sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 2e9,
    )
