"""Caption noise: a share of the training captions is moved to other images, by a seed. Torch-free.

The field measures robustness so (RDE, CVPR 2024): image and person of a pair stay, and its caption belongs to
another image, so that its label is wrong. A caption may move within its person; it never stays at its image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.machine.errors import DataError

Indices = NDArray[np.int64]
_ATTEMPTS = 1000


def caption_order(caption_image: Indices, share: float, seed: int) -> Indices:
    """Which caption stands at each place, [captions]: its own, or for the moved share another image's.

    Exactly round(share · captions) places get a caption of another image; together they hold the captions
    that they had before.

    Args:
        caption_image: [captions] the image of each.
        share: of all captions, 0 to 1.
        seed: of the draw.

    Raises:
        DataError: so many captions cannot all move to other images.
    """
    order = np.arange(len(caption_image), dtype=np.int64)
    count = round(share * len(order))
    if not count:
        return order
    rng = np.random.default_rng(seed)
    places = rng.choice(order, count, replace=False).astype(np.int64)
    moved = rng.permutation(places)
    for _ in range(_ATTEMPTS):
        staying = np.flatnonzero(caption_image[moved] == caption_image[places])
        if not len(staying):
            order[places] = moved
            return order
        for place in staying.tolist():
            other = int(rng.integers(count))
            moved[[place, other]] = moved[[other, place]]
    raise DataError([f"caption_noise: {count} captions of so few images cannot all move to another image"])
