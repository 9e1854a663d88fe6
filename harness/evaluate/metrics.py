"""Retrieval metrics from ranks: R@k, mAP and mINP, exact, in memory bounded by the chunk.

A similarity matrix of gallery × queries is never held. For each query we know its positives beforehand (the
gallery items of the same person); their cosines are computed first, and then the gallery streams by, each
chunk adding how many of its items come before each positive. That is linear in the gallery, and ranks come
out without sorting it.

Counting is only right when the cosine of a pair is the same number wherever it is computed. Floating-point
matrix products are not like that: their last bits depend on chunk shapes, threads and devices. So features
are put on a fixed-point grid of 2⁻²⁶: products are multiples of 2⁻⁵², all partial sums of unit vectors stay
below 2, and 53 bits of a float64 hold every one of them *exactly*, in any order of summation. The grid costs
about 1e-8 of cosine, a tenth of what float32 arithmetic loses. Cosines are then compared in steps of 2⁻²⁴,
the resolution of a float32 below 1: closer ones are ties.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from harness.evaluate.score_ranking import GRID, STEPS, TOP, RankedQueries
from harness.machine.errors import ExitCode, HarnessError
from harness.machine.terms import TieOrder

_TO_STEPS = STEPS / GRID**2
_INDEX_BITS = 32
_LAST_INDEX = 2**_INDEX_BITS - 1
_AFTER_EVERYTHING = torch.iinfo(torch.int64).max
_LOOP_UP_TO = 8
_PAIRS_AT_ONCE = 2048
_CHUNKS = {"cpu": (128, 4096), "cuda": (1024, 65536)}


class NonFiniteFeatures(HarnessError):
    """Features hold NaN or infinity.

    Every comparison with NaN is false, which would rank each positive first.
    """

    exit_code = ExitCode.ERROR
    reason = "nan"


@dataclass(frozen=True)
class Ranking:
    """Where each query's positives stand in its ranked gallery. All tensors are on the CPU.

    `ranks[offsets[q]:offsets[q + 1]]` are the 1-based ranks of query q's positives, ascending (none: no
    positive). `top` `[queries, min(10, gallery)]` are the indices of its first gallery items,
    `top_score` their cosines.
    """

    offsets: Tensor
    ranks: Tensor
    top: Tensor
    top_score: Tensor
    gallery: int


@dataclass(frozen=True)
class QueryRecords:
    """One row per query: every tensor is `[queries]`, but `top` and `top_score` are `[queries, ≤ 10]`.

    `rank` is the rank of the first positive, `ap` the mean over positives of k / rank of the k-th one, `inp`
    the number of positives ÷ the rank of the last one. A query without positives has `positives` 0, rank 0,
    and NaN for ap and inp.
    """

    person: Tensor
    rank: Tensor
    ap: Tensor
    inp: Tensor
    positives: Tensor
    top: Tensor
    top_score: Tensor
    gallery: int

    @property
    def valid(self) -> Tensor:
        """`[queries]` bool: the query has a positive in the gallery, so that it counts in the means."""
        return self.positives > 0

    def ranked(self) -> RankedQueries:
        """The same as arrays, which a table and what runs without torch are made of."""
        columns = {
            column.name: getattr(self, column.name).numpy()
            for column in fields(self)
            if column.name != "gallery"
        }
        return RankedQueries(**columns, gallery=self.gallery)


@torch.no_grad()
def ranks(
    query_features: Tensor,
    gallery_features: Tensor,
    query_person: Tensor,
    gallery_person: Tensor,
    *,
    chunk: tuple[int, int] | None = None,
    tie_order: TieOrder = "index",
) -> Ranking:
    """Rank the gallery for every query by cosine and say where the positives stand.

    `query_features` `[queries, width]` and `gallery_features` `[gallery, width]` need not be normalised;
    `query_person` and `gallery_person` are int64. `chunk` is how many queries and gallery items meet at once
    (default: by device); it bounds the memory and changes no digit. Computation happens on the queries'
    device; the gallery may stay elsewhere.

    `tie_order="index"` puts equal cosines in the order of the gallery. `"released"` is what the released code
    does: float32 cosines, whole rows sorted by `torch.sort` without `stable`, so the order of ties
    depends on the device.

    Raises `NonFiniteFeatures`, and `ValueError` for an empty gallery or sizes that do not match.
    """
    _check(query_features, gallery_features, query_person, gallery_person)
    device = query_features.device
    positives = _Positives.find(query_person.to(device), gallery_person.to(device))
    sizes = chunk or _CHUNKS.get(device.type, _CHUNKS["cpu"])
    rank = _rank_by_sorting if tie_order == "released" else _rank_by_counting
    matrix, top, score = rank(query_features, gallery_features, positives, sizes)
    filled, _ = matrix.masked_fill(~positives.present, _AFTER_EVERYTHING).sort(dim=1)
    present = filled < _AFTER_EVERYTHING
    offsets = torch.zeros(len(query_features) + 1, dtype=torch.int64)
    offsets[1:] = present.sum(dim=1).cumsum(dim=0)
    return Ranking(offsets, filled[present].cpu(), top.cpu(), score.cpu(), len(gallery_features))


def query_records(ranking: Ranking, query_person: Tensor) -> QueryRecords:
    """First rank, AP and INP [queries] in float64; `query_person` [queries] is each query's person."""
    positives = ranking.offsets.diff()
    queries, starts = len(positives), ranking.offsets[:-1]
    owner = torch.repeat_interleave(torch.arange(queries), positives)
    kth = torch.arange(len(ranking.ranks)) - starts[owner] + 1
    precision = kth.double() / ranking.ranks.double()
    total = torch.zeros(queries, dtype=torch.float64).index_add_(0, owner, precision)
    has_positive = positives > 0
    first = torch.zeros(queries, dtype=torch.int64)
    first[has_positive] = ranking.ranks[starts[has_positive]]
    inp = torch.full((queries,), math.nan, dtype=torch.float64)
    last = ranking.ranks[ranking.offsets[1:][has_positive] - 1]
    inp[has_positive] = positives[has_positive].double() / last.double()
    ap = total / positives.double()
    return QueryRecords(
        query_person.cpu(), first, ap, inp, positives, ranking.top, ranking.top_score, ranking.gallery
    )


