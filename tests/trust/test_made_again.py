"""A report made again: what rounding explains is the same, and every other number differs."""

from __future__ import annotations

import pytest

from harness.trust.made_again import passages, tables

ROUNDED = [("61.3", "61.4"), ("0.003", "0.004"), ("−2.41", "−2.40")]
"""Texts of one number, rounded elsewhere in its last digit."""
OTHERS = [
    ("61.3", "71.3"),
    ("61.3", "61.5"),
    ("61.30", "61.4"),
    ("12", "13"),
    ("0.003", "0.051"),
    ("4e-05", "5e-05"),
    ("29.8 ± 0.6", "29.8 ± 1.6"),
    ("29.8 ± 0.6", "28.8 ± 0.6"),
]
"""Texts of two numbers, whoever rounded them."""


def differs(written: str, again: str, *, other_version: bool) -> bool:
    """Whether a table and a page of a bundle are said to differ by their only number; both must agree."""
    cells = (f"method,R1\nuit,{value}\n" for value in (written, again))
    pages = (f"<table>\n<tr><td>uit</td><td>{value}</td></tr>\n</table>" for value in (written, again))
    of_table = list(tables(*cells, "results.csv", other_version=other_version))
    of_page = list(passages(*pages, "report.html", other_version=other_version))
    assert bool(of_table) == bool(of_page), (of_table, of_page)
    if of_table:
        assert of_table == [f"results.csv: line 2: R1 is {written}, the records give {again}"]
    return bool(of_table)


@pytest.mark.parametrize("pair", ROUNDED)
@pytest.mark.parametrize("turned", [False, True])
def test_only_another_version_may_round_the_last_digit_otherwise(pair: tuple[str, str], turned: bool) -> None:
    written, again = pair[::-1] if turned else pair
    assert not differs(written, again, other_version=True)
    assert differs(written, again, other_version=False)


@pytest.mark.parametrize("pair", OTHERS)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("other_version", [False, True])
def test_a_number_that_rounding_does_not_explain_differs_whether_it_is_larger_or_smaller(
    pair: tuple[str, str], turned: bool, other_version: bool
) -> None:
    written, again = pair[::-1] if turned else pair
    assert differs(written, again, other_version=other_version)


@pytest.mark.parametrize("other_version", [False, True])
def test_the_tenth_digit_is_that_of_another_processor(other_version: bool) -> None:
    assert not differs("61.33333333", "61.33333334", other_version=other_version)
    assert differs("61.33333333", "61.33333433", other_version=other_version)
