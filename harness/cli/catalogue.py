"""The verb `list`: what there is, one line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import methods
from harness import registry
from harness.launch.disk import GIGABYTE
from harness.machine.paths import RUNS
from harness.registry import UnknownNameError
from harness.store.disk_use import bytes_of
from harness.store.runs import RunStore
from harness.study.shipped import shipped_studies

FULL_SIZE = ("ViT-B-16-quickgelu", (384, 128))
MEMORY_BATCH = 128


MEMORY_CODE = ("speed/rehearsal.py", "machine/memory.py")
"""Files of this package that estimate memory."""
PACKAGE = Path(harness.__file__).parent
MEMORY_METHOD = "weights, Adam's averages, and what a forward pass on fake tensors keeps; eager"


def listing(kind: str, *, cost: bool = False) -> list[dict[str, Any]]:
    """Methods, datasets, studies or runs as plain records. Raises `UnknownNameError` for anything else."""
    if kind == "methods":
        return _methods(cost)
    if kind == "datasets":
        return [
            {"name": entry.name, "summary": entry.summary, "home": entry.home}
            for entry in registry.datasets().values()
        ]
    if kind == "studies":
        return _studies()
    if kind == "runs":
        return _runs()
    raise UnknownNameError("list", kind, ("methods", "datasets", "studies", "runs"))


def _methods(cost: bool) -> list[dict[str, Any]]:
    entries = [
        {
            "name": entry.name,
            "summary": entry.summary,
            "ablates": entry.ablates,
            "trains": entry.trains,
            "settings": sorted(entry.parameters()),
        }
        for entry in registry.methods().values()
    ]
    if cost:
        names = [entry.name for entry in registry.methods().values() if entry.plugin is None]
        costs = {name: _cost(name) for name in names}
        entries = [{**entry, **costs.get(str(entry["name"]), {})} for entry in entries]
    return entries


def _cost(name: str) -> dict[str, Any]:
    """Parameters, compute and memory of a method at full size; counted once per version of the code."""
    from harness.launch.count_cache import cached_count

    def counted() -> dict[str, Any]:
        """The row of the table, counted now."""
        from methods.cost import cost

        row = cost(name, *FULL_SIZE)
        del row["method"]
        return {**row, "training_memory_gb": _training_memory(name)}

    code = [Path(methods.__file__).with_name("cost.py"), *(PACKAGE / below for below in MEMORY_CODE)]
    row: dict[str, Any] = cached_count(counted, ["cost", name, *FULL_SIZE, MEMORY_BATCH], code=code)
    return row


def _training_memory(name: str) -> float | None:
    """Estimated peak of a step of `MEMORY_BATCH` pairs at full size in bf16, in GB; None without training."""
    from harness.speed.rehearsal import memory_gb
    from harness.study.schema import TrainSettings

    entry, (backbone, image_size) = registry.method(name), FULL_SIZE
    if not entry.trains:
        return None
    train = TrainSettings(
        backbone=backbone,
        pretrained="none",
        image_size=image_size,
        batch_size=MEMORY_BATCH,
        precision="bf16",
    )
    return memory_gb(entry, train)


def _studies() -> list[dict[str, Any]]:
    """The shipped studies, with the first sentence of the comment each opens with."""
    studies = []
    for name, path in shipped_studies().items():
        first = path.read_text(errors="replace").split("\n", 1)[0]
        studies.append({"name": name, "summary": first.removeprefix("#").strip(), "file": str(path)})
    return studies


def _runs() -> list[dict[str, Any]]:
    """The runs below `runs`, each with its cells by state and its size on the disk."""
    entries = []
    for directory in sorted(path.parent for path in RUNS.glob("*/study.yaml")):
        states = Counter(run.status.state for run in RunStore(directory).cells())
        size = bytes_of(directory)
        cells = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no cell"
        summary = f"{cells}, {size / GIGABYTE:.3f} GB"
        entry = {"name": str(directory), "summary": summary, "cells": dict(states), "bytes": size}
        entries.append(entry)
    return entries


def render(entries: Sequence[dict[str, Any]]) -> None:
    """Print one line per entry."""
    width = max((len(entry["name"]) for entry in entries), default=0)
    for entry in entries:
        line = f"{entry['name']:<{width}}  {entry['summary']}"
        if "training_gflop" in entry:
            line += (
                f"  [{entry['parameters_m']:.2f} M parameters, {entry['training_gflop']:.1f} GFLOP a pair "
                f"forward in training, {entry['inference_gflop']:.1f} in inference"
            )
            memory = entry["training_memory_gb"]
            line += f", about {memory:.0f} GB in training]" if memory is not None else "]"
        print(line)
    if any("training_memory_gb" in entry for entry in entries):
        print(
            f"memory: estimated for {MEMORY_BATCH} pairs, bf16, without a dataset's images: {MEMORY_METHOD}"
        )
