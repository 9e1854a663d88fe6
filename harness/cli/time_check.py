"""How long a study takes and how much memory a cell needs: from runs on this device, or else from FLOPs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harness.launch.cells import LaunchOptions
from harness.launch.context import Context
from harness.launch.disk import GIGABYTE
from harness.machine import environment
from harness.machine.errors import HarnessError
from harness.machine.forecast import about
from harness.machine.paths import RUNS
from harness.store.runs import RunStore
from harness.study.cell import Cell
from harness.study.schema import Overhead

UNLIKE = frozenset({"epochs", "lr", "warmup_epochs", "warmup_factor", "weight_decay"})
"""Settings that change no step's duration."""
USED = {"cpu": 0.6, "cuda": 0.3}
"""The share of a matrix product's speed that training steps are assumed to reach where none was measured.

Of a CPU it was measured (`matrix_fraction` in reports/benchmarks/step-uit-tiny-fp32.json), of a GPU guessed.
"""
ALIKE = ("backbone", "image_size", "precision")
"""Settings of measured cells whose rate, in FLOPs a second, tells that of a planned one."""
STORES = 20
"""Runs below `runs` that are looked at, the latest first."""


@dataclass(frozen=True)
class Pace:
    """What a finished epoch of a cell showed: pairs a second, seconds of evaluation, peak bytes."""

    pairs_per_second: float
    evaluation_seconds: float
    peak_memory: float


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds that training the cells takes on so many workers, and where that comes from."""

    seconds: float
    workers: int
    measured: int
    """Cells whose speed was measured here, of `trained`."""
    trained: int
    origin: str
    device_memory: int
    """Bytes of the device, of a CPU those of the machine."""
    peak_memory: float | None = None
    """Bytes of one cell, where it was measured."""
    overhead_seconds: float = 0.0
    """Of `seconds`, what measuring the methods' overhead takes: in one process, after the cells."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))

    def sentences(self) -> Iterator[str]:
        """Time and memory in words."""
        at_once = f", {self.workers} cells at once" if self.workers > 1 else ""
        after = f", with {about(self.overhead_seconds)} for the overhead" if self.overhead_seconds else ""
        yield f"time of what is left: about {about(self.seconds)}{at_once}{after} ({self.origin})"
        whole = f"; the device has {self.device_memory / GIGABYTE:.1f} GB"
        if self.peak_memory is not None:
            yield f"memory: {self.peak_memory / GIGABYTE:.1f} GB a cell, measured here{whole}"
        else:
            yield f"memory: not measured here yet{whole}"


def expected_time(
    cells: Sequence[Cell],
    context: Context,
    options: LaunchOptions,
    out: Path,
    overhead: Overhead | None = None,
) -> TimeEstimate | None:
    """Time of the cells that train, and of measuring their `overhead`; None where no cell trains.

    A cell of a method whose steps were measured on this device takes that long a pair; the others take their
    FLOPs at the rate that measured ones reached here, or else at a share of a matrix product's.
    """
    trained = [cell for cell in cells if cell.trains]
    if not trained:
        return None
    device = context.fabric(cells[0]).device
    measured = _measured([out, *_latest_runs()], environment.arithmetic(device))
    paces = {key: pace for key, (_, pace) in measured.items()}
    gflop = {key: _gflop(cell) for key, cell in {_key(cell): cell for cell in trained}.items()}
    known = [paces[_key(cell)] for cell in trained if _key(cell) in paces]
    if known:
        rate, how = median(gflop[key] * paces[key].pairs_per_second for key in gflop if key in paces), ""
        evaluation = _typical_evaluation(known)
    else:
        rate, evaluation, how = _assumed(context, trained[0], _alike(measured, trained[0]))
    seconds = 0.0
    step_seconds: dict[str, float] = {}
    for cell in trained:
        pairs = len(context.dataset(cell.dataset, cell.subset).splits["train"].captions)
        pace = paces.get(_key(cell)) or Pace(rate / gflop[_key(cell)], evaluation, 0.0)
        step_seconds[cell.method] = cell.train.batch_size / pace.pairs_per_second
        seconds += cell.train.epochs * (pairs / pace.pairs_per_second + pace.evaluation_seconds)
    workers = min(options.resources.slots, len(trained))
    measuring = _overhead_seconds(cells, step_seconds, overhead)
    peak = max((pace.peak_memory for pace in known), default=None)
    origin = _origin(len(known), len(trained), how)
    return TimeEstimate(
        seconds / workers + measuring, workers, len(known), len(trained), origin, _device_bytes(device),
        peak, measuring,
    )  # fmt: skip


