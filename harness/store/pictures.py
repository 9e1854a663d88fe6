"""Pictures that a run leaves for its report: thumbnails of retrieved images, restorations, pruned captions.

DIR/pictures/<target>.images.parquet    image (gallery index), person_id, name, webp (bytes)
DIR/pictures/<target>.queries.parquet   query (caption index), caption, person_id, image (its own), chosen
(bool) DIR/pictures/<dataset>.pruned.json      {"tagger": "name version", "examples": [{"caption", "pruned"},
…]} DIR/cells/<cell>/restorations.parquet   caption, wrong_caption, error_right, error_wrong, and as WebP
bytes
                                        original, masked, right, wrong

A report shows chosen queries, drawn once for all methods, and the worst ones of a run. Only images among the
first ten of these are kept, so a gallery of 20,000 costs no more than one of 200.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Split
from harness.data.thumbnails import thumbnail_webp, webp
from harness.machine.errors import StoreError
from harness.machine.files import atomic_file, atomic_json
from harness.machine.seeds import seed_for
from harness.store.runs import RunStore

RESTORATIONS = "restorations.parquet"
CHOSEN = 6
WORST = 6
HEIGHT = 128
"""Pixels of a thumbnail."""


def write_gallery(store: RunStore, target: str, split: Split) -> None:
    """Keep the captions and images that sheets of this target show, for the finished cells of the store.

    ``split`` is the target's test split. Images that cannot be read are left out; a report shows a blank for
    them.
    """
    chosen = chosen_queries(len(split.captions), target)
    queries, images = set(chosen), set()
    for run in store.cells():
        if run.status.state != "done":
            continue
        try:
            frame = run.records(target, "val", "t2i")
        except StoreError:
            continue
        shown = chosen + worst_queries(frame["rank"].to_numpy(dtype=float, na_value=np.nan))
        queries |= set(shown)
        tops = frame.set_index("query")["top"]
        images |= {int(image) for query in shown if query in tops.index for image in tops[query]}
    images |= {int(split.caption_image[query]) for query in queries}
    _write_queries(store.directory, target, split, sorted(queries), set(chosen))
    _write_images(store.directory, target, split, sorted(images))


def chosen_queries(captions: int, target: str) -> list[int]:
    """The queries shown for every method of a target: drawn once, from the target's name alone."""
    rng = np.random.default_rng(seed_for("pictures", target))
    return sorted(int(query) for query in rng.choice(captions, min(CHOSEN, captions), replace=False))


def worst_queries(rank: NDArray[np.float64]) -> list[int]:
    """Rows whose first hit is deepest; ``rank [queries]`` is NaN where there is no positive."""
    order = np.argsort(np.where(np.isnan(rank), -np.inf, -rank), kind="stable")
    order = order[~np.isnan(rank[order])]
    return [int(query) for query in order[:WORST]]


def _write_queries(folder: Path, target: str, split: Split, queries: Sequence[int], chosen: set[int]) -> None:
    owner = split.caption_person
    _write_table(
        folder / "pictures" / f"{target}.queries.parquet",
        {
            "query": list(queries),
            "caption": [split.captions[query] for query in queries],
            "person_id": [split.persons[int(owner[query])] for query in queries],
            "image": [int(split.caption_image[query]) for query in queries],
            "chosen": [query in chosen for query in queries],
        },
    )


def _write_images(folder: Path, target: str, split: Split, images: Sequence[int]) -> None:
    kept = {
        image: content
        for image in images
        if (content := thumbnail_webp(split.image_paths[image], HEIGHT)) is not None
    }
    _write_table(
        folder / "pictures" / f"{target}.images.parquet",
        {
            "image": list(kept),
            "person_id": [split.persons[int(split.image_person[image])] for image in kept],
            "name": [split.image_paths[image].name for image in kept],
            "webp": list(kept.values()),
        },
    )


@dataclass(frozen=True)
class RestorationPicture:
    """What TIR made of one image; pictures are uint8 ``[height, width, 3]``, errors are mean squared."""

    caption: str
    wrong_caption: str
    original: NDArray[np.uint8]
    masked: NDArray[np.uint8]
    """In grey, hidden patches blank: what the model was shown."""
    right: NDArray[np.uint8]
    """Restored with the image's own caption."""
    wrong: NDArray[np.uint8]
    """Restored with the caption of somebody else."""
    error_right: float
    error_wrong: float


def write_restorations(cell: Path, restorations: Iterable[RestorationPicture]) -> None:
    """Keep restorations in a cell's directory."""
    rows = list(restorations)
    columns: dict[str, list[object]] = {
        name: [getattr(row, name) for row in rows]
        for name in ("caption", "wrong_caption", "error_right", "error_wrong")
    }
    for name in ("original", "masked", "right", "wrong"):
        columns[name] = [webp(getattr(row, name)) for row in rows]
    _write_table(cell / RESTORATIONS, columns)


def has_restorations(cell: Path) -> bool:
    """Whether a cell's directory has them, as they were written."""
    import pyarrow.parquet as parquet

    try:
        parquet.read_table(cell / RESTORATIONS, page_checksum_verification=True)
    except (OSError, ValueError):  # pyarrow's errors are ValueErrors
        return False
    return True


def write_pruned(folder: Path, dataset: str, tagger: str, pairs: Mapping[str, str]) -> None:
    """Keep captions with what pruning leaves of them; ``tagger`` is its name and version."""
    examples = [{"caption": caption, "pruned": pruned} for caption, pruned in pairs.items()]
    atomic_json(folder / "pictures" / f"{dataset}.pruned.json", {"tagger": tagger, "examples": examples})


def _write_table(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    with atomic_file(path) as file:
        parquet.write_table(pyarrow.table(dict(columns)), file, write_page_checksum=True)