def summarise(records: QueryRecords) -> dict[str, float]:
    """The means over valid queries, in percent, and the counts; without any valid query the means are NaN.

    Keys: `R1`, `R5`, `R10`, `mAP`, `mINP`, `queries` (valid ones), `gallery`,
    `excluded` (queries that have no positive).
    """
    valid = records.valid
    rank = records.rank[valid]
    means = {f"R{k}": (rank <= k).double().mean() for k in (1, 5, 10)}
    means |= {"mAP": records.ap[valid].mean(), "mINP": records.inp[valid].mean()}
    counts = {"queries": len(rank), "gallery": records.gallery, "excluded": len(valid) - len(rank)}
    return {name: 100.0 * float(mean) for name, mean in means.items()} | counts


@dataclass(frozen=True)
class _Positives:
    """The positives of each query.

    `index` `[queries, most]` are their gallery indices, `present` `[queries, most]` which of them are real.
    """

    index: Tensor
    present: Tensor

    @classmethod
    def find(cls, query_person: Tensor, gallery_person: Tensor) -> _Positives:
        """Of queries by their persons [queries], in a gallery by its persons [gallery]."""
        by_person, order = gallery_person.sort(stable=True)
        first = torch.searchsorted(by_person, query_person)
        count = torch.searchsorted(by_person, query_person, right=True) - first
        slot = torch.arange(int(count.max()) if len(count) else 0, device=order.device)
        present = slot < count[:, None]
        index = order[(first[:, None] + slot).clamp_(max=len(order) - 1)]
        return cls(index, present)


