"""Pictures that a run leaves for its report: thumbnails of retrieved images, restorations, pruned captions.

DIR/pictures/<target>.<data>.images.parquet     image (gallery index), person_id, name, webp (bytes)
DIR/pictures/<target>.<data>.queries.parquet    query (caption index), caption, person_id, image (its own),
                                                chosen (bool)
DIR/pictures/<dataset>.<data>.pruned.json       {"data", "tagger": "name version", "examples": [{"caption",
                                                "pruned"}, …]}
DIR/cells/<cell>/restorations.parquet           caption, wrong_caption, error_right, error_wrong, error_none,
                                                and as WebP bytes original, masked, right, wrong, none; the
                                                bytes are empty for rows that are measured and not shown

`<data>` is the beginning of the fingerprint of the data that the pictures were drawn from; the whole stands
inside each file, and nothing is read for other data: index 7 of one test split is somebody else in another.

A report shows chosen queries, drawn once for all methods, the worst ones of a run, and those that only one
of two methods finds. Only images among the first ten of these are kept, so a gallery of 20,000 costs no more
than one of 200.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Split
from harness.data.thumbnails import thumbnail_webp, webp
from harness.machine.errors import StoreError
from harness.machine.files import atomic_file, atomic_json
from harness.machine.seeds import seed_for
from harness.store import parquet_columns
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore

FOLDER = "pictures"
RESTORATIONS = "restorations.parquet"
CHOSEN = 6
WORST = 6
DIFFERING = 3
"""Queries that only one of two methods finds, kept for each of them."""
HEIGHT = 128
"""Pixels of a thumbnail."""
_DATA = b"data"
"""The fingerprint's name in a table's metadata."""


@dataclass(frozen=True)
class Gallery:
    """The kept captions and images of a test split."""

    queries: Mapping[int, Mapping[str, Any]]
    """By caption index: caption, person_id, image, chosen."""
    images: Mapping[int, Mapping[str, Any]]
    """By gallery index: person_id, name, webp."""


# -- what was retrieved ---------------------------------------------------------------------------


def write_gallery(store: RunStore, target: str, data: str, split: Split) -> None:
    """Keep the captions and images that sheets of a target show, for the finished cells of the store.

    Images that cannot be read are left out; a report shows a blank for them.

    Args:
        store: Its cells that were evaluated on other data are passed over.
        target: The dataset's name.
        data: The target's fingerprint.
        split: The target's test split.
    """
    chosen = chosen_queries(len(split.captions), target)
    queries, images = set(chosen), set()
    runs = list(_evaluated_on(store, target, data))
    differing = _differing(runs, store.reference, target)
    for run in runs:
        try:
            ranks = run.record_columns(target, "val", "t2i", ("rank",))["rank"]
            shown = {*chosen, *worst_queries(ranks.astype(float)), *differing.get(run.name, ())}
            rows = run.records_of(target, "val", "t2i", shown)
        except StoreError:
            continue
        queries |= shown
        images |= {int(image) for row in rows for image in row["top"]}
    images |= {int(split.caption_image[query]) for query in queries}
    _write_queries(_path(store.directory, target, data, "queries.parquet"), data, split, queries, chosen)
    _write_images(_path(store.directory, target, data, "images.parquet"), data, split, images)


def _evaluated_on(store: RunStore, target: str, data: str) -> Iterator[CellRun]:
    """The finished cells with scores on this data of a target."""
    for run in store.cells():
        if run.status.state == "done" and any(
            (row.get("target"), row.get("fingerprint")) == (target, data) for row in run.results
        ):
            yield run


def _differing(runs: Sequence[CellRun], reference: str, target: str) -> dict[str, set[int]]:
    """By cell, the queries that only the reference or only another method finds, of their first seeds."""
    ranks: dict[str, tuple[str, dict[int, float]]] = {}
    for run in sorted(runs, key=lambda run: run.cell.seed):
        if run.cell.dataset == target and run.cell.method not in ranks:
            with contextlib.suppress(StoreError):
                ranks[run.cell.method] = run.name, _rank_by_query(run, target)
    name, ours = ranks.pop(reference, ("", {}))
    shown: dict[str, set[int]] = {name: set()}
    for other, theirs in ranks.values():
        shown[other] = {*found_only_by(ours, theirs), *found_only_by(theirs, ours)}
        shown[name] |= shown[other]
    return shown


def _rank_by_query(run: CellRun, target: str) -> dict[int, float]:
    columns = run.record_columns(target, "val", "t2i", ("query", "rank"))
    return {int(query): float(rank) for query, rank in zip(columns["query"], columns["rank"], strict=True)}


def found_only_by(one: Mapping[int, float], other: Mapping[int, float]) -> list[int]:
    """The queries that `one` finds at rank 1 and `other` ranks deepest; both are ranks by query."""
    missed = [query for query, rank in one.items() if rank == 1 and other.get(query, 0) > 1]
    return sorted(missed, key=lambda query: (-other[query], query))[:DIFFERING]


def _path(directory: Path, dataset: str, data: str, kind: str) -> Path:
    return directory / FOLDER / f"{dataset}.{data[:12]}.{kind}"


def read_gallery(directory: Path, target: str, data: str) -> Gallery:
    """What `write_gallery` kept for this data of a target; empty when missing, damaged or of other data."""
    queries, images = (
        _read_table(_path(directory, target, data, kind), data)
        for kind in ("queries.parquet", "images.parquet")
    )
    return Gallery({row["query"]: row for row in queries}, {row["image"]: row for row in images})


def chosen_queries(captions: int, target: str) -> list[int]:
    """The queries shown for every method of a target: drawn once, from the target's name alone."""
    rng = np.random.default_rng(seed_for("pictures", target))
    return sorted(int(query) for query in rng.choice(captions, min(CHOSEN, captions), replace=False))


