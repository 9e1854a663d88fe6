"""Counts in words."""

from __future__ import annotations


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 seed`, `2 seeds`, `1,000 people`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def plural_are(count: int, one: str, many: str | None = None) -> str:
    """`1 seed is`, `2 seeds are`."""
    return f"{plural(count, one, many)} {'is' if count == 1 else 'are'}"
