"""Study files for tests: a small valid one, and what to change in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

SMALL: dict[str, Any] = {
    "name": "small",
    "methods": ["uit", "uit-no-tir", "baseline", "clip-zero-shot"],
    "datasets": ["cuhk-pedes", "rstpreid"],
    "seeds": 2,
    "train": {
        "backbone": "tiny",
        "pretrained": "none",
        "image_size": [96, 32],
        "epochs": 2,
        "precision": "fp32",
    },
}


def write_study(folder: Path, /, **changes: Any) -> Path:
    """Write the small study with some sections replaced (or, with None, left out)."""
    values = {**SMALL, **changes}
    path = folder / "study.yaml"
    kept = {name: value for name, value in values.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False))
    return path
