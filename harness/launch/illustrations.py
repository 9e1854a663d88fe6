"""After training: the pictures a report shows, made from the run's own models, data and captions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.launch.context import Context, InputSpec
from harness.launch.count_cache import cached_count
from harness.launch.fingerprints import code_fingerprint
from harness.machine.errors import DataError, StoreError
from harness.machine.seeds import seed_for
from harness.store.cell_run import CellRun
from harness.store.pictures import (
    RestorationPicture,
    chosen_queries,
    has_pruned,
    has_restorations,
    write_gallery,
    write_pruned,
    write_restorations,
)
from harness.store.runs import RunStore
from harness.study.cell import Cell

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.data.loader import DeviceData
    from methods.base import Batch
    from methods.uit import UIT

log = logging.getLogger(__name__)

PRUNED_CAPTIONS = 12
RESTORED = 64
"""Images whose restoration is measured; the chosen queries among them are shown."""
RESTORED_AT_ONCE = 16

Runs = Sequence[tuple[Cell, CellRun]]


def illustrate(runs: Runs, store: RunStore, context: Context) -> None:
    """Keep thumbnails of what was retrieved, restorations, and pruned captions, for the finished cells.

    What cannot be drawn is said and left out: pictures explain results, they are none.
    """
    done = [(cell, run) for cell, run in runs if run.status.state == "done"]
    try:
        _galleries(done, store, context)
        _pruned_captions(done, store, context)
        first = restored_cells([cell for cell, _ in done])
        for cell, run in done:
            if cell.key in first and not has_restorations(run.directory):
                write_restorations(run.directory, _restorations(cell, run, context))
    except (StoreError, DataError, OSError) as error:
        context.progress.say(f"pictures: {error}")


def _galleries(done: Runs, store: RunStore, context: Context) -> None:
    drawn = {
        (target, context.data_fingerprint(target, cell)): InputSpec.of(cell)
        for cell, _ in done
        for target in cell.targets
    }
    for (target, data), spec in drawn.items():
        write_gallery(store, target, data, context.images(target, spec, "test").split)


def _pruned_captions(done: Runs, store: RunStore, context: Context) -> None:
    code = code_fingerprint()["methods"]
    for dataset, subset, data in {
        (cell.dataset, cell.subset, context.data_fingerprint(cell.dataset, cell))
        for cell, _ in done
        if cell.trains and cell.method_settings.get("text_pruning")
    }:
        tagger = f"{context.tagger.name} {context.tagger.version}"
        if has_pruned(store.directory, dataset, data, tagger, code):
            continue
        captions = context.dataset(dataset, subset).splits["train"].captions
        rng = np.random.default_rng(seed_for("pruned captions", dataset))
        drawn = rng.choice(len(captions), min(PRUNED_CAPTIONS, len(captions)), replace=False)
        shown = [captions[index] for index in sorted(drawn)]
        pruned = cached_count(partial(_pruned, shown, context), ["pruned captions", shown, tagger])
        write_pruned(store.directory, dataset, data, tagger, dict(zip(shown, pruned, strict=True)), code)


def _pruned(captions: Sequence[str], context: Context) -> list[str]:
    """The captions without what pruning leaves out; a tagger takes more than a second to import."""
    from methods.text_pruning import prune

    return [prune(caption, context.tagger) for caption in captions]


def restored_cells(cells: Iterable[Cell]) -> frozenset[str]:
    """The keys of the cells whose restorations are shown: the first of each method with TIR on a dataset."""
    first: dict[tuple[str, str], str] = {}
    for cell in cells:
        if cell.method_settings.get("tir"):
            first.setdefault((cell.dataset, cell.method), cell.key)
    return frozenset(first.values())


def restore_beside_training(cell: Cell, run: CellRun, context: Context) -> None:
    """Keep the restorations of a cell that has just finished, where its model and data are at hand.

    Never an error of the cell: what cannot be drawn now is tried again by `illustrate`, and said there.
    """
    try:
        if run.status.state == "done" and not has_restorations(run.directory):
            write_restorations(run.directory, _restorations(cell, run, context))
    except Exception:
        log.info("%s: its restorations are drawn at the end of the run", run.name, exc_info=True)


def _restorations(cell: Cell, run: CellRun, context: Context) -> Iterable[RestorationPicture]:
    """Test images restored with their own caption, with somebody else's and with none.

    First those of the chosen queries, then others that are measured without being shown.
    """
    import torch

    method: Any = context.trained_method(cell, run, cell.select.split)
    if not hasattr(method, "restore"):
        return []
    device = context.fabric(cell).device
    data = context.split(cell.dataset, InputSpec.of(cell), "test", device)
    queries = _measured_queries(len(data.split.captions), cell.dataset)
    generator = torch.Generator().manual_seed(seed_for("restorations", cell.dataset))
    noise = torch.rand(len(queries), method.clip.patches, generator=generator).to(device)
    method.eval().to(device)
    rows: list[RestorationPicture] = []
    with torch.inference_mode():
        for part in range(0, len(queries), RESTORED_AT_ONCE):
            chunk = slice(part, part + RESTORED_AT_ONCE)
            rows += _restored_rows(method, data, queries[chunk], noise[chunk])
    return rows


def _restored_rows(
    method: Any, data: DeviceData, queries: NDArray[Any], noise: Tensor
) -> list[RestorationPicture]:
    """The images of some queries, each restored three times with the same patches hidden."""
    others = _somebody_else(queries, data.split.caption_person)
    batch, captions = data.batch(queries), data.split.captions
    empty = method.clip.tokenizer([""])
    right, wrong, none = (
        _Restored(method, batch, noise, words, data)
        for words in (
            batch.captions,
            data.batch(others).captions,
            empty.to(batch.captions).expand_as(batch.captions),
        )
    )
    return [
        RestorationPicture(
            caption=captions[query],
            wrong_caption=captions[other],
            original=right.original[row],
            masked=right.masked[row],
            right=right.restored[row],
            wrong=wrong.restored[row],
            none=none.restored[row],
            error_right=right.errors[row],
            error_wrong=wrong.errors[row],
            error_none=none.errors[row],
        )
        for row, (query, other) in enumerate(zip(queries, others, strict=True))
    ]


def _measured_queries(captions: int, dataset: str) -> NDArray[Any]:
    """The chosen queries first, then others drawn once from the dataset's name, `RESTORED` together."""
    chosen = chosen_queries(captions, dataset)
    rest = np.setdiff1d(np.arange(captions), chosen)
    rng = np.random.default_rng(seed_for("restored images", dataset))
    more = rng.choice(rest, min(max(0, RESTORED - len(chosen)), len(rest)), replace=False)
    return np.concatenate([np.array(chosen, dtype=np.int64), np.sort(more)])


