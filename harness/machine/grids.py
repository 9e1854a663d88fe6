"""Which combinations of a few switches are run: all of them, or the half that is enough. Pure."""

from __future__ import annotations

from itertools import product

Levels = tuple[bool, ...]
"""Which of the switches a variant has on."""

MOST_SWITCHES = 5
FULL_SWITCHES = 3
"""Up to so many switches every combination is run; beyond, half of them."""


def runs_of(switches: int) -> list[Levels]:
    """The combinations that attribute a score to so many switches, all off first, all on last.

    Of four or five switches those with an even number of the first four on (the half I = ABCD). Raises
    ValueError for none, or more than five.
    """
    if not 1 <= switches <= MOST_SWITCHES:
        raise ValueError(f"between 1 and {MOST_SWITCHES} switches, got {switches}")
    everything = list(product((False, True), repeat=switches))
    return everything if switches <= FULL_SWITCHES else [run for run in everything if sum(run[:4]) % 2 == 0]
