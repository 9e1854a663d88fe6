"""What the loader had to say of the data, to stand beside every number that was computed from them."""

from __future__ import annotations

from collections.abc import Iterable

from harness.store.data_notes import data_sentences
from reports.cell_views import CellView


def data_notes(cells: Iterable[CellView], targets: Iterable[str]) -> tuple[str, ...]:
    """A sentence for everything that was recorded of these targets' data, each once."""
    held = list(cells)
    return tuple(
        dict.fromkeys(
            text if text.startswith(f"{target}: ") else f"{target}: {text}"
            for target in targets
            for cell in held
            for text in data_sentences(target, cell.data(target))
        )
    )