def _rank_by_counting(
    queries: Tensor, gallery: Tensor, positives: _Positives, chunk: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    device = queries.device
    on_grid = _on_grid(queries)
    thresholds = _positive_keys(on_grid, gallery, positives)
    before = torch.zeros_like(thresholds)
    top = torch.full((len(queries), 0), 0, dtype=torch.int64, device=device)
    for columns in _spans(len(gallery), chunk[1]):
        part = _on_grid(gallery[columns].to(device)).double()
        index = torch.arange(columns.start, columns.stop, device=device)
        tops = []
        for rows in _spans(len(queries), chunk[0]):
            cosines = (on_grid[rows].double() * _TO_STEPS) @ part.T
            keys = _keys(cosines, index)
            before[rows] += _count_before(keys, thresholds[rows])
            best = keys.topk(min(TOP, keys.shape[1]), dim=1).values
            tops.append(torch.cat([top[rows], best], dim=1).sort(dim=1, descending=True).values[:, :TOP])
        top = torch.cat(tops) if tops else top
    score = (top >> _INDEX_BITS).double() / STEPS
    return before + 1, _LAST_INDEX - (top & _LAST_INDEX), score.float()


def _rank_by_sorting(
    queries: Tensor, gallery: Tensor, positives: _Positives, chunk: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    device = queries.device
    columns = torch.nn.functional.normalize(gallery.to(device).float(), dim=1)
    matrix, tops, scores = torch.zeros_like(positives.index), [], []
    for rows in _spans(len(queries), chunk[0]):
        cosines = torch.nn.functional.normalize(queries[rows].float(), dim=1) @ columns.T
        ordered, order = cosines.sort(dim=1, descending=True)
        position = torch.empty_like(order).scatter_(
            1, order, torch.arange(order.shape[1], device=device).expand_as(order)
        )
        matrix[rows] = position.gather(1, positives.index[rows]) + 1
        tops.append(order[:, :TOP])
        scores.append(ordered[:, :TOP])
    return matrix, torch.cat(tops), torch.cat(scores)


def _on_grid(features: Tensor) -> Tensor:
    """Unit vectors in int32 steps of 2⁻²⁶; a zero vector stays zero, so its cosine with anything is 0."""
    exact = features.double()
    largest = exact.abs().amax(dim=1, keepdim=True)
    exact = exact / largest.where(largest > 0, 1.0)  # so that squares neither overflow nor vanish
    norm = exact.norm(dim=1, keepdim=True)
    return exact.div_(norm.where(norm > 0, 1.0)).mul_(GRID).round_().to(torch.int32)


def _keys(cosines: Tensor, index: Tensor) -> Tensor:
    """One int64 per pair, larger = ranked earlier: the cosine in steps, then the lower gallery index."""
    return cosines.round_().to(torch.int64).bitwise_left_shift_(_INDEX_BITS).add_(_LAST_INDEX - index)


def _positive_keys(on_grid: Tensor, gallery: Tensor, positives: _Positives) -> Tensor:
    """Keys of the positives `[queries, most]`; an absent one comes before everything, so none is counted."""
    keys = torch.full_like(positives.index, _AFTER_EVERYTHING)
    row, slot = positives.present.nonzero(as_tuple=True)
    index, order = positives.index[row, slot].sort()  # so that a span of pairs shares few gallery items
    row, slot = row[order], slot[order]
    for part in _spans(len(row), _PAIRS_AT_ONCE):
        items, item = torch.unique(index[part], return_inverse=True)
        columns = _on_grid(gallery[items.to(gallery.device)].to(on_grid.device)).double()
        cosines = (columns[item].mul_(on_grid[row[part]])).sum(dim=1).mul_(_TO_STEPS)
        keys[row[part], slot[part]] = _keys(cosines, index[part])
    return keys


def _count_before(keys: Tensor, thresholds: Tensor) -> Tensor:
    """How many of `keys` `[rows, columns]` exceed each of `thresholds` `[rows, slots]`, by row.

    A comparison per slot is fastest for a few positives; with many, one binary search per key keeps the
    cost at log(slots).
    """
    rows, slots = thresholds.shape
    if slots <= _LOOP_UP_TO:
        counts = [(keys > threshold[:, None]).sum(dim=1) for threshold in thresholds.unbind(dim=1)]
        return torch.stack(counts, dim=1) if counts else thresholds.clone()
    ascending, order = thresholds.sort(dim=1)
    exceeded = torch.searchsorted(ascending, keys)
    exceeded += torch.arange(rows, device=keys.device)[:, None] * (slots + 1)
    histogram = torch.bincount(exceeded.flatten(), minlength=rows * (slots + 1)).view(rows, slots + 1)
    at_least = histogram.flip(1).cumsum(dim=1).flip(1)
    return torch.empty_like(thresholds).scatter_(1, order, at_least[:, 1:])


def _spans(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _check(queries: Tensor, gallery: Tensor, query_person: Tensor, gallery_person: Tensor) -> None:
    if len(queries) != len(query_person) or len(gallery) != len(gallery_person):
        raise ValueError(
            f"{len(queries)} queries have {len(query_person)} person ids, "
            f"{len(gallery)} gallery items have {len(gallery_person)}"
        )
    if len(gallery) == 0:
        raise ValueError("the gallery is empty")
    for name, features in (("query", queries), ("gallery", gallery)):
        if not all(bool(features[rows].isfinite().all()) for rows in _spans(len(features), 65536)):
            raise NonFiniteFeatures(f"{name} features hold NaN or infinity; the model has diverged")
