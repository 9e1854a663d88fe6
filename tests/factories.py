"""Small trees in the official layouts, with drawn images, from which tests of reading start."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "grey": (128, 128, 128)}
GARMENTS = ("coat", "shirt", "jacket", "dress")
PERSONS = {"train": 6, "val": 3, "test": 3}

Edit = Callable[[list[dict[str, Any]]], Any]
"""Receives the records and may change them in place; what it returns, if anything, replaces them."""


def draw_person(path: Path, person: int, view: int, size: tuple[int, int] = (64, 24)) -> None:
    """Write an image [height, width] of a figure; its colour tells the person, its noise the view."""
    height, width = size
    noise = np.random.default_rng([person, view]).integers(0, 60, (height, width, 3))
    colour = list(COLOURS.values())[person % len(COLOURS)]
    pixels = noise + 40
    pixels[height // 5 : height * 4 // 5, width // 4 : width * 3 // 4] = np.clip(
        np.array(colour) + noise[0, 0] - 30, 0, 255
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)


def sentence(person: int, number: int) -> str:
    """A caption with nouns, adjectives, pronouns and the rest, that tells the person."""
    colour = list(COLOURS)[person % len(COLOURS)]
    garment = GARMENTS[person // len(COLOURS) % len(GARMENTS)]
    return f"She is wearing a {colour} {garment} and walks quickly, seen {number} times by person {person}."


def _write(
    folder: Path,
    annotation: str,
    path_key: str,
    persons: Mapping[str, int],
    images: int,
    captions: int,
    first_id: int,
    image_path: Callable[[str, int, int], str],
    edit: Edit | None,
) -> Path:
    records: list[dict[str, Any]] = []
    person = first_id
    for split, count in persons.items():
        for _ in range(count):
            for view in range(images):
                relative = image_path(split, person, view)
                draw_person(folder / "imgs" / relative, person, view)
                sentences = [sentence(person, view * captions + number) for number in range(captions)]
                records.append({"split": split, "captions": sentences, path_key: relative, "id": person})
            person += 1
    if edit is not None:
        records = edit(records) or records
    (folder / annotation).write_text(json.dumps(records), encoding="utf-8")
    return folder


def write_cuhk(
    root: Path,
    persons: Mapping[str, int] = PERSONS,
    images: int = 2,
    captions: int = 2,
    edit: Edit | None = None,
) -> Path:
    """Write `root/CUHK-PEDES`; returns that folder. Persons are counted per split, images per person."""
    cameras = ("cam_a", "CUHK03", "Market")
    return _write(
        root / "CUHK-PEDES",
        "reid_raw.json",
        "file_path",
        persons,
        images,
        captions,
        1,
        lambda split, person, view: f"{cameras[person % 3]}/{person:04d}_{view}.jpg",
        edit,
    )


def write_icfg(
    root: Path, persons: Mapping[str, int] | None = None, images: int = 2, edit: Edit | None = None
) -> Path:
    """Write `root/ICFG-PEDES`, which has no validation split and one caption per image."""
    return _write(
        root / "ICFG-PEDES",
        "ICFG-PEDES.json",
        "file_path",
        persons or {"train": 8, "test": 3},
        images,
        1,
        0,
        lambda split, person, view: (
            f"{'test' if person % 2 else 'train'}/{person:04d}/{person:04d}_{view}.jpg"
        ),
        edit,
    )


def write_rstp(
    root: Path,
    persons: Mapping[str, int] = PERSONS,
    images: int = 2,
    captions: int = 2,
    edit: Edit | None = None,
) -> Path:
    """Write `root/RSTPReid`, whose records say `img_path`."""
    return _write(
        root / "RSTPReid",
        "data_captions.json",
        "img_path",
        persons,
        images,
        captions,
        0,
        lambda split, person, view: f"{person:04d}_c{view}_0001.jpg",
        edit,
    )
