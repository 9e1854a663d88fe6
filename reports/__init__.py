"""Reads run stores and says what they mean; never trains. `build` writes a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.assemble import ReportResult as ReportResult
    from reports.assemble import build as build

__all__ = ["ReportResult", "build"]


def __getattr__(name: str) -> Any:
    """Load what the package offers on first use: pandas and matplotlib take a second to import."""
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("reports.assemble"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