def worst_queries(rank: NDArray[np.float64]) -> list[int]:
    """Rows whose first hit is deepest; `rank` `[queries]` is NaN where there is no positive."""
    order = np.argsort(np.where(np.isnan(rank), -np.inf, -rank), kind="stable")
    order = order[~np.isnan(rank[order])]
    return [int(query) for query in order[:WORST]]


def _write_queries(
    path: Path, data: str, split: Split, queries: Iterable[int], chosen: Collection[int]
) -> None:
    owner, ordered = split.caption_person, sorted(queries)
    columns: dict[str, Sequence[object]] = {
        "query": ordered,
        "caption": [split.captions[query] for query in ordered],
        "person_id": [split.persons[int(owner[query])] for query in ordered],
        "image": [int(split.caption_image[query]) for query in ordered],
        "chosen": [query in chosen for query in ordered],
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if _read_table(path, data) != rows:  # writing imports pandas
        _write_table(path, columns, data)


def _write_images(path: Path, data: str, split: Split, images: Collection[int]) -> None:
    there = {(row["image"], row["person_id"], row["name"]) for row in _read_table(path, data)}
    if there == {
        (image, split.persons[int(split.image_person[image])], split.image_paths[image].name)
        for image in images
    }:
        return  # of the same data, so of the same pictures
    drawn = {image: thumbnail_webp(split.image_paths[image], HEIGHT) for image in sorted(images)}
    kept = {image: content for image, content in drawn.items() if content is not None}
    columns: dict[str, Sequence[object]] = {
        "image": list(kept),
        "person_id": [split.persons[int(split.image_person[image])] for image in kept],
        "name": [split.image_paths[image].name for image in kept],
        "webp": list(kept.values()),
    }
    _write_table(path, columns, data)


# -- what TIR restored ----------------------------------------------------------------------------


@dataclass(frozen=True)
class RestorationPicture:
    """What TIR made of one image; pictures are uint8 `[height, width, 3]`, errors are mean squared."""

    caption: str
    wrong_caption: str
    original: NDArray[np.uint8]
    masked: NDArray[np.uint8]
    """In grey, hidden patches blank: what the model was shown."""
    right: NDArray[np.uint8]
    """Restored with the image's own caption."""
    wrong: NDArray[np.uint8]
    """Restored with the caption of somebody else."""
    none: NDArray[np.uint8]
    """Restored with an empty caption."""
    error_right: float
    error_wrong: float
    error_none: float


def write_restorations(cell: Path, restorations: Iterable[RestorationPicture]) -> None:
    """Keep restorations in a cell's directory: the errors of all, the pictures of the first ones."""
    rows = list(restorations)
    columns: dict[str, list[object]] = {
        name: [getattr(row, name) for row in rows]
        for name in ("caption", "wrong_caption", "error_right", "error_wrong", "error_none")
    }
    for name in ("original", "masked", "right", "wrong", "none"):
        shown = [webp(getattr(row, name)) for row in rows[:CHOSEN]]
        columns[name] = [*shown, *[b""] * (len(rows) - len(shown))]
    _write_table(cell / RESTORATIONS, columns)


def has_restorations(cell: Path) -> bool:
    """Whether a cell's directory has them, as they were written."""
    return _read(cell / RESTORATIONS) is not None


def read_restorations(cell: Path) -> list[dict[str, Any]]:
    """The rows of a cell's restorations; none when they are missing or damaged."""
    table = _read(cell / RESTORATIONS)
    return [] if table is None else table.to_pylist()


# -- what pruning left ----------------------------------------------------------------------------


def write_pruned(
    directory: Path, dataset: str, data: str, tagger: str, pairs: Mapping[str, str], code: str = ""
) -> None:
    """Keep captions of a dataset with what pruning leaves of them.

    Args:
        directory: Of the store.
        dataset: Its name.
        data: Its fingerprint.
        tagger: Name and version of what tagged the captions.
        pairs: The pruned caption by caption.
        code: Fingerprint of the code that pruned them.
    """
    examples = [{"caption": caption, "pruned": pruned} for caption, pruned in pairs.items()]
    values = {"data": data, "tagger": tagger, "code": code, "examples": examples}
    atomic_json(_path(directory, dataset, data, "pruned.json"), values)


def has_pruned(directory: Path, dataset: str, data: str, tagger: str, code: str) -> bool:
    """Whether pruned captions are kept that this tagger and this code left of these data."""
    try:
        values = json.loads(_path(directory, dataset, data, "pruned.json").read_text("utf-8"))
        asked = {"data": data, "tagger": tagger, "code": code}
        return asked.items() <= values.items() and read_pruned(directory, dataset, data) is not None
    except (OSError, ValueError, AttributeError):
        return False


def read_pruned(directory: Path, dataset: str, data: str) -> tuple[str, list[tuple[str, str]]] | None:
    """The tagger, and captions each with its pruned form; None when missing, damaged or of other data."""
    try:
        values = json.loads(_path(directory, dataset, data, "pruned.json").read_text("utf-8"))
        examples = [(str(each["caption"]), str(each["pruned"])) for each in values["examples"]]
        return (str(values["tagger"]), examples) if values["data"] == data else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


# -- files ----------------------------------------------------------------------------------------


def _write_table(path: Path, columns: Mapping[str, Sequence[object]], data: str = "") -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    table = pyarrow.table(dict(columns)).replace_schema_metadata({_DATA: data.encode()})
    with atomic_file(path) as file:
        parquet.write_table(table, file, write_page_checksum=True)


def _read(path: Path) -> Any | None:
    """A pyarrow table; None when it is missing or damaged."""
    try:
        return parquet_columns.read(path)
    except (OSError, ValueError):  # pyarrow's errors are ValueErrors
        return None


def _read_table(path: Path, data: str) -> list[dict[str, Any]]:
    """The rows of a table that was drawn from this data; none of any other."""
    table = _read(path)
    if table is None or (table.schema.metadata or {}).get(_DATA) != data.encode():
        return []
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
