"""Counts in words."""

from __future__ import annotations

import pytest

from harness.machine.words import plural


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [(0, ("cell",), "0 cells"), (1, ("cell",), "1 cell"), (1200, ("person", "people"), "1,200 people")],
)
def test_one_thing_is_no_plural(count: int, words: tuple[str, ...], said: str) -> None:
    assert plural(count, *words) == said
