"""How much disk a study needs, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import methods
from harness import registry
from harness.data.dataset import Dataset
from harness.launch.count_cache import cached_count
from harness.machine.terms import SELECTIONS
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
QUERY = 100
"""Bytes of a query's record, measured on the rendered datasets."""
RECORD_FILE = 5_000
"""Bytes of a file of records beside its records."""
PAGE = 1_200_000
"""Bytes of a run's page with its pictures, figures and tables."""

Loader = Callable[[str], Dataset]
"""Gives a dataset by its name, of as many people as the study uses."""


def study_disk(study: Study, data_root: Path | None) -> tuple[int, int]:
    """Bytes that a study needs: for its caches of decoded images, and for its run's folder."""
    from harness.data.datasets import load_dataset

    subset = study.file.subset
    load = partial(load_dataset, data_root=data_root, subset=subset, read_images=False)
    cells = study.cells()
    return cache_bytes(cells, load), run_bytes(cells, load)


def cache_bytes(cells: Sequence[Cell], load: Loader) -> int:
    """Bytes of the decoded images, of every size, that cells read."""
    views = {(name, cell.train.image_size) for cell in cells for name in cell.targets}
    images = {
        name: sum(len(split.image_paths) for split in load(name).splits.values())
        for name in {name for name, _ in views}
    }
    return sum(images[name] * 3 * height * width for name, (height, width) in views)


def finished_bytes(cells: Sequence[Cell], load: Loader) -> int:
    """Bytes that cells leave when they are finished, with the page of their run.

    A finished cell keeps a model for each of `kept_models`, and three in its checkpoint where it keeps
    that; a method that does not train has one model, whatever is kept. Of every query there are records of
    each selection, in both directions. Raises `DataError` for data that are not here.
    """
    models = sum(_copies(cell) * size for cell, size in _sized(cells, load))
    return models + sum(_record_bytes(cell, load) for cell in cells) + (PAGE if cells else 0)


def run_bytes(cells: Sequence[Cell], load: Loader) -> int:
    """Bytes that cells need: what they leave, and what one of them takes more while it trains."""
    more = (size * (IN_TRAINING - _copies(cell)) for cell, size in _sized(cells, load) if cell.trains)
    return finished_bytes(cells, load) + max(more, default=0)


def _record_bytes(cell: Cell, load: Loader) -> int:
    tested = [load(target).splits["test"] for target in cell.targets]
    queries = sum(len(split.captions) + len(split.image_paths) for split in tested)
    return len(SELECTIONS) * (QUERY * queries + 2 * RECORD_FILE * len(tested))


def _sized(cells: Sequence[Cell], load: Loader) -> list[tuple[Cell, int]]:
    """Each cell with the bytes of its model's weights."""
    kinds = {_kind(cell): cell for cell in cells}
    sizes = {kind: BYTES * weights_of(cell, _people(cell, load)) for kind, cell in kinds.items()}
    return [(cell, sizes[_kind(cell)]) for cell in cells]


def _people(cell: Cell, load: Loader) -> int:
    """Whom a classifier of the method tells apart; the classifier is a part of the model."""
    return len(load(cell.dataset).splits["train"].persons) if cell.trains else 1


def weights_of(cell: Cell, people: int) -> int:
    """How many weights the cell's model has, with so many training people."""
    train = cell.train
    sizes = train.backbone, train.image_size, dict(cell.overrides), train.text_length, people

    def counted() -> int:
        from methods.cost import build_on_meta

        return sum(weight.numel() for weight in build_on_meta(cell.base, *sizes).parameters())

    cost = Path(methods.__file__).with_name("cost.py")
    plugin = registry.method(cell.base).plugin
    return int(cached_count(counted, ["weights", cell.base, *sizes], plugin=plugin, code=[cost]))


def _kind(cell: Cell) -> str:
    """What the number of a cell's weights depends on."""
    train, overrides = cell.train, dict(cell.overrides)
    sizes = [cell.base, train.backbone, train.image_size, train.text_length, cell.dataset, overrides]
    return json.dumps(sizes, sort_keys=True, default=str)


def _copies(cell: Cell) -> int:
    """Copies of its weights that a finished cell keeps."""
    if not cell.trains:
        return 1
    return len(cell.kept_models) + (IN_CHECKPOINT if "checkpoint" in cell.keep else 0)
