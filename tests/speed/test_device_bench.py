"""`bench device`: every part is written, at tiny size on a processor; a part that fails ends no other."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import verbs
from harness.launch.units import WorkerDied
from harness.machine.environment import Machine
from harness.speed import device_bench
from harness.speed.bench import table
from harness.speed.device_bench import DeviceBench, bench_device
from harness.speed.device_parts import PARTS, PartSizes


@pytest.mark.slow
def test_every_part_is_measured_and_written_at_tiny_size_on_a_processor(tmp_path: Path) -> None:
    command = ["bench", "device", "--tiny", "--device", "cpu", "--out", str(tmp_path), "--minutes", "30"]
    done = CliRunner().invoke(verbs.app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    written = {name: json.loads((tmp_path / f"device-{name}.json").read_text()) for name in PARTS}
    assert {name: found.get("error") for name, found in written.items()} == dict.fromkeys(PARTS)
    assert {found["status"] for found in written.values()} == {"done"}
    assert all(f"| {name} |" in table(tmp_path) for name in PARTS)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert bench_device(wanted(tmp_path), lambda line: None) == dict.fromkeys(PARTS, "done")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times  # nothing measured again


def wanted(folder: Path, minutes: float = 5.0) -> DeviceBench:
    return DeviceBench(Machine(device="cpu"), PartSizes.tiny(), folder, minutes)


def sound(machine: Machine, sizes: PartSizes) -> int:
    """A part that is sound."""
    return sizes.steps


def raises(machine: Machine, sizes: PartSizes) -> None:
    """A part that fails."""
    raise ValueError("no such kernel")


def dies(machine: Machine, sizes: PartSizes) -> None:
    """A part whose process is killed."""
    os._exit(3)


def hangs(machine: Machine, sizes: PartSizes) -> None:
    """A part that never ends."""
    time.sleep(600)


class Here:
    """Runs parts in this process, as the worker does in its own."""

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, function, argument, seconds):
        if function is device_bench._where:
            return {"device": "a device", "versions": {"torch": "2"}, "commit": "c", "date": "2026-01-01"}
        if argument[0] == "dies":
            raise WorkerDied("worker 0 ended with exit code 3")
        if argument[0] == "hangs":
            raise TimeoutError
        return PARTS[argument[0]](*argument[1:])


def parts(monkeypatch: pytest.MonkeyPatch, chosen: dict[str, object]) -> None:
    monkeypatch.setattr(device_bench, "_Worker", Here)
    for name in list(PARTS):
        monkeypatch.delitem(PARTS, name)
    for name, part in chosen.items():
        monkeypatch.setitem(PARTS, name, part)


def test_a_part_that_fails_hangs_or_dies_ends_no_other_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts(monkeypatch, {"raises": raises, "dies": dies, "hangs": hangs, "sound": sound})
    said: list[str] = []
    expected = {"raises": "failed", "dies": "failed", "hangs": "failed", "sound": "done"}
    assert bench_device(wanted(tmp_path), said.append) == expected
    assert said == [f"{name}: {state}" for name, state in expected.items()]
    error = json.loads((tmp_path / "device-raises.json").read_text())["error"]
    assert "no such kernel" in error
    monkeypatch.setitem(PARTS, "raises", sound)
    assert bench_device(wanted(tmp_path), said.append)["raises"] == "done"


def test_what_is_not_reached_in_time_is_left_for_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts(monkeypatch, {"first": sound, "second": sound})
    monkeypatch.setattr(device_bench, "START_SECONDS", 1e9)
    clock = iter([0.0, 0.0, 0.0, 0.0, 0.0, 1e6])
    monkeypatch.setattr(device_bench.time, "monotonic", lambda: next(clock))
    assert bench_device(wanted(tmp_path), lambda line: None) == {"first": "done", "second": "left"}


def test_a_worker_that_takes_too_long_is_replaced() -> None:
    with device_bench._Worker() as worker:
        with pytest.raises(TimeoutError):
            worker.run(time.sleep, 600, 1.0)
        assert worker.run(abs, -3, 120.0) == 3
