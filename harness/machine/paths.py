"""Where things lie on this machine. None of these paths ever enters a number or an identity."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

from harness.registry.errors import OWN as OWN_PACKAGES
from harness.registry.variables import offline as offline
from harness.registry.variables import variable as variable

RUNS = Path("runs")
"""The folder of runs, below the working folder."""
SOURCE = Path(__file__).resolve().parents[2]
"""The folder that holds `harness`, `methods`, `reports` and, in a clone, everything else."""


def cache_dir() -> Path:
    """The folder of decoded images, tokens and unpacked data: `HARNESS_CACHE`, or the user's cache folder.

    A user without a home folder (a container started with a number for its user) gets one below the folder
    of temporary files.
    """
    if declared := variable("CACHE"):
        return expanded(declared)
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("tipr-harness", appauthor=False))
    except (KeyError, RuntimeError):
        return Path(tempfile.gettempdir()) / f"tipr-harness-{os.getuid()}"


def data_root(option: Path | None = None) -> Path | None:
    """The folder holding the benchmark datasets: `--data-root`, else `HARNESS_DATA`, else None."""
    declared = str(option) if option is not None else variable("DATA")
    return expanded(declared) if declared else None


def expanded(path: str) -> Path:
    """A path with `~` replaced by the home folder, where there is one."""
    return Path(os.path.expanduser(path))


def as_typed(path: Path) -> Path:
    """A path as it is typed here: below the working folder without that folder, else absolute."""
    whole, here = path.absolute(), Path.cwd()
    return whole.relative_to(here) if whole.is_relative_to(here) else whole


def ensure_home() -> str:
    """Give a user without a home folder (as in some containers) one; what was done, or nothing.

    Libraries ask for the user's name and folder to place their caches, and fail where there is neither.
    """
    import pwd

    try:
        pwd.getpwuid(os.getuid())
        return ""
    except KeyError:
        user = f"uid{os.getuid()}"
    os.environ.setdefault("USER", user)
    os.environ.setdefault("LOGNAME", os.environ["USER"])
    home = os.environ.get("HOME", "")
    if home and home != "/":
        return ""
    folder = Path(tempfile.gettempdir()) / f"harness-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["HOME"] = str(folder)
    return f"no home folder and no user entry: caches lie in {folder}; set HOME or HARNESS_CACHE to choose"


def foreign_packages() -> list[str]:
    """Packages called like ours that Python would import from elsewhere; one sentence each."""
    foreign = []
    for name in OWN_PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = spec.origin if spec is not None else None
        if origin is None or not Path(origin).resolve().is_relative_to(SOURCE / name):
            foreign.append(
                f"{name}: Python imports {origin or 'another folder'} instead of {SOURCE / name}; start "
                f"from another folder, or give the other {name} another name"
            )
    return foreign
