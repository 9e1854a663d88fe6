"""What a benchmark's JSON says of where it ran: device, cores and versions, and no host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data.decoding import available_cores
from harness.machine import environment

VERSIONS = ("torch", "torchvision", "open_clip_torch", "numpy", "pandas", "pyarrow", "optuna")


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    described = environment.describe()
    machine_info.pop("node", None)
    machine_info["cpu"].pop("flags", None)
    machine_info["cores"] = available_cores()
    machine_info["versions"] = {name: described["packages"][name] for name in VERSIONS}
    machine_info["accelerators"] = described["accelerators"]


def pytest_benchmark_update_json(config: Any, benchmarks: Any, output_json: dict[str, Any]) -> None:
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)


@pytest.fixture
def peak_gigabytes() -> Callable[[], float]:
    """The most memory the process had since the test began, and not since an earlier benchmark."""
    process = Path("/proc/self")
    (process / "clear_refs").write_text("5")  # sets the peak back to what is held now

    def peak() -> float:
        lines = (process / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9

    return peak
