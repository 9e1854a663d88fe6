"""The check of a dataset, as `data check` prints it: counts, problems, damaged images. Torch-free."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from harness.data.dataset import SPLIT_NAMES, Dataset, Split
from harness.data.datasets import load_dataset
from harness.data.decoding import ImageFacts, ProgressCallback, examine_images
from harness.data.duplicates import (
    duplicates,
    in_two_splits,
    notes_by_pixels,
    shared_images_named,
)
from harness.data.image_hashes import UNREADABLE
from harness.machine.errors import DataError

CONTEXT = 77
"""Tokens that CLIP's text encoder reads."""
_EMPTY = {"person_ids": 0, "images": 0, "captions": 0}


def check_dataset(
    name: str,
    data_root: Path | None,
    *,
    decode: bool = True,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """What `data check --json` prints: counts per split, whether they are official, and all problems.

    `damaged` is true when the dataset, as it is, would be refused: an annotation that cannot be used,
    missing or truncated images, a path that leaves the data root.

    Args:
        name: a registered dataset.
        data_root: the folder below which the benchmark datasets lie.
        decode: read and decode every image, which finds truncated ones and takes a minute for a full
            benchmark; without it there is no fingerprint.
        progress: called with (images decoded, images in all).

    Returns:
        `{"dataset", "splits", "official", "problems", "notes", "damaged", "fingerprint", "modes"}`. A split,
        as it would be used, has `person_ids`, `images`, `captions`; where it is present also `captions_cut`
        (longer than the model's context, with `decode` only), `shared_captions`, `shared_images` and
        `undecidable`. `modes` counts the pixel formats of the images.
    """
    loaded, problems = _loaded(name, data_root, decode)
    damaged = bool(problems)
    facts: list[ImageFacts] = []
    if loaded is not None:
        facts = _examined(loaded, progress) if decode else []
        if decode:
            loaded = _by_pixels(loaded, facts)
        broken = [f"{loaded.name}: {fact.path}: {fact.broken}" for fact in facts if fact.broken]
        equal = [*shared_images_named(loaded, loaded.digests), *in_two_splits(loaded, loaded.digests)]
        lines = (*broken, *loaded.problems, *equal, *_rotated(loaded, facts))
        problems.extend(line for line in lines if line not in problems)
        damaged = damaged or bool(broken)
    modes = dict(Counter(fact.mode for fact in facts if fact.mode).most_common())
    return {"dataset": name, **_summary(loaded, decode, damaged), "problems": problems, "modes": modes}


def _summary(loaded: Dataset | None, decode: bool, damaged: bool) -> dict[str, Any]:
    return {
        "splits": {split: _numbers(split, loaded, decode) for split in SPLIT_NAMES},
        "official": bool(loaded and loaded.official and not damaged),
        "notes": list(loaded.notes) if loaded else [],
        "damaged": damaged,
        "fingerprint": loaded.fingerprint if loaded else "",
    }


def _numbers(name: str, loaded: Dataset | None, tokenize: bool) -> dict[str, int]:
    if loaded is None or name not in loaded.splits:
        return dict(_EMPTY)
    split = loaded.splits[name]
    shared = duplicates(split, loaded.digests.get(name, ()))
    return {
        **split.counts(),
        **({"captions_cut": _cut(split, loaded.text_length or CONTEXT)} if tokenize else {}),
        "shared_captions": shared.captions,
        "shared_images": shared.images,
        "undecidable": shared.undecidable,
    }


def _cut(split: Split, context: int) -> int:
    """Captions longer than `context` tokens; the tokenizer is imported only here, because it needs torch."""
    from harness.data.captions import captions_cut
    from methods.tokenizer import CLIP_VOCABULARY, Tokenizer

    return captions_cut(split.captions, Tokenizer(CLIP_VOCABULARY, context))


def _loaded(name: str, data_root: Path | None, read_images: bool) -> tuple[Dataset | None, list[str]]:
    """The dataset and why it would be refused; then without its missing images, where that can be loaded."""
    try:
        return load_dataset(name, data_root, read_images=read_images), []
    except DataError as error:
        problems = list(error.lines)
    try:
        return load_dataset(name, data_root, skip_broken=True, read_images=read_images), problems
    except DataError:
        return None, problems


def _examined(loaded: Dataset, progress: ProgressCallback | None) -> list[ImageFacts]:
    return examine_images([path for split in loaded.splits.values() for path in split.image_paths], progress)


def _by_pixels(loaded: Dataset, facts: list[ImageFacts]) -> Dataset:
    """The dataset with images compared by their pixels, so that one that was saved again counts as equal."""
    pixels = iter(fact.pixels or UNREADABLE for fact in facts)
    digests = {name: tuple(islice(pixels, len(split.image_paths))) for name, split in loaded.splits.items()}
    by_files = list(in_two_splits(loaded, loaded.digests))
    test = loaded.splits.get("test")
    notes = notes_by_pixels(loaded, test, digests["test"]) if test is not None else loaded.notes
    return replace(loaded, digests=digests, notes=tuple(note for note in notes if note not in by_files))


def _rotated(loaded: Dataset, facts: list[ImageFacts]) -> list[str]:
    rotated = [fact.path for fact in facts if fact.rotated]
    if not rotated:
        return []
    explanation = "have an EXIF orientation, which is not applied, as in other training code"
    return [f"{loaded.name}: {len(rotated):,} images {explanation}: {rotated[0]}"]
