"""What methods cost beside each other, measured.

Time of a step and of its parts, memory, parameters, compute, and inference. Methods take turns in one
process on one device, each doing exactly the step that training does; what is compared are ratios within
a block of turns. The results go to `overhead.json` of the run, as the report reads it.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.launch.cell import release_memory
from harness.launch.context import Context
from harness.launch.disk import BYTES, weights_of
from harness.machine.files import atomic_json
from harness.speed import timing
from harness.speed.candidates import Candidate, Encoders, device_name
from harness.store.run_files import OVERHEAD
from harness.store.runs import RunStore
from harness.study.arms import Tuned
from harness.study.cell import Cell, fingerprint
from harness.study.schema import Overhead
from harness.study.study import Study
from methods.cost import TRAINING_PERSONS, pass_gflop

LEG = 5
"""Steps in a row of one method before it is the next one's turn."""
IN_STEP = 4
"""Copies of its weights that a method holds in training: weights, gradients, the optimiser's two averages."""
TOGETHER = 2e9
"""Bytes that all methods of a study may so hold to take turns together; of more, two at a time are held."""

log = logging.getLogger(__name__)


def measure_study(study: Study, store: RunStore, context: Context, tuned: Tuned | None = None) -> None:
    """Measure every method of a study against each that its `overhead` names, unless that was done before.

    All on one device, on the study's first dataset and seed, with the settings a search found, if any. A
    measurement that fails (out of memory) is written down with its reason and does not end the study.
    """
    if study.overhead is None:
        return
    if context.machine.devices > 1:
        context = Context(replace(context.machine, devices=1), context.progress)
    dataset, seed = study.datasets[0], study.seeds[0]
    cells = [
        study.cell(label, dataset, seed, (tuned or {}).get((label, dataset, 1))) for label in study.methods
    ]
    path = store.directory / OVERHEAD
    identity = _identity(cells, study.overhead, context)
    if _is_current(path, identity):
        return
    try:
        entries = measure(cells, study.overhead, context)
    except Exception as error:
        log.exception("the overhead was not measured")
        note = f"not measured: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        entries = [
            {"method": cell.method, "against": against, "quantity": "training step", "note": note}
            for against in study.overhead.against
            for cell in cells
            if cell.method != against
        ]
        identity = ""  # tried again the next time
    atomic_json(path, [{**entry, "identity": identity} for entry in entries])


def _identity(cells: Sequence[Cell], overhead: Overhead, context: Context) -> str:
    parts = [context.parts(cell) for cell in cells]
    device = device_name(context.fabric(cells[0]).device)
    return fingerprint([parts, overhead.model_dump(mode="json"), device, context.machine.deterministic])


def _is_current(path: Path, identity: str) -> bool:
    try:
        entries = json.loads(path.read_text("utf-8"))
        return bool(entries) and all(entry["identity"] == identity for entry in entries)
    except (OSError, ValueError, KeyError, TypeError):
        return False


_UNITS = {
    "peak memory": "GB",
    "parameters built": "M",
    "parameters used": "M",
    "compute per pair": "GFLOP",
    "inference compute per pair": "GFLOP",
}


@dataclass(frozen=True)
class _Measurements:
    """What was measured of methods in turns.

    Per method and quantity: times by block (seconds), or one exact number.
    """

    times: dict[str, dict[str, Sequence[float]]]
    counts: dict[str, dict[str, float]]
    notes: dict[str, str]
    features: dict[str, tuple[torch.Tensor, torch.Tensor]]
    device: str


def measure(cells: Sequence[Cell], overhead: Overhead, context: Context) -> list[dict[str, Any]]:
    """Measure every cell's method against the named ones; rows for `reports.sections.overhead`.

    Small methods take turns all together, so that each is measured once. Of large ones two at a time are on
    the device, and a method is measured once for every one that it is compared with.
    """
    by_method = {cell.method: cell for cell in cells}
    pairs = [(cell, by_method[name]) for name in overhead.against for cell in cells if cell.method != name]
    trained = [cell for cell in cells if cell.trains]
    together = _measure_in_turns(cells, trained, overhead, context) if _fit_together(cells) else None
    rows: list[dict[str, Any]] = []
    for cell, reference in pairs:
        compared = [one for one in (cell, reference) if cell.trains and one.trains]
        measured = together or _measure_in_turns((cell, reference), compared, overhead, context)
        rows += _entries(cell.method, reference.method, measured)
        rows.append(_same_features(cell.method, reference.method, measured.features, measured.device))
        release_memory()
    return rows


def _fit_together(cells: Sequence[Cell]) -> bool:
    """Whether weights, gradients and optimiser's averages of all the methods are small together."""
    return sum(IN_STEP * BYTES * weights_of(cell, TRAINING_PERSONS) for cell in cells) <= TOGETHER


