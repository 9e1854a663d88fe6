"""Where things lie on this machine. None of these paths ever enters a number or an identity."""

from __future__ import annotations

import importlib.util
import os
import stat
import tempfile
from pathlib import Path

from harness.registry.errors import OWN_PACKAGES as OWN_PACKAGES
from harness.registry.variables import offline as offline
from harness.registry.variables import variable as variable

RUNS = Path("runs")
"""The folder of runs, below the working folder."""
SOURCE = Path(__file__).resolve().parents[2]
"""The folder that holds `harness`, `methods`, `reports` and, in a clone, everything else."""


def cache_dir() -> Path:
    """The folder of decoded images, tokens and unpacked data: `HARNESS_CACHE`, or the user's cache folder.

    A user without a home folder (a container started with a number for its user) gets one below the folder
    of temporary files, as `ensure_home` arranges.
    """
    if declared := variable("CACHE"):
        return expanded(declared)
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("tipr-harness", appauthor=False))
    except (KeyError, RuntimeError):
        return _private_folder()


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
    """Give a user whose home folder is missing or cannot be written (as in some containers) another place.

    Libraries ask for the user's name and folder to place their caches, and fail or complain where there is
    neither. What is set is passed on to workers by the environment.

    Returns:
        What was done, in a sentence; empty where nothing was needed, or only matplotlib was given a folder.
    """
    _ensure_user()
    home = Path(os.path.expanduser("~"))
    wanted = cache_dir()
    cached = bool(variable("CACHE")) or (home.is_absolute() and _can_be_written(wanted))
    configured = "MPLCONFIGDIR" in os.environ or (home.is_absolute() and _can_be_written(_config_folder()))
    if cached and configured:
        return ""
    folder = _private_folder()
    if not configured:
        os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")
    if cached:
        return ""
    missing = not home.is_dir() or home == Path("/")
    os.environ["HOME" if missing else "HARNESS_CACHE"] = str(folder)
    why = "no home folder" if missing else f"{wanted} cannot be written"
    return f"{why}: caches lie in {folder}; set HOME or HARNESS_CACHE to choose"


def _ensure_user() -> None:
    """Give a user that the system has no entry of a name."""
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", f"uid{os.getuid()}")
        os.environ.setdefault("LOGNAME", os.environ["USER"])


def _config_folder() -> Path:
    """Where matplotlib keeps its settings; it complains where it may not write there."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path(os.path.expanduser("~")) / ".config") / "matplotlib"


def _can_be_written(folder: Path) -> bool:
    """Whether a folder can be written, or made in the nearest of its parents that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _private_folder() -> Path:
    """A folder of this user alone below that of temporary files, where everybody may write."""
    folder = Path(tempfile.gettempdir()) / f"tipr-harness-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():  # somebody else's trap
            return Path(tempfile.mkdtemp(prefix="tipr-harness-"))
        folder.chmod(0o700)
    return folder


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
