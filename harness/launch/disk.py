"""How much disk a study needs, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import methods
from harness import registry
from harness.launch.count_cache import cached_count
from harness.study.cell import Cell
from harness.study.study import Study

GIGABYTE = 1e9
"""Bytes of a gigabyte, in whatever is printed."""
BYTES = 4
"""Of a weight, as models and checkpoints keep it."""
IN_CHECKPOINT = 3
"""Copies of a model's weights in the last checkpoint of a finished cell: the three selected ones."""
IN_TRAINING = 10
"""Copies while a cell trains: three models, three in the last checkpoint, and four more for the optimiser's
averages and a checkpoint that is not yet complete."""


def study_disk(study: Study, data_root: Path | None) -> tuple[int, int]:
    """Bytes that a study needs: for its caches of decoded images, and for its run's folder."""
    cells = study.cells()
    return cache_bytes(cells, study.file.subset, data_root), run_bytes(cells)


def cache_bytes(cells: Sequence[Cell], subset: int | None, data_root: Path | None) -> int:
    """Bytes of the decoded images, of every size, that cells read."""
    from harness.data.datasets import load_dataset

    views = {(name, cell.train.image_size) for cell in cells for name in cell.targets}
    images = {
        name: sum(
            len(split.image_paths)
            for split in load_dataset(name, data_root, subset=subset, read_images=False).splits.values()
        )
        for name in {name for name, _ in views}
    }
    return sum(images[name] * 3 * height * width for name, (height, width) in views)


def finished_bytes(cells: Sequence[Cell]) -> int:
    """Bytes that cells leave when they are finished.

    A finished cell keeps a model for each of `kept_models`, and three in its checkpoint where it keeps
    that; a method that does not train has one model, whatever is kept. Per-query records and pages are
    small beside that.
    """
    return sum(_copies(cell) * size for cell, size in _sized(cells))


def run_bytes(cells: Sequence[Cell]) -> int:
    """Bytes that cells need: what they leave, and what one of them takes more while it trains."""
    more = (size * (IN_TRAINING - _copies(cell)) for cell, size in _sized(cells) if cell.trains)
    return finished_bytes(cells) + max(more, default=0)


def _sized(cells: Sequence[Cell]) -> list[tuple[Cell, int]]:
    """Each cell with the bytes of its model's weights."""
    kinds = {_kind(cell): cell for cell in cells}
    sizes = {kind: BYTES * weights_of(cell) for kind, cell in kinds.items()}
    return [(cell, sizes[_kind(cell)]) for cell in cells]


def weights_of(cell: Cell) -> int:
    """How many weights the cell's model has."""
    train = cell.train
    sizes = train.backbone, train.image_size, dict(cell.overrides), train.text_length

    def counted() -> int:
        from methods.cost import build_on_meta

        return sum(weight.numel() for weight in build_on_meta(cell.base, *sizes).parameters())

    cost = Path(methods.__file__).with_name("cost.py")
    plugin = registry.method(cell.base).plugin
    return int(cached_count(counted, ["weights", cell.base, *sizes], plugin=plugin, code=[cost]))


def _kind(cell: Cell) -> tuple[Any, ...]:
    """What the number of a cell's weights depends on, beside its switches."""
    return cell.base, cell.train.backbone, cell.train.image_size, cell.train.text_length


def _copies(cell: Cell) -> int:
    """Copies of its weights that a finished cell keeps."""
    if not cell.trains:
        return 1
    return len(cell.kept_models) + (IN_CHECKPOINT if "checkpoint" in cell.keep else 0)
