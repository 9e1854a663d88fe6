"""What `check` says of the memory that a training step takes on a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness import registry
from harness.cli.catalogue import MEMORY_METHOD
from harness.registry import described
from harness.study.cell import Cell

SMALL_MODEL = 20e6
"""Weights below which a step fits on any GPU, and its memory is not estimated."""


def estimated_memory(cells: Sequence[Cell], notes: list[str]) -> dict[str, float]:
    """GB of a step of each method that trains and is not small; `notes` gets why a method's is not known."""
    from harness.launch.disk import weights_of

    gigabytes = {}
    for method, cell in {cell.method: cell for cell in cells if cell.trains}.items():
        try:
            if weights_of(cell, 1) < SMALL_MODEL:
                continue
            from harness.speed.rehearsal import memory_gb

            gigabytes[method] = memory_gb(registry.method(cell.base), cell.train, cell.overrides)
        except Exception as error:  # a plugin's method may do anything
            notes.append(f"{method}: the memory of its step is not known: {described(error)}")
    return gigabytes


def memory_lines(by_method: Mapping[str, float]) -> Iterator[str]:
    """The methods by the memory that they take, as one line."""
    if by_method:
        listed = ", ".join(f"{method} {gigabytes:.2g}" for method, gigabytes in by_method.items())
        yield f"memory of a step on a GPU, GB, without the dataset's images: {listed}"
        yield f"memory is estimated: {MEMORY_METHOD}"
