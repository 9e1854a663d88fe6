"""Per-query records from features or similarities with NumPy alone, for results that other code computed.

The same protocol and the same digits as `harness.evaluate.metrics`: features are put on its fixed-point grid,
cosines are compared in its steps, ties are ranked by gallery index. Similarities are compared as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.machine.terms import Direction

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Scores = NDArray[Any]

TOP = 10
"""Gallery items that a record of a query names."""
GRID = 2.0**26
"""Steps of a coordinate of a unit vector."""
STEPS = 2.0**24
"""Steps of a cosine; closer ones are ties."""
_ROWS = 256


@dataclass(frozen=True)
class RankedQueries:
    """One row per query; all arrays `[queries]`, except `top` and `top_score` `[queries, ≤ 10]`.

    `rank` is that of the first positive, 0 without one; `ap` and `inp` are NaN then.
    """

    person: Integers
    rank: Integers
    ap: Floats
    inp: Floats
    positives: Integers
    top: Integers
    top_score: NDArray[np.float32]
    gallery: int

    def frame(self, persons: Sequence[str], direction: Direction) -> pd.DataFrame:
        """The records as a table, one row per query, in the order of the split.

        Columns: `query` (index of the caption or image), `caption_id` or `image_id` (the same, by the
        direction's name), `person_id` (as annotated), `rank` (of the first hit, nullable), `ap`, `inp`,
        `positives`, `top` (indices of the first ten gallery items) and `top_score` (their cosines). A query
        without a positive has none of rank, ap and inp, so that it drops out of every mean.

        Args:
            persons: the label of every person.
            direction: which side the queries are on.
        """
        import pandas as pd

        query = np.arange(len(self.person))
        return pd.DataFrame(
            {
                "query": query,
                "caption_id" if direction == "t2i" else "image_id": query,
                "person_id": np.array(persons, dtype=object)[self.person],
                "rank": pd.Series(self.rank, dtype="Int64").where(self.positives > 0),
                "ap": self.ap,
                "inp": self.inp,
                "positives": self.positives,
                "top": list(self.top),
                "top_score": list(self.top_score),
            }
        )

    def summary(self) -> dict[str, float]:
        """`R1 R5 R10 mAP mINP` over queries with a positive, in percent; `queries`, `gallery`, `excluded`."""
        valid = self.positives > 0
        rank, count = self.rank[valid], int(valid.sum())
        means = {f"R{k}": (rank <= k).mean() if count else np.nan for k in (1, 5, 10)}
        means |= {name: column[valid].mean() if count else np.nan for name, column in self._means()}
        counts = {"queries": count, "gallery": self.gallery, "excluded": len(valid) - count}
        return {name: 100.0 * float(mean) for name, mean in means.items()} | counts

    def _means(self) -> tuple[tuple[str, Floats], ...]:
        return ("mAP", self.ap), ("mINP", self.inp)


def rank_features(
    queries: Scores, gallery: Scores, query_person: Integers, gallery_person: Integers
) -> RankedQueries:
    """Rank the gallery for every query by cosine.

    Args:
        queries: features `[queries, width]`, not normalised.
        gallery: features `[gallery, width]`.
        query_person: `[queries]` person of each query.
        gallery_person: `[gallery]` person of each gallery item.
    """
    columns = np.ascontiguousarray(_on_grid(gallery).T)
    rows = _on_grid(queries) * (STEPS / GRID**2)

    def cosines(part: slice) -> Scores:
        return np.rint(rows[part] @ columns)

    return _ranked(cosines, query_person, gallery_person, scale=STEPS)


def cosine_steps(queries: Scores, gallery: Scores) -> Floats:
    """Cosines `[queries, gallery]` in whole steps of 2⁻²⁴, as they are compared."""
    found: Floats = np.rint(_on_grid(queries) * (STEPS / GRID**2) @ _on_grid(gallery).T)
    return found


def rank_similarity(
    similarity: Scores, query_person: Integers, gallery_person: Integers, *, transposed: bool = False
) -> RankedQueries:
    """Rank the gallery for every query by a matrix of similarities, larger first.

    Args:
        similarity: `[queries, gallery]`, of any scale.
        query_person: `[queries]` person of each query.
        gallery_person: `[gallery]` person of each gallery item.
        transposed: let the gallery's side search the queries' side; the persons are those of the new sides.
    """

    def rows(part: slice) -> Scores:
        return np.ascontiguousarray(similarity[:, part].T) if transposed else similarity[part]

    return _ranked(rows, query_person, gallery_person, scale=1.0)


def _on_grid(features: Scores) -> Floats:
    """Unit vectors in whole steps of 2⁻²⁶; a zero vector stays zero, so its cosine with anything is 0."""
    exact = np.asarray(features, dtype=np.float64)
    largest = np.abs(exact).max(axis=1, keepdims=True, initial=0)
    exact = exact / np.where(largest > 0, largest, 1.0)  # so that squares neither overflow nor vanish
    norm = np.sqrt((exact * exact).sum(axis=1, keepdims=True))
    return np.rint(exact / np.where(norm > 0, norm, 1.0) * GRID)


def _ranked(
    scores: Callable[[slice], Scores], query_person: Integers, gallery_person: Integers, scale: float
) -> RankedQueries:
    queries, gallery = len(query_person), len(gallery_person)
    index, present = _positives(query_person, gallery_person)
    before = np.zeros_like(index)
    top = np.zeros((queries, min(TOP, gallery)), dtype=np.int64)
    top_score = np.zeros(top.shape, dtype=np.float32)
    for part in _spans(queries):
        block = scores(part)
        before[part] = _count_before(block, index[part], present[part])
        top[part], best = _top(block)
        top_score[part] = best / scale
    ranks = np.where(present, before + 1, np.iinfo(np.int64).max)
    ranks.sort(axis=1)
    counts = present.sum(axis=1)
    rank, ap, inp = _scores_of(ranks[np.arange(ranks.shape[1]) < counts[:, None]], counts)
    return RankedQueries(query_person, rank, ap, inp, counts, top, top_score, gallery)


def _scores_of(ranks: Integers, counts: Integers) -> tuple[Integers, Floats, Floats]:
    """First rank, AP and INP `[queries]` from the ascending ranks of all positives, query by query."""
    ends = np.cumsum(counts)
    starts, found = ends - counts, counts > 0
    owner = np.repeat(np.arange(len(counts)), counts)
    precision = (np.arange(len(ranks)) - starts[owner] + 1) / ranks
    first, inp = np.zeros(len(counts), dtype=np.int64), np.full(len(counts), np.nan)
    first[found] = ranks[starts[found]]
    inp[found] = counts[found] / ranks[ends[found] - 1]
    total = np.bincount(owner, weights=precision, minlength=len(counts))
    with np.errstate(invalid="ignore"):
        return first, total / counts, inp


def _positives(query_person: Integers, gallery_person: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Gallery indices of each query's positives `[queries, most]`, and which of them are real."""
    order = np.argsort(gallery_person, kind="stable")
    by_person = gallery_person[order]
    first = np.searchsorted(by_person, query_person)
    count = np.searchsorted(by_person, query_person, side="right") - first
    slot = np.arange(int(count.max(initial=0)))
    index = order[np.minimum(first[:, None] + slot, len(order) - 1)]
    return index, slot < count[:, None]


def _count_before(block: Scores, index: Integers, present: NDArray[np.bool_]) -> Integers:
    """How many gallery items come before each positive `[rows, slots]`: higher, or equal and earlier."""
    counts = np.zeros_like(index)
    # Row by row: counting along an axis of a Boolean matrix takes NumPy five times as long.
    for row, slot in zip(*map(np.ndarray.tolist, np.nonzero(present)), strict=True):
        line, own = block[row], index[row, slot]
        score = line[own]
        counts[row, slot] = np.count_nonzero(line[:own] >= score) + np.count_nonzero(line[own:] > score)
    return counts


def _top(block: Scores) -> tuple[Integers, Scores]:
    """The first ten gallery items of every row and their scores `[rows, ≤ 10]`."""
    size = min(TOP, block.shape[1])
    least = np.partition(block, block.shape[1] - size, axis=1)[:, block.shape[1] - size]
    row, item = np.nonzero(block >= least[:, None])
    order = np.lexsort((item, -block[row, item], row))
    row, item = row[order], item[order]
    starts = np.searchsorted(row, np.arange(len(block)))
    best = item[starts[:, None] + np.arange(size)]
    return best, np.take_along_axis(block, best, axis=1)


def _spans(length: int) -> Iterator[slice]:
    for start in range(0, length, _ROWS):
        yield slice(start, min(start + _ROWS, length))
