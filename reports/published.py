"""Numbers others published, to stand beside ours. They are quoted, never used in a test or a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from reports.document import TableCell
from reports.formatting import NOTHING, number

KEY = "published"

EMBEDDED = "rendered-"
"""Datasets of this project, on which nobody published anything."""


@dataclass(frozen=True)
class Published:
    """The file ``published.yaml``: entries in domain and for transfer, and what nobody has read yet."""

    in_domain: tuple[Mapping[str, Any], ...]
    transfer: tuple[Mapping[str, Any], ...]
    unread: tuple[str, ...]

    def value(self, method: str, backbone: str, dataset: str, metric: str) -> TableCell:
        """The published number for a method at its backbone; every source found is in the note."""
        if dataset.startswith(EMBEDDED):
            return TableCell(
                "none", None, note="embedded data: nobody has published numbers on it", kind="quiet"
            )
        found = [
            entry
            for entry in self.in_domain
            if (entry["method"], entry["dataset"]) == (method, dataset)
            and entry.get("backbone") == backbone_family(backbone)
            and metric in entry
        ]
        if not found:
            return TableCell(
                NOTHING, None, note="no published number for this method and backbone", kind="missing"
            )
        return _quoted(found, metric)

    def transferred(self, method: str, source: str, target: str, metric: str) -> TableCell:
        """The published transfer number of a method."""
        found = [
            entry
            for entry in self.transfer
            if (entry["method"], entry["source_dataset"], entry["target_dataset"]) == (method, source, target)
            and metric in entry
        ]
        return (
            _quoted(found, metric)
            if found
            else TableCell(NOTHING, None, note="none published", kind="missing")
        )


def _quoted(found: list[Mapping[str, Any]], metric: str) -> TableCell:
    remarks = [f"{number(entry[metric], 2)}: {source_of(entry)}; {protocol_of(entry)}" for entry in found]
    shown = " / ".join(number(entry[metric], 2) for entry in found)
    return TableCell(shown, float(found[0][metric]), f"table-{KEY}", "; ".join(remarks), kind="quiet")


def source_of(entry: Mapping[str, Any]) -> str:
    """Where an entry was read."""
    second_hand = " (second hand)" if entry.get("second_hand", "source_dataset" in entry) else ""
    return f"{entry.get('source', 'arXiv 2601.18625, Table 2')}{second_hand}"


def protocol_of(entry: Mapping[str, Any]) -> str:
    """How an entry's epoch was chosen."""
    return str(entry.get("protocol") or "epoch chosen on the test split")


def backbone_family(backbone: str) -> str:
    """``ViT-B-16-quickgelu`` as papers write it: ``ViT-B/16``."""
    parts = backbone.removesuffix("-quickgelu").split("-")
    return f"{'-'.join(parts[:-1])}/{parts[-1]}" if len(parts) == 3 else backbone


@cache
def published() -> Published:
    """The numbers shipped with this package."""
    text = resources.files("reports").joinpath("published.yaml").read_text("utf-8")
    values = yaml.safe_load(text)
    return Published(tuple(values["in_domain"]), tuple(values["transfer"]), tuple(values["unread"]))
