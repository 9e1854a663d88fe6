"""What every launcher shares: the resources of a unit of work, what it carries, how it fails."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.machine.errors import ExitCode, HarnessError


class LauncherError(HarnessError):
    """A launcher that cannot be used here; says what is missing."""


class WorkerDied(HarnessError):
    """The worker was killed from outside; its unit of work resumes from its checkpoint when started again."""

    exit_code = ExitCode.ERROR


@dataclass(frozen=True)
class Resources:
    """What a launcher may use, and what one unit of work needs."""

    workers: int | None = None
    """Units at once; None means one per device slot."""
    devices: tuple[str, ...] = ()
    """The accelerators of this machine by CUDA index (`"0"`, `"1"`); empty for a CPU."""
    per_device: int = 1
    """Units that share one accelerator."""
    folder: Path | None = None
    """Where Slurm's job files go."""
    gpus: float | None = None
    """GPUs that a unit asks of Ray or Slurm; None: as many as on this machine, which may have none."""

    @property
    def slots(self) -> int:
        """Units at once on this machine."""
        return self.workers or max(1, len(self.devices)) * self.per_device

    @property
    def gpus_per_unit(self) -> float:
        """GPUs, or the share of one, that a unit asks for."""
        if self.gpus is not None:
            return self.gpus
        return 1 / self.per_device if self.devices else 0.0


def carried_environment() -> dict[str, str]:
    """The variables that a unit needs wherever it runs."""
    ours = ("HARNESS_", "TIPR_")
    return {
        name: value for name, value in os.environ.items() if name.startswith(ours) or name == "PGPASSWORD"
    }


def run_remote_unit(path: Sequence[str], environment: Mapping[str, str], unit: bytes) -> tuple[bool, Any]:
    """Run a pickled unit where neither the import path nor the environment is the caller's."""
    sys.path.extend(entry for entry in path if entry not in sys.path)
    os.environ.update(environment)
    try:
        fn, args, kwargs = pickle.loads(unit)
        return False, fn(*args, **kwargs)
    except Exception as error:
        return True, error
