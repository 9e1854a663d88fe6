"""How long a study takes and how much memory a cell needs: from runs on this device, or else from FLOPs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
from harness.registry import UnknownNameError, method
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


class UnknownTimeError(HarnessError):
    """A method's step was not measured here, and its operations cannot be counted."""


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
    """Cells and trials whose speed was measured here, of `trained`."""
    trained: int
    origin: str
    device_memory: int
    """Bytes of the device, of a CPU those of the machine."""
    peak_memory: float | None = None
    """Bytes of one cell, where it was measured."""
    overhead_seconds: float = 0.0
    """Of `seconds`, what measuring the methods' overhead takes: in one process, after the cells."""
    trial_seconds: float = 0.0
    """Of `seconds`, what the trials of the searches take when none is pruned."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))

    def sentences(self) -> Iterator[str]:
        """Time and memory in words."""
        at_once = f", {self.workers} cells at once" if self.workers > 1 else ""
        trials = f"{about(self.trial_seconds)} for the trials if none is pruned" if self.trial_seconds else ""
        overhead = f"{about(self.overhead_seconds)} for the overhead" if self.overhead_seconds else ""
        parts = " and ".join(part for part in (trials, overhead) if part)
        of_it = f", with {parts}" if parts else ""
        yield f"time of what is left: about {about(self.seconds)}{at_once}{of_it} ({self.origin})"
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
    trials: Sequence[tuple[Cell, int]] = (),
) -> TimeEstimate | None:
    """Time of the cells that train, of their `overhead` and of the `trials`; None where nothing trains.

    A cell of a method whose steps were measured on this device takes that long a pair; the others take their
    FLOPs at the rate that measured ones reached here, or else at a share of a matrix product's.

    Args:
        cells: what is left of the study.
        context: of the device.
        options: which say how many cells train at once.
        out: the study's run folder, whose speeds count as measured.
        overhead: the study's section where it is still to be measured.
        trials: of each search, its recipe's cell and how many trials are left.

    Raises:
        UnknownTimeError: a plugin's method was not measured here, and its operations cannot be counted.
    """
    trained = [cell for cell in cells if cell.trains]
    tried = [cell for cell, count in trials for _ in range(count)]
    trainings = trained + tried
    if not trainings:
        return None
    device = context.fabric(trainings[0]).device
    pace_of, measured, how = _paces(trainings, context, [out, *_latest_runs()])
    slots = options.resources.slots
    of_cells = _training_seconds(trained, context, pace_of) / max(1, min(slots, len(trained)))
    of_trials = _training_seconds(tried, context, pace_of) / max(1, min(slots, len(tried)))
    step_seconds = {
        cell.method: cell.train.batch_size / pace_of[_key(cell)].pairs_per_second for cell in trained
    }
    measuring = _overhead_seconds(cells, step_seconds, overhead)
    known = sum(_key(cell) in measured for cell in trainings)
    peak = max((pace_of[key].peak_memory for key in measured), default=None)
    return TimeEstimate(
        of_cells + of_trials + measuring, min(slots, len(trainings)), known, len(trainings),
        _origin(known, len(trainings), how), _device_bytes(device), peak, measuring, of_trials,
    )  # fmt: skip


def _paces(
    trainings: Sequence[Cell], context: Context, folders: Sequence[Path]
) -> tuple[dict[str, Pace], set[str], str]:
    """By what decides a step's duration its pace, which of them were measured, and how the others are known.

    Where none was measured, the third tells what rate is assumed instead.
    """
    found = _measured(folders, environment.arithmetic(context.fabric(trainings[0]).device))
    planned = {_key(cell): cell for cell in trainings}
    paces = {key: found[key][1] for key in planned if key in found}
    measured, how = set(paces), ""
    if measured == planned.keys():
        return paces, measured, how
    gflop = {key: _gflop(cell) for key, cell in planned.items()}
    rates = [work * paces[key].pairs_per_second for key, work in gflop.items() if work and key in measured]
    if rates:
        rate = median(rates)
        evaluation = _typical_evaluation([paces[key] for key in map(_key, trainings) if key in measured])
    else:
        first = trainings[0]
        rate, evaluation, how = _assumed(context, first, _alike(found, first))
    for key, work in gflop.items():
        if key not in measured:
            if work is None:
                raise UnknownTimeError([_uncounted(planned[key])])
            paces[key] = Pace(rate / work, evaluation, 0.0)
    return paces, measured, how


def _uncounted(cell: Cell) -> str:
    return (
        f"time: not known: {cell.method}'s operations cannot be counted without training it, and no run of "
        "it was measured on this device"
    )


def _training_seconds(cells: Sequence[Cell], context: Context, pace_of: Mapping[str, Pace]) -> float:
    """Seconds that the cells take one after another."""
    seconds = 0.0
    for cell in cells:
        pairs = len(context.dataset(cell.dataset, cell.subset).splits["train"].captions)
        pace = pace_of[_key(cell)]
        seconds += cell.train.epochs * (pairs / pace.pairs_per_second + pace.evaluation_seconds)
    return seconds


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
            f"{measured} of {trained} trainings from speeds measured on this device, "
            "the others from their FLOPs"
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


def _gflop(cell: Cell) -> float | None:
    """GFLOP of a pair in a training step; None of a plugin's method that cannot run without numbers."""
    from methods.cost import pass_gflop

    size = cell.train.image_size
    try:
        return pass_gflop(
            cell.base, cell.train.backbone, (size[0], size[1]), dict(cell.overrides), backward=True,
            pairs=cell.train.batch_size,
        )  # fmt: skip
    except UnknownNameError:
        return None  # of a plugin that is not loaded now
    except (RuntimeError, NotImplementedError) as error:
        if method(cell.base).plugin is not None and "meta tensor" in str(error).lower():
            return None  # it reads a number, which a training step may
        raise  # of the plugin's own: `run` would end in it, too


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
        if [getattr(cell.train, name) for name in ALIKE] == wanted and (work := _gflop(cell)):
            found.append((work * pace.pairs_per_second, pace))
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
