"""What `check` finds out about the datasets of a study: whether they can be used, and what is to be known."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from harness.data.dataset import SPLIT_NAMES
from harness.launch.context import Context, InputSpec
from harness.launch.count_cache import cached_count
from harness.machine.errors import DataError
from harness.machine.words import plural, plural_are
from harness.study.cell import Cell, fingerprint
from harness.study.study import Study


def data_problems(study: Study, context: Context, notes: list[str]) -> Iterator[str]:
    """Why datasets of a study cannot be used as it asks; what loaders say of the others joins `notes`."""
    needed: dict[str, dict[str, None]] = {}
    for cell in study.cells():
        for target in cell.targets:
            needed.setdefault(target, {})["test"] = None
        if cell.trains:
            needed[cell.dataset]["train"] = None
    for name in study.targets:
        try:
            dataset = context.dataset(name, study.file.subset)
            dataset.require(*needed.get(name, ()))
        except DataError as error:
            yield from error.lines
        else:
            notes += [note for note in (*dataset.notes, *dataset.problems) if note not in notes]


def captions_cut(cells: list[Cell], context: Context) -> Iterator[str]:
    """How many captions of each split are longer than a text encoder of the study reads."""
    read = dict.fromkeys(
        (name, split, InputSpec.of(cell))
        for cell in cells
        for name in cell.targets
        for split in (SPLIT_NAMES if name == cell.dataset and cell.trains else ("test",))
    )
    lengths = {(name, split, spec.vocab_size, spec.context_length): spec for name, split, spec in read}
    for (name, split, _, length), spec in lengths.items():
        cut = _captions_cut(name, split, spec, context)
        if cut:
            captions = plural_are(cut, "caption")
            yield f"{name} {split}: {captions} longer than the {length} tokens read, and cut there"


def _captions_cut(name: str, split: str, spec: InputSpec, context: Context) -> int:
    """Of one split; from a cache, since counting imports torch, which a finished run does not need."""
    captions = list(context.dataset(name, spec.subset).splits[split].captions)
    read_as = [spec.vocab_size, spec.context_length, spec.caption_cleaning]
    count = partial(_count_cut, name, split, spec, context)
    return int(cached_count(count, ["captions cut", fingerprint(captions), *read_as]))


def _count_cut(name: str, split: str, spec: InputSpec, context: Context) -> int:
    return int(context.data_provenance(name, spec, split)["captions_cut"])


def size_problems(cells: list[Cell], context: Context) -> Iterator[str]:
    """Splits too small to be trained or tested on as the study says."""
    for name, subset in dict.fromkeys((cell.dataset, cell.subset) for cell in cells):
        splits = context.dataset(name, subset).splits
        for split in splits.values():
            if len(split.persons) < 2:
                counted = plural(len(split.persons), "identity", "identities")
                yield f"{name}: {split.name} has {counted}; at least 2 are needed"
    seen = set()
    for cell in cells:
        if not cell.trains or cell.train.sampler != "released" or cell.dataset in seen:
            continue
        persons = len(context.dataset(cell.dataset, cell.subset).splits["train"].persons)
        need = cell.train.batch_size // 2
        if persons < need:
            seen.add(cell.dataset)
            yield (
                f"{cell.dataset}: the released sampler draws {need} identities at once, and only {persons} "
                "are there, so an epoch would be empty; lower train.batch_size"
            )
