"""How much disk a study needs, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.study.study import Cell, Study

COPIES_TRAINED, COPIES_TRAINING = 6, 4
"""Of a model's weights on the disk: three selected models and three in the last checkpoint; and what a cell
adds while it trains, the optimiser's two averages and a checkpoint that is not yet complete."""


def study_disk(study: Study, data_root: Path | None) -> tuple[int, int]:
    """Bytes that a study needs: for its caches of decoded images, and for its run's folder.

    A cell that trained keeps three models of 4 bytes a weight, and the same in its last checkpoint; one that
    does not train keeps one model. Per-query records and pages are small beside that.
    """
    from harness.data.datasets import load_dataset

    cells = study.cells()
    views = {(name, cell.train.image_size) for cell in cells for name in cell.targets}
    images = {
        name: sum(
            len(split.image_paths)
            for split in load_dataset(
                name, data_root, subset=study.file.subset, read_images=False
            ).splits.values()
        )
        for name in {name for name, _ in views}
    }
    cache = sum(images[name] * 3 * height * width for name, (height, width) in views)
    kinds = {_kind(cell): cell for cell in cells}
    weights = {kind: _weights_of(cell) for kind, cell in kinds.items()}
    copies = {True: COPIES_TRAINED, False: 1}
    largest = max((weights[kind] for kind, cell in kinds.items() if cell.trains), default=0)
    runs = sum(4 * copies[cell.trains] * weights[_kind(cell)] for cell in cells)
    return cache, runs + 4 * COPIES_TRAINING * largest


def _weights_of(cell: Cell) -> int:
    from methods.cost import build_on_meta

    train = cell.train
    sizes = train.backbone, train.image_size, dict(cell.overrides), train.text_length
    return sum(weight.numel() for weight in build_on_meta(cell.base, *sizes).parameters())


def _kind(cell: Cell) -> tuple[Any, ...]:
    """What the number of a cell's weights depends on, beside its switches."""
    return cell.base, cell.train.backbone, cell.train.image_size, cell.train.text_length