def _overhead_seconds(
    cells: Sequence[Cell], step_seconds: Mapping[str, float], overhead: Overhead | None
) -> float:
    """Seconds of the training steps that are measured, by each method's seconds a step."""
    if overhead is None:
        return 0.0
    from harness.speed.overhead import steps_planned

    one_each = list({cell.method: cell for cell in cells}.values())
    return sum(steps * step_seconds[name] for name, steps in steps_planned(one_each, overhead).items())


def _device_bytes(device: Any) -> int:
    import psutil
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


def _origin(measured: int, trained: int, how: str) -> str:
    if measured == trained:
        return "from speeds measured on this device"
    if measured:
        return (
            f"{measured} of {trained} cells from speeds measured on this device, the others from their FLOPs"
        )
    return f"from FLOPs, {how}"


def _typical_evaluation(paces: Sequence[Pace]) -> float:
    return median(pace.evaluation_seconds for pace in paces)


def _assumed(context: Context, cell: Cell, alike: Sequence[tuple[float, Pace]]) -> tuple[float, float, str]:
    """GFLOP a second and seconds of an evaluation where no cell's step was measured, and how they were found.

    Args:
        context: of the device.
        cell: one of the planned ones.
        alike: rates and paces of other runs with its encoder.
    """
    import torch

    from harness.speed.timing import matrix_rate

    if alike:
        how = "at the rate that other runs reached on this device"
        return median(rate for rate, _ in alike), _typical_evaluation([pace for _, pace in alike]), how
    device = context.fabric(cell).device
    dtype = torch.bfloat16 if device.type == "cuda" and cell.train.precision == "bf16" else torch.float32
    rate, used = matrix_rate(device, dtype) / 1e9, USED.get(device.type, USED["cuda"])
    how = f"at {100 * used:.0f} % of the {rate:,.0f} GFLOP/s of a matrix product here: a rough guess"
    return used * rate, 0.0, how


def _gflop(cell: Cell) -> float:
    """GFLOP of a pair in a training step."""
    from methods.cost import pass_gflop

    size = cell.train.image_size
    return pass_gflop(
        cell.base, cell.train.backbone, (size[0], size[1]), dict(cell.overrides), backward=True,
        pairs=cell.train.batch_size,
    )  # fmt: skip


def _key(cell: Cell) -> str:
    """What decides how long a step of a cell takes."""
    settings = {name: value for name, value in cell.all_settings().items() if name not in UNLIKE}
    return json.dumps([cell.base, settings], sort_keys=True, default=str)


def _latest_runs() -> list[Path]:
    folders = (path.parent for path in RUNS.glob("*/study.yaml"))
    return sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[:STORES]


def _alike(measured: Mapping[str, tuple[Cell, Pace]], like: Cell) -> list[tuple[float, Pace]]:
    """GFLOP a second and pace of measured cells with the encoder, image size and precision of a planned one.

    Their batches are of another size, or their methods others, so that no step is known to take as long.
    """
    wanted = [getattr(like.train, name) for name in ALIKE]
    found = []
    for cell, pace in measured.values():
        if [getattr(cell.train, name) for name in ALIKE] == wanted:
            with suppress(HarnessError):  # a plugin's method that is not registered now
                found.append((_gflop(cell) * pace.pairs_per_second, pace))
    return found


def _measured(folders: Sequence[Path], device: Mapping[str, Any]) -> dict[str, tuple[Cell, Pace]]:
    """By what decides a step's duration, a cell and the pace of its like's finished epochs on this device."""
    epochs: dict[str, list[Pace]] = {}
    cells: dict[str, Cell] = {}
    for folder in folders:
        for run in RunStore(folder).cells():
            try:
                where, key = run.recorded.get("trained_on") or {}, _key(run.cell)
                same = all(where.get(name) == device[name] for name in ("device", "processor", "threads"))
                lines = run.history if same and not where.get("mixed") else []
                epochs.setdefault(key, []).extend(map(_pace, lines))
                cells[key] = run.cell
            except (HarnessError, KeyError, TypeError, ValueError):
                continue
    return {key: (cells[key], _median(paces)) for key, paces in epochs.items() if paces}


def _pace(line: Mapping[str, Any]) -> Pace:
    numbers = (line[name] for name in ("pairs_per_second", "evaluation_seconds", "peak_memory"))
    return Pace(*map(float, numbers))


def _median(paces: Sequence[Pace]) -> Pace:
    return Pace(
        median(pace.pairs_per_second for pace in paces),
        median(pace.evaluation_seconds for pace in paces),
        max(pace.peak_memory for pace in paces),
    )
