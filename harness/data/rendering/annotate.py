"""The record of one rendered image, in the shape of CUHK-PEDES with the ground truth beside it."""

from __future__ import annotations

from typing import Any

from harness.data.rendering.attributes import Person, View, to_record, view_from_record
from harness.data.rendering.captioning import captions
from harness.data.rendering.population import Sizes
from harness.machine.seeds import seed_for

ALWAYS_NAMED = {  # what captions of a planted population never leave out
    "": frozenset[str](),
    "fine:shoes-colour": frozenset({"feet"}),
    "fine:bag-pattern": frozenset({"bag"}),
    "coarse:colour": frozenset({"upper", "lower"}),
}


def image_name(number: int, view_number: int) -> str:
    """The file name of a person's view."""
    return f"{number:05d}_{view_number}.webp"


def image_record(
    domain: str, seed: int, sizes: Sizes, person: Person, view_number: int, view: View, plant: str = ""
) -> dict[str, Any]:
    """`{split, id, file_path, captions, view}` of one image; `id` counts from 1, as CUHK-PEDES does.

    The captions depend on the view as it is stored here (`visible` rounded), so that they can be made again
    from the record alone.
    """
    kept = to_record(view) | {
        "facing": round(view.facing, 3),
        "visible": {part: round(share, 5) for part, share in sorted(view.visible.items()) if share > 0},
    }
    return {
        "split": sizes.split_of(person.number),
        "id": person.number + 1,
        "file_path": image_name(person.number, view_number),
        "captions": image_captions(domain, seed, sizes, person, view_number, view_from_record(kept), plant),
        "view": kept,
    }


def image_captions(
    domain: str, seed: int, sizes: Sizes, person: Person, view_number: int, view: View, plant: str = ""
) -> list[str]:
    """The captions of one image of the population (domain, seed, sizes, plant)."""
    view_seed = seed_for("captions", domain, seed, person.number, view_number)
    unseen = sizes.split_of(person.number) != "train"
    return captions(person, view, domain, view_seed, unseen=unseen, always_named=ALWAYS_NAMED[plant])
