"""Files of a report beside the same files made again from the records: what differs, value by value."""

from __future__ import annotations

import csv
import difflib
import html
import io
import math
import re
from collections.abc import Iterator

LAST_DIGIT = 2e-9
"""By how much numbers of ten digits may differ, relative: the last digit on another processor."""
OTHER_ROWS = "other rows or columns than the records give"
SHOWN = 100
"""Letters of a passage that are printed."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_TAG = re.compile(r"<[^>]*>")
_PLACES = (
    (re.compile(r"<svg.*?</svg>", re.DOTALL), "<svg/>"),  # drawn anew by another matplotlib
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d"), "DATE"),
    # Where the run lay when its page was written.
    (re.compile(r"harness run (?:[^<\n]*?/)?study\.yaml(?:&#39;)?"), "harness run study.yaml"),
    (re.compile(r"--out (?:&#39;[^<\n]*?&#39;|[^\s<]+)"), "--out FOLDER"),
    # A bundle leaves models out, and its page says nothing of them.
    (re.compile(r'<p class="note">model-\S+ is gone; the next run makes it again</p>'), ""),
)


def tables(written: str, again: str, name: str, *, other_version: bool = False) -> Iterator[str]:
    """Values of a CSV table that the records do not give, each with its line and column.

    Args:
        written: the table in the bundle.
        again: the same one, made again.
        name: of its file.
        other_version: another version of the harness wrote it, which may round the last digit otherwise.
    """
    before, after = (list(csv.reader(io.StringIO(text))) for text in (written, again))
    if len(before) != len(after) or before[:1] != after[:1]:
        yield f"{name}: {OTHER_ROWS}"
        return
    for number, (first, second) in enumerate(zip(before, after, strict=True), 1):
        if len(first) != len(second):
            yield f"{name}: line {number}: {len(first)} values, the records give {len(second)}"
            continue
        for column, value, computed in zip(before[0], first, second, strict=False):
            if not same_text(value, computed, other_version=other_version):
                yield f"{name}: line {number}: {column} is {value}, the records give {computed}"


def passages(written: str, again: str, name: str, *, other_version: bool = False) -> Iterator[str]:
    """Lines of a text or a page that are not the ones that the records give; tags are not printed.

    Dates, drawings and the place where a run lay are not compared. Arguments as `tables` has them.
    """
    before, after = (_comparable(text).splitlines() for text in (written, again))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for what, start, end, first, last in matcher.get_opcodes():
        if what == "equal":
            continue
        old, new = before[start:end], after[first:last]
        if len(old) == len(new):
            pairs = [
                pair
                for pair in zip(old, new, strict=True)
                if not same_text(*pair, other_version=other_version)
            ]
        else:
            pairs = [("\n".join(old), "\n".join(new))]
        for one, other in pairs:
            yield f"{name}: {_shown(one, other)}"


def _comparable(text: str) -> str:
    for pattern, put in _PLACES:
        text = pattern.sub(put, text)
    return text


def _shown(written: str, again: str) -> str:
    """Both passages in words, from where they first differ."""
    one, other = (" ".join(html.unescape(_TAG.sub(" ", text)).split()) for text in (written, again))
    if one == other:
        return "its layout is not the one that the records give"
    first = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    start = max(0, min(len(one), len(other)) - 1 if first is None else first - SHOWN // 3)
    said, given = (text[start : start + SHOWN].strip() for text in (one, other))
    if not one:
        return f'lacks "{given}", which the records give'
    return f'has "{said}", the records give ' + (f'"{given}"' if other else "no such passage")


def same_text(first: str, second: str, *, other_version: bool = False) -> bool:
    """Whether two texts are the same but for the last digit of numbers that were computed elsewhere."""
    if first == second:
        return True
    if _NUMBER.sub("0", first) != _NUMBER.sub("0", second):
        return False
    pairs = zip(_NUMBER.findall(first), _NUMBER.findall(second), strict=True)
    return all(_same_number(*pair, other_version=other_version) for pair in pairs)


def _same_number(first: str, second: str, *, other_version: bool) -> bool:
    if first == second:
        return True
    one, other = float(first), float(second)
    if math.isclose(one, other, rel_tol=LAST_DIGIT, abs_tol=1e-12):
        return True
    digits = len(first.partition(".")[2])
    same_length = digits == len(second.partition(".")[2]) and "e" not in (first + second).lower()
    return other_version and bool(digits) and same_length and abs(one - other) < 1.5 * 10**-digits