def _measure_in_turns(
    cells: Sequence[Cell], trained: Sequence[Cell], overhead: Overhead, context: Context
) -> _Measurements:
    """Inference of all `cells`, and steps of those that are to be `trained`."""
    name = device_name(context.fabric(cells[0]).device)
    measured = _Measurements(
        {one.method: {} for one in cells}, {one.method: {} for one in cells}, {}, {}, name
    )
    encoders = {one.method: Encoders(one, context) for one in cells}
    measured.features.update({label: encoder.features() for label, encoder in encoders.items()})
    _time(encoders, ("run",), overhead, context, measured.times, f"inference of {_named(cells)}")
    del encoders
    if trained:
        _train(trained, overhead, context, measured)
    for one in cells:
        at = (one.train.backbone, one.train.image_size, one.overrides)
        measured.counts[one.method]["inference compute per pair"] = pass_gflop(
            one.base, *at, pairs=1, text_length=one.train.text_length
        )
    return measured


def steps_planned(cells: Sequence[Cell], overhead: Overhead) -> Counter[str]:
    """Training steps that `measure` takes of each method, by its name."""
    trained = Counter(cell.method for cell in cells if cell.trains)
    if not _fit_together(cells):
        compared = [{cell.method, name} for name in overhead.against for cell in cells if cell.method != name]
        names = [name for pair in compared for name in pair if name in trained]
        trained = Counter(names)
    steps = 2 * (overhead.warmup + _blocks(overhead) * 2 * _leg(overhead))  # whole, and in parts
    return Counter({name: count * steps for name, count in trained.items()})


def _named(cells: Sequence[Cell]) -> str:
    """What the line of progress calls the methods."""
    return cells[0].method if len(cells) <= 2 else f"{len(cells)} methods"


def _train(cells: Sequence[Cell], overhead: Overhead, context: Context, measured: _Measurements) -> None:
    """Steps of methods that train, in turns."""
    candidates = {cell.method: Candidate(cell, context) for cell in cells}
    if len({one.compiled for one in candidates.values()}) > 1:  # compiling failed for one: none is
        candidates = {cell.method: Candidate(cell, context, compiled="off") for cell in cells}
    title = f"training of {_named(cells)}"
    _time(candidates, ("run", "run_in_parts"), overhead, context, measured.times, title)
    for label, one in candidates.items():
        measured.counts[label].update(one.costs())
        settings = one.cell.train
        made = "compiled" if one.compiled else "eager"
        measured.notes[label] = f"{settings.backbone}, batch {one.pairs}, {settings.precision}, {made}"


def _time(
    candidates: Mapping[str, Any],
    ways: Sequence[str],
    overhead: Overhead,
    context: Context,
    times: dict[str, dict[str, Sequence[float]]],
    title: str,
) -> None:
    """Let candidates take turns at each of their `ways` to run, after warming up."""
    leg, blocks = _leg(overhead), _blocks(overhead)
    for way in ways:
        runs = {label: getattr(one, way) for label, one in candidates.items()}
        for run in runs.values():
            if overhead.warmup:
                run(overhead.warmup)
        legs = {label: partial(run, leg) for label, run in runs.items()}
        shown = f"measuring {title}" + (" in parts" if way == "run_in_parts" else "")
        per_label = timing.interleaved(legs, blocks, partial(context.progress.working, shown))
        for label, per_block in per_label.items():
            for quantity in per_block[0]:
                times[label][quantity] = [seconds[quantity] for seconds in per_block]


def _leg(overhead: Overhead) -> int:
    """Steps in a row of a method."""
    return max(1, min(LEG, overhead.steps // 2))


def _blocks(overhead: Overhead) -> int:
    """Blocks of turns; in each every method has two legs, forth and back."""
    return overhead.repeats * max(1, overhead.steps // (2 * _leg(overhead)))


def _entries(method: str, against: str, measured: _Measurements) -> Iterator[dict[str, Any]]:
    common = {"method": method, "against": against, "device": measured.device}
    for quantity, seconds in measured.times[method].items():
        mean, reference = _mean(seconds), measured.times[against].get(quantity)
        entry = {**common, "quantity": quantity, "unit": "ms", "value": 1e3 * mean}
        entry["note"] = measured.notes.get(method, "") if quantity == "training step" else ""
        if reference is not None:
            compared = timing.ratio(seconds, reference)
            entry |= {"reference": 1e3 * _mean(reference), "blocks": len(seconds)}
            entry |= {"ratio": compared.value, "low": compared.low, "high": compared.high}
        yield entry
    for quantity, value in measured.counts[method].items():
        entry = {**common, "quantity": quantity, "unit": _UNITS[quantity], "value": value}
        other = measured.counts[against].get(quantity)
        if other:
            exact = value / other
            # Memory was measured, and only once; everything else is a count.
            bounds = (None, None) if quantity == "peak memory" else (exact, exact)
            entry |= {"reference": other, "ratio": exact, "low": bounds[0], "high": bounds[1]}
        yield entry


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _same_features(
    method: str, against: str, features: Mapping[str, Sequence[torch.Tensor]], device: str
) -> dict[str, Any]:
    """How far apart two methods' features are when their backbones have the same weights."""
    pairs = list(zip(features[method], features[against], strict=True))
    entry = {"method": method, "against": against, "device": device, "unit": "", "value": None}
    entry["quantity"] = "largest difference of features"
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        return {**entry, "note": "features of different width"}
    difference = max(float((ours - theirs).abs().max()) for ours, theirs in pairs)
    same = all(torch.equal(ours, theirs) for ours, theirs in pairs)
    note = "bit for bit the same from the same backbone" if same else "before training, from the same recipe"
    return {**entry, "value": difference, "note": note}
