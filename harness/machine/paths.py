"""Where things lie on this machine. None of these paths ever enters a number or an identity."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The folder of decoded images, tokens and unpacked data: `TIPR_CACHE`, or the user's cache folder."""
    declared = os.environ.get("TIPR_CACHE")
    if declared:
        return Path(declared).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("tipr-harness", appauthor=False))


def data_root(option: Path | None = None) -> Path | None:
    """The folder holding the benchmark datasets: `--data-root`, else `TIPR_DATA`, else None."""
    if option is not None:
        return option.expanduser()
    declared = os.environ.get("TIPR_DATA")
    return Path(declared).expanduser() if declared else None


def offline() -> bool:
    """Whether the user forbade the network with `HARNESS_OFFLINE=1`."""
    return os.environ.get("HARNESS_OFFLINE", "") not in ("", "0")
