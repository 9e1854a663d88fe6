"""What stands behind a person: nearer things hide farther ones."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.data.rendering import scene


class Pinhole:
    """A camera at the height of 1.5 m that looks along -z."""

    def project(self, points: np.ndarray) -> np.ndarray:
        x, y, z = points.T
        return np.stack([100 * x / -z, 80 - 200 * (y - 1.5) / -z, -z], axis=1)


@pytest.mark.parametrize("seed", range(12))
def test_people_in_the_background_are_painted_from_the_farthest_to_the_nearest(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    heights: list[int] = []

    def paste(image: Any, sprite: Any, x: float, bottom: float, tall: int, light: float) -> None:
        heights.append(tall)

    monkeypatch.setattr(scene, "paste", paste)
    domain: Any = SimpleNamespace(crowd=9)
    image = np.zeros((160, 60, 3))
    scene._populate(image, domain, Pinhole(), [image], 14.0, Random(seed))  # type: ignore[arg-type]
    assert heights == sorted(heights)
    scene._populate(image, domain, Pinhole(), [image], 2.0, Random(seed))  # type: ignore[arg-type]
    assert heights == sorted(heights), "nobody stands before a wall that is this near"
