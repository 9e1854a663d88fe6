"""The verbs `data check` and `data cache`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from harness.data.checks import check_dataset
from harness.data.datasets import load_dataset
from harness.data.images import image_cache
from harness.machine import paths
from harness.machine.errors import StudyError
from harness.machine.progress import Progress


def check_data(name: str, data_root: Path | None) -> dict[str, Any]:
    """What `data check --json` prints. Raises `UnknownNameError`."""
    return check_dataset(name, data_root)


def render(found: dict[str, Any]) -> None:
    """Print the counts and what is odd about them; of data that could not be read there are none."""
    if found["damaged"] and not any(sum(counts.values()) for counts in found["splits"].values()):
        print(f"{found['dataset']}: cannot be read")
        return
    print(
        f"{found['dataset']}: {'the published counts' if found['official'] else 'not the published counts'}"
    )
    for split, counts in found["splits"].items():
        shown = (
            f"{counts[kind]:>8,} {kind.replace('_', ' ')}" for kind in ("person_ids", "images", "captions")
        )
        print(f"  {split:<6}{'  '.join(shown)}{_odd(counts)}")
    modes = ", ".join(f"{number:,} {mode}" for mode, number in found["modes"].items())
    if modes:
        print(f"  image modes: {modes}")
    for note in found["notes"]:
        print(f"  note: {note}")
    for problem in () if found["damaged"] else found["problems"]:
        print(f"  {problem}")


def _odd(counts: dict[str, int]) -> str:
    """What of a split's captions and images needs attention, in brackets."""
    words = {
        "captions_cut": "captions cut",
        "shared_captions": "captions of several persons",
        "shared_images": "images of several persons",
        "undecidable": "undecidable queries",
    }
    parts = [f"{counts[key]:,} {word}" for key, word in words.items() if counts.get(key)]
    return f"  ({', '.join(parts)})" if parts else ""


def image_size_of(text: str) -> tuple[int, int]:
    """Height and width in pixels, as typed: 384x128. Raises `StudyError` for anything else."""
    match = re.fullmatch(r"(\d{1,4})[x×](\d{1,4})", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise StudyError([f"--size takes height×width like 384x128, not {text!r}"])
    return int(match[1]), int(match[2])


def cache_data(
    name: str, data_root: Path | None, size: str, subset: int | None, skip_broken: bool, progress: Progress
) -> list[str]:
    """Build the decoded-image cache of every split; one line for each.

    Raises `StudyError` for a size that is none, `DataError` for damaged images.
    """
    shape = image_size_of(size)
    dataset = load_dataset(
        name,
        data_root,
        subset=subset,
        skip_broken=skip_broken,
        progress=partial(progress.working, f"reading the images of {name}"),
    )
    lines = []
    for split in dataset.splits:
        cache = image_cache(
            dataset.splits[split],
            shape,
            paths.cache_dir(),
            fingerprint=dataset.fingerprint,
            digests=dataset.digests[split],
            skip_broken=skip_broken,
            progress=partial(progress.working, f"decoding {name} {split}"),
        )
        broken = f", {len(cache.broken)} broken images left out" if cache.broken else ""
        lines.append(f"{name} {split}: {len(cache.split.image_paths):,} images in {cache.path}{broken}")
    return lines
