"""What the loader had to say of the data, to stand beside every number that was computed from them."""

from __future__ import annotations

from collections.abc import Iterable

from reports.cell_views import CellView
from reports.formatting import plural

EMBEDDED = "rendered-"
"""Datasets of this project; they have no official counts that others published numbers on."""


def data_notes(cells: Iterable[CellView], targets: Iterable[str]) -> tuple[str, ...]:
    """A sentence for everything that was recorded of these targets' data, each once."""
    held = list(cells)
    return tuple(
        dict.fromkeys(
            text if text.startswith(f"{target}: ") else f"{target}: {text}"
            for target in targets
            for cell in held
            for text in _said(cell, target)
        )
    )


def _said(cell: CellView, target: str) -> list[str]:
    data = cell.data(target)
    said = [str(text) for key in ("notes", "problems") for text in data.get(key) or ()]
    subset = data.get("subset")
    if subset and not any(str(subset) in text for text in said):
        said.insert(0, f"a subset, {subset} people per split.")
    if data.get("official") is False and not subset and not target.startswith(EMBEDDED):
        said.insert(0, "the counts are not the official ones.")
    cut = data.get("captions_cut")
    if isinstance(cut, int) and cut:
        said.append(f"{plural(cut, 'caption')} longer than the text encoder reads, cut at its length.")
    return said