def _somebody_else(queries: NDArray[Any], person: NDArray[Any]) -> NDArray[Any]:
    """For each query the first caption after it, going round, that describes another person."""
    others = []
    for query in queries:
        after = np.roll(np.arange(len(person)), -query)
        strangers = after[person[after] != person[query]]
        others.append(strangers[0] if len(strangers) else query)
    return np.array(others)


class _Restored:
    """One batch through TIR, as pictures: hidden patches as restored, visible ones in grey, as seen."""

    def __init__(self, method: UIT, batch: Batch, noise: Tensor, captions: Tensor, data: DeviceData) -> None:
        from methods.restoration import grey, to_patches

        self._method, self._mean, self._std = method, data.mean, data.std
        size = method.clip.config.patch_size
        words = method.clip.text_tokens(captions)
        predicted, plan = method.restore(batch.images, words, {"patches": noise})
        hidden = (plan.order >= plan.visible.shape[1]).unsqueeze(-1)
        seen = to_patches(grey(batch.images), size)
        self.original = self._pictures(to_patches(batch.images, size))
        self.masked = self._pictures(seen.masked_fill(hidden, 0.0))
        self.restored = self._pictures(predicted.float().where(hidden, seen))
        self.errors = [float(error) for error in method.restoration.loss(predicted, batch.images, plan)]

    def _pictures(self, patches: Tensor) -> NDArray[np.uint8]:
        """Normalised patches `[batch, patches, size·size·3]` as pictures `[batch, height, width, 3]`."""
        rows, columns = self._method.clip.grid
        size = self._method.clip.config.patch_size
        tiles = patches.float().reshape(-1, rows, columns, size, size, 3).permute(0, 1, 3, 2, 4, 5)
        pixels = tiles.reshape(-1, rows * size, columns * size, 3)
        pixels = pixels * pixels.new_tensor(self._std) + pixels.new_tensor(self._mean)
        return (pixels.clamp(0, 1) * 255).round().byte().cpu().numpy()
