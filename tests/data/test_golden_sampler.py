"""Statistics of the samplers against the released class's; `RIVALS_GOLDEN_DIR` names another folder."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.sampler import IdentityBatches

FOLDER = Path(os.environ.get("RIVALS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden" / "rivals")
POPULATIONS: dict[str, Any] = json.loads((FOLDER / "sampler" / "expected.json").read_text())["populations"]
CASES = [
    (name, rule, case)
    for name, population in POPULATIONS.items()
    for rule in ("released", "shuffle")
    for case in population[rule]
]
LABELS = [f"{name}-{rule}-{case['batch']}-{case.get('num_instance', 2)}" for name, rule, case in CASES]


def caption_persons(population: dict[str, Any]) -> np.ndarray:
    """The person of each caption."""
    listed = population.get("captions_of_each_person")
    if listed is None:
        listed = [int(size) for size, count in population["histogram"].items() for _ in range(count)]
    return np.repeat(np.arange(len(listed)), listed)


def shares(person: np.ndarray, batches: list[np.ndarray]) -> float:
    """Share of anchors with another item of the same person in their batch."""
    met = total = 0
    for batch in batches:
        counts = Counter(person[batch].tolist())
        met += sum(count for count in counts.values() if count > 1)
        total += len(batch)
    return met / total if total else math.nan


def distinct(person: np.ndarray, batches: list[np.ndarray], size: int) -> float:
    """Mean number of persons in a full batch."""
    full = [len(set(person[batch].tolist())) for batch in batches if len(batch) == size]
    return sum(full) / len(full) if full else math.nan


def statistics(person: np.ndarray, batches: list[np.ndarray], size: int) -> dict[str, float]:
    stream = np.concatenate(batches) if batches else np.empty(0, np.int64)
    counts, tenth = Counter(stream.tolist()), max(1, len(batches) // 10)
    found = {
        "yielded": len(stream),
        "distinct_yielded": len(counts),
        "captions_yielded_more_than_once": sum(count > 1 for count in counts.values()),
        "extra_yields": len(stream) - len(counts),
        "never_yielded": len(person) - len(counts),
        "persons_never_yielded": len(set(person.tolist()) - set(person[stream].tolist())),
        "batches": len(batches),
        "last_batch_size": len(batches[-1]) if batches else 0,
    }
    for part, some in (("", batches), ("_first_tenth", batches[:tenth]), ("_last_tenth", batches[-tenth:])):
        found[f"share_with_neighbour{part}"] = shares(person, some)
        found[f"distinct_persons{part or '_per_full_batch'}"] = distinct(person, some, size)
    return found


@pytest.mark.parametrize(("name", "rule", "case"), CASES, ids=LABELS)
def test_statistics_lie_within_the_bounds_of_the_released_sampler(name: str, rule: Any, case: Any) -> None:
    person = caption_persons(POPULATIONS[name])
    seeds = 400 if len(person) < 1000 else 4
    drawn = []
    for seed in range(seeds):
        group = case.get("num_instance", 2)
        batches = IdentityBatches(person, case["batch"], seed, rule, group).epoch(0)
        drawn.append(statistics(person, batches, case["batch"]))
    for key, expected in case["statistics"].items():
        values = np.array([one[key] for one in drawn], dtype=float)
        values = values[~np.isnan(values)]
        if expected is None:
            assert len(values) == 0, key
            continue
        bound = 4 * expected["sd"] * math.sqrt(1 / case["seeds"] + 1 / len(values))
        assert abs(values.mean() - expected["mean"]) <= bound + 1e-9, (key, values.mean(), expected)
