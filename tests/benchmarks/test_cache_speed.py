"""How long the cache of decoded images takes to build, from JPEG files of the size that the benchmarks have.

`pytest --benchmark-only tests/benchmarks/test_cache_speed.py`; `minutes_for_40000` is for all of CUHK-PEDES.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from harness.data.dataset import Split
from harness.data.decoding import available_cores
from harness.data.image_hashes import digest_of
from harness.data.images import image_cache

IMAGES = 1000
SOURCE = (300, 120)  # height and width: CUHK-PEDES crops are of many sizes around this


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = tuple(folder / f"{number}.jpg" for number in range(IMAGES))
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (20, 8, 3), dtype=np.uint8))
        coarse.resize(SOURCE[::-1], Image.Resampling.BICUBIC).save(path, quality=90)
    return Split(
        name="train",
        image_paths=paths,
        persons=tuple(map(str, range(IMAGES))),
        image_person=np.arange(IMAGES),
        captions=("a person",) * IMAGES,
        caption_image=np.arange(IMAGES),
    )


def test_building_the_cache_at_full_size(benchmark: BenchmarkFixture, split: Split, tmp_path: Path) -> None:
    builds = iter(range(100))
    digests = [digest_of(path) for path in split.image_paths]

    def build() -> None:
        image_cache(split, (384, 128), tmp_path / str(next(builds)), fingerprint="f", digests=digests)

    benchmark.pedantic(build, rounds=3, warmup_rounds=1)
    seconds = benchmark.stats.stats.median
    benchmark.extra_info.update(
        images_per_second=IMAGES / seconds,
        minutes_for_40000=40_000 / IMAGES * seconds / 60,
        cores=available_cores(),
    )
