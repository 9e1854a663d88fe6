"""What the loader had to say of a dataset, in sentences, to stand beside every number from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.machine.words import plural

EMBEDDED = "rendered-"
"""Datasets of this project; they have no official counts that others published numbers on."""


def data_sentences(target: str, data: Mapping[str, Any]) -> list[str]:
    """A sentence for everything that was recorded of a target's data, as `Context.data_provenance` has it."""
    said = [str(text) for key in ("notes", "problems") for text in data.get(key) or ()]
    subset = data.get("subset")
    # The loader says it itself where it left people out; a number alone may stand in any sentence.
    if subset and not any(f"only {subset} identities per split" in text for text in said):
        said.insert(0, f"a subset, {subset} people per split.")
    if data.get("official") is False and not subset and not target.startswith(EMBEDDED):
        said.insert(0, "the counts are not the official ones.")
    said += _counted(data, "captions_cut", "longer than the text encoder reads, cut at its length", "caption")
    return said + _counted(data, "skipped", "missing or unreadable, left out", "image")


def _counted(data: Mapping[str, Any], key: str, what: str, unit: str) -> list[str]:
    number = data.get(key)
    if not isinstance(number, int) or not number:
        return []
    return [f"{plural(number, unit)} {what}."]
