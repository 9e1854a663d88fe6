"""Numbers others published, to stand beside ours. They are quoted, never used in a test or a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from harness.store.data_notes import EMBEDDED
from reports.document import TableCell
from reports.formatting import number

KEY = "published"


DUAL = "dual"
"""Inference in which each side is encoded alone, as here; only such numbers stand beside ours."""
PUBLISHED_START = "openai"
"""The weights that every published number here began from."""


@dataclass(frozen=True)
class Conditions:
    """Under which conditions a number of ours was measured; a published one stands only beside its like."""

    source: str
    target: str
    backbone: str
    image_size: tuple[int, ...] = ()
    start: str = ""
    """The weights that training began from; empty when not recorded."""
    official: bool | None = None
    """Whether the data are the official ones; None when not recorded."""
    subset: int | None = None


@dataclass(frozen=True)
class Published:
    """The file `published.yaml`: entries in domain and for transfer, and what nobody has read yet."""

    in_domain: tuple[Mapping[str, Any], ...]
    transfer: tuple[Mapping[str, Any], ...]
    replications: tuple[Mapping[str, Any], ...]
    """What other groups got for the same method."""
    unread: tuple[str, ...]
    image_size: tuple[int, ...]
    """Height and width of the images, in pixels, of every entry that says no other."""
    inference: str
    """Of every entry that says no other: `dual`, `rerank` or `interactive`."""
    pretraining: str
    """What every entry that says no other started from."""
    transfer_backbone: str

    def value(self, method: str, conditions: Conditions, metric: str) -> TableCell:
        """The published number of a method under the same conditions, or why none stands here.

        Every source entries is in the note.
        """
        entries = [
            entry
            for entry in self.in_domain
            if (entry["method"], entry["dataset"]) == (method, conditions.target)
            and entry.get("backbone") == backbone_family(conditions.backbone)
            and entry.get("inference", self.inference) == DUAL
            and metric in entry
        ]
        sizes = {tuple(entry.get("image_size", self.image_size)) for entry in entries}
        why_not = self.why_not(conditions, sizes.pop() if sizes else None)
        if why_not:
            return _not_quoted(why_not)
        return _quoted(entries, metric) if entries else _not_quoted("none for this method and backbone")

    def replicated(self, method: str, conditions: Conditions, metric: str) -> list[Mapping[str, Any]]:
        """What others got for a method under the same conditions, by entry; empty where nothing may stand."""
        if self.why_not(conditions):
            return []
        trained_and_tested = (method, conditions.source, conditions.target)
        return [
            entry
            for entry in self.replications
            if (entry["method"], entry["source_dataset"], entry["target_dataset"]) == trained_and_tested
            and entry.get("backbone") == backbone_family(conditions.backbone)
            and metric in entry
        ]

    def transferred(self, method: str, conditions: Conditions, metric: str) -> TableCell:
        """The published transfer number of a method, or why none stands here."""
        why_not = self.why_not(conditions)
        if not why_not and backbone_family(conditions.backbone) != self.transfer_backbone:
            why_not = f"published with {self.transfer_backbone}"
        if why_not:
            return _not_quoted(why_not)
        trained_and_tested = (method, conditions.source, conditions.target)
        entries = [
            entry
            for entry in self.transfer
            if (entry["method"], entry["source_dataset"], entry["target_dataset"]) == trained_and_tested
            and metric in entry
        ]
        return _quoted(entries, metric) if entries else _not_quoted("none published")

    def why_not(self, conditions: Conditions, image_size: tuple[int, ...] | None = None) -> str:
        """Why no published number may stand beside one of ours; empty when one may.

        `image_size` of the published entry, where it is not the usual one.
        """
        if conditions.target.startswith(EMBEDDED) or conditions.source.startswith(EMBEDDED):
            return "embedded data: nobody has published numbers on it"
        if conditions.subset:
            return f"a subset of {conditions.subset} people; published numbers are of the whole"
        if conditions.official is None:
            return "whether these are the official data was not recorded"
        if not conditions.official:
            return "not the official data"
        if conditions.start and conditions.start != PUBLISHED_START:
            return f"started from {conditions.start}; published numbers from {PUBLISHED_START}"
        published_size = image_size or self.image_size
        if conditions.image_size and conditions.image_size != published_size:
            ours, theirs = (_size(size) for size in (conditions.image_size, published_size))
            return f"images of {ours}; published numbers used {theirs}"
        return ""


def _size(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))


def _not_quoted(why: str) -> TableCell:
    """An empty cell that says in words why nothing is quoted."""
    return TableCell(f"none: {why}", None, note=why, kind="missing")


def _quoted(entries: list[Mapping[str, Any]], metric: str) -> TableCell:
    remarks = [
        f"{number(entry[metric], 2)}: {source_of(entry)}; {epoch_choice_of(entry)}" for entry in entries
    ]
    shown = " / ".join(number(entry[metric], 2) for entry in entries)
    return TableCell(shown, float(entries[0][metric]), f"table-{KEY}", "; ".join(remarks), kind="quiet")


def source_of(entry: Mapping[str, Any]) -> str:
    """Where an entry was read."""
    second_hand = " (second hand)" if entry.get("second_hand", "source_dataset" in entry) else ""
    return f"{entry.get('source', 'arXiv 2601.18625, Table 2')}{second_hand}"


def epoch_choice_of(entry: Mapping[str, Any]) -> str:
    """How an entry's epoch was chosen."""
    return str(entry.get("protocol") or "epoch chosen on the test split")


def backbone_family(backbone: str) -> str:
    """`ViT-B-16-quickgelu` as papers write it: `ViT-B/16`."""
    parts = backbone.removesuffix("-quickgelu").split("-")
    return f"{'-'.join(parts[:-1])}/{parts[-1]}" if len(parts) == 3 else backbone


@cache
def published() -> Published:
    """The numbers shipped with this package."""
    text = resources.files("reports").joinpath("published.yaml").read_text("utf-8")
    values = yaml.safe_load(text)
    return Published(
        tuple(values["in_domain"]),
        tuple(values["transfer"]),
        tuple(values["replications"]),
        tuple(values["unread"]),
        tuple(values["image_size"]),
        values["inference"],
        values["pretraining"],
        values["transfer_backbone"],
    )
