"""The variables of the environment: each begins with `HARNESS_`; the older `TIPR_…` is still read."""

from __future__ import annotations

import os


def variable(name: str) -> str:
    """The value of `HARNESS_<name>`, else of the older `TIPR_<name>`; empty when neither is set."""
    return os.environ.get(f"HARNESS_{name}") or os.environ.get(f"TIPR_{name}") or ""


def offline() -> bool:
    """Whether the user forbade the network: `HARNESS_OFFLINE` is set, and not to 0, no, off or false."""
    return variable("OFFLINE").strip().lower() not in ("", "0", "no", "off", "false")
