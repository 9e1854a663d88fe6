"""The variables of the environment: each begins with `HARNESS_`; the older `TIPR_…` is still read."""

from __future__ import annotations

import os


def variable(name: str) -> str:
    """The value of `HARNESS_<name>`, else of the older `TIPR_<name>`; empty when neither is set."""
    return os.environ.get(f"HARNESS_{name}") or os.environ.get(f"TIPR_{name}") or ""


def older_names() -> list[str]:
    """One sentence for each variable that is set under its older name and read under it."""
    return [
        f"{name}: read as HARNESS_{new}, which is its name now"
        for name in sorted(os.environ)
        if name.startswith("TIPR_")
        and variable(new := name.removeprefix("TIPR_")) == os.environ[name] != ""
        and not os.environ.get(f"HARNESS_{new}")
    ]


def offline() -> bool:
    """Whether the user forbade the network: `HARNESS_OFFLINE` is set, and not to 0, no, off or false."""
    return variable("OFFLINE").strip().lower() not in ("", "0", "no", "off", "false")
