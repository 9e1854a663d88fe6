"""Small files of scores, for tests of what enters and leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

QUERY = np.repeat(np.arange(40), 3)
GALLERY = np.repeat(np.arange(40), 2)


def arrays(seed: int = 0, noise: float = 1.0) -> dict[str, Any]:
    """Features of 40 people, 3 captions and 2 images each."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(40, 16))
    return {
        "text_features": (centre[QUERY] + noise * rng.normal(size=(len(QUERY), 16))).astype(np.float32),
        "image_features": (centre[GALLERY] + noise * rng.normal(size=(len(GALLERY), 16))).astype(np.float32),
        "query_persons": QUERY,
        "gallery_persons": GALLERY,
    }


def write_npz(path: Path, seed: int = 0, noise: float = 1.0, **changes: Any) -> Path:
    """Write them with some keys replaced, or with None left out."""
    values = {**arrays(seed, noise), **changes}
    np.savez(path, **{name: value for name, value in values.items() if value is not None})
    return path
