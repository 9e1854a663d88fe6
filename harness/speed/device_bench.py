"""The verb `bench device`: what a device can do, in parts, each written as it ends.

The parts are ordered by worth. Each runs in a worker process, so that one which fails, hangs or leaves the
accelerator unusable does not end the others; what is left is measured by the same command later.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from harness.launch.local import LocalWorkers
from harness.launch.units import Resources
from harness.machine import environment
from harness.machine.environment import Machine
from harness.machine.files import atomic_json
from harness.registry import described
from harness.speed.device_parts import PARTS, PartSizes

DONE, FAILED, LEFT = "done", "failed", "left"
START_SECONDS = 20.0
"""A part is not begun with less time than this left."""


@dataclass(frozen=True)
class DeviceBench:
    """What to measure, for how long, and where it is written."""

    machine: Machine
    sizes: PartSizes
    out: Path
    minutes: float = 9.0
    again: bool = False
    """Measure also what was measured before."""


def bench_device(wanted: DeviceBench, say: Callable[[str], None]) -> dict[str, str]:
    """Measure every part that is left, until the time is over; how each part stands.

    A part that was measured on this kind of device, at these sizes and by these versions is not repeated.
    """
    end = time.monotonic() + 60 * wanted.minutes
    with _Worker() as worker:
        here = worker.run(_where, wanted.machine, end - time.monotonic())
        states = {}
        for name in PARTS:
            path = wanted.out / f"device-{name}.json"
            left = end - time.monotonic()
            if not wanted.again and _is_done(path, here, wanted.sizes):
                states[name] = DONE
            elif left < min(START_SECONDS, 60 * wanted.minutes):
                states[name] = LEFT
            else:
                states[name] = _measure(name, path, worker, wanted, here, left)
            say(f"{name}: {states[name]}")
    return states


def _measure(
    name: str, path: Path, worker: _Worker, wanted: DeviceBench, here: Mapping[str, Any], left: float
) -> str:
    began, record = (
        time.monotonic(),
        {"part": name, "what": _what(name), "sizes": wanted.sizes.plain(), **here},
    )
    try:
        record |= {"status": DONE, "result": worker.run(_part, (name, wanted.machine, wanted.sizes), left)}
    except NotInTime:
        record |= {"status": FAILED, "error": f"not over after {left:.0f} s"}
    except Exception as error:  # whatever a part does, the others are measured
        record |= {"status": FAILED, "error": described(error)}
    record["seconds"] = round(time.monotonic() - began, 1)
    wanted.out.mkdir(parents=True, exist_ok=True)
    atomic_json(path, record)
    return str(record["status"])


def _is_done(path: Path, here: Mapping[str, Any], sizes: PartSizes) -> bool:
    try:
        before = json.loads(path.read_text("utf-8"))
        same = all(before[name] == here[name] for name in ("device", "versions"))
        return bool(same and before["status"] == DONE and before["sizes"] == sizes.plain())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _what(name: str) -> str:
    return (PARTS[name].__doc__ or "").split("\n", 1)[0]


def _part(asked: tuple[str, Machine, PartSizes]) -> Any:
    """Measure a part, in the worker's process."""
    name, machine, sizes = asked
    return PARTS[name](machine, sizes)


def _where(machine: Machine) -> dict[str, Any]:
    """The device and what runs on it, found in the worker: the parent opens no device."""
    from harness.machine.devices import make_fabric
    from harness.speed.candidates import device_name

    versions = environment.describe()
    return {
        "device": device_name(make_fabric("fp32", device=machine.device).device),
        "versions": {"torch": versions["packages"]["torch"], "python": versions["python"]},
        "commit": versions["commit"],
        "date": date.today().isoformat(),
    }


class _Worker:
    """One worker process, replaced when a unit dies or takes too long."""

    def __init__(self) -> None:
        self._workers: LocalWorkers | None = None

    def __enter__(self) -> _Worker:
        return self

    def run(self, function: Callable[[Any], Any], argument: Any, seconds: float) -> Any:
        """The function's answer. Raises TimeoutError, `WorkerDied`, and what the function raises."""
        if self._workers is None:
            self._workers = LocalWorkers(Resources(workers=1))
        try:
            return self._workers.submit(function, argument).result(timeout=max(1.0, seconds))
        except NotInTime:
            self._close()
            raise

    def _close(self) -> None:
        if self._workers is not None:
            self._workers.shutdown(wait=False, cancel_futures=True)
            self._workers = None

    def __exit__(self, *_: object) -> None:
        self._close()
