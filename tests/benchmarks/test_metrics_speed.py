"""Cost of ranking: the validation of every epoch, and a gallery of a million.

`pytest --benchmark-only tests/benchmarks/test_metrics_speed.py`; `RETRIEVAL_FULL=1` ranks 1,000,000 gallery
items for 10,000 queries of width 512 (their features take 2 GB), on a GPU where there is one. A pair costs
the same whatever the size of the gallery, so the other benchmarks tell how long that takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from harness.evaluate.metrics import query_records, ranks, summarise

FULL = os.environ.get("RETRIEVAL_FULL") == "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def features(queries: int, gallery: int, width: int) -> tuple[torch.Tensor, ...]:
    """Random features; four gallery items of every person."""
    generator = torch.Generator().manual_seed(0)
    people = max(1, gallery // 4)
    return (
        torch.randn(queries, width, generator=generator).to(DEVICE),
        torch.randn(gallery, width, generator=generator),
        torch.randint(people, (queries,), generator=generator),
        torch.arange(gallery) % people,
    )


Rank = Callable[[int, int, int, int], None]


@pytest.fixture
def rank(benchmark: BenchmarkFixture, peak_gigabytes: Callable[[], float]) -> Rank:
    """Ranks so many images of so many features for so many queries, in rounds, and notes what it took."""

    def run(queries: int, gallery: int, width: int, rounds: int) -> None:
        case = features(queries, gallery, width)
        benchmark.pedantic(
            lambda: summarise(query_records(ranks(*case), case[2])),
            rounds=rounds,
            warmup_rounds=int(rounds > 1),
        )
        seconds = benchmark.stats.stats.min
        benchmark.extra_info["nanoseconds_per_pair"] = 1e9 * seconds / (queries * gallery)
        benchmark.extra_info["peak_gigabytes"] = peak_gigabytes()
        benchmark.extra_info["device"] = DEVICE

    return run


@pytest.mark.parametrize("width", [128, 512])
def test_validation_of_an_epoch_with_2000_captions_and_1000_images(rank: Rank, width: int) -> None:
    rank(2_000, 1_000, width, 5)


@pytest.mark.parametrize("gallery", [10_000, 100_000, 1_000_000])
def test_nanoseconds_per_pair_stay_the_same_as_the_gallery_grows(rank: Rank, gallery: int) -> None:
    rank(200, gallery, 128, 2)


@pytest.mark.skipif(not FULL, reason="set RETRIEVAL_FULL=1 for a million gallery items and 10,000 queries")
def test_a_million_gallery_items_and_ten_thousand_queries(rank: Rank) -> None:
    rank(10_000, 1_000_000, 512, 1)
