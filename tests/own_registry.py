"""A registry of a test's own: what it registers is gone after it, and what others registered is not there."""

from __future__ import annotations

import pytest

from harness import registry


def without_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave only this project's methods and datasets registered until the test ends."""
    shelves = {"_methods": registry.methods(), "_datasets": registry.datasets()}
    for shelf, entries in shelves.items():
        ours = {name: entry for name, entry in entries.items() if entry.plugin is None}
        monkeypatch.setattr(registry, shelf, ours)
    monkeypatch.setattr(registry, "_plugins", {})
