"""What methods cost beside each other, measured.

Time of a step and of its parts, memory, parameters, compute, and inference. Methods take turns in one
process on one device, each doing exactly the step that training does; what is compared are ratios within
a block of turns. The results go to `overhead.json` of the run, as the report reads it.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.data.loader import Indices
from harness.evaluate.features import CAPTIONS_AT_ONCE, IMAGES_AT_ONCE
from harness.launch.cell import release_memory
from harness.launch.context import Context, InputSpec
from harness.launch.disk import BYTES, weights_of
from harness.machine import environment
from harness.machine.devices import autocast, to_precision
from harness.machine.files import atomic_json
from harness.machine.memory import held_bytes, peak_bytes
from harness.machine.seeds import seed_for
from harness.machine.terms import Compiling
from harness.speed import timing
from harness.store.cell_run import CellRun
from harness.store.run_files import OVERHEAD
from harness.store.runs import RunStore
from harness.study.arms import Tuned
from harness.study.cell import Cell, fingerprint
from harness.study.schema import Overhead
from harness.study.study import Study
from harness.train.loop import Trainer, TrainingOptions
from methods.base import Method
from methods.cost import TRAINING_PERSONS, parameters, pass_gflop

LEG = 5
"""Steps in a row of one method before it is the next one's turn."""
PARTS = ("data", "forward", "backward", "optimiser")
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


def device_name(device: torch.device) -> str:
    """What a reader calls the device."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    described = environment.describe()
    return f"{described['processor']} ({torch.get_num_threads()} threads)"


# -- one method, ready to step --------------------------------------------------------------------


class Candidate:
    """A method in training, one step at a time: the trainer's own step, with nothing stored.

    Args:
        cell: the method with its settings, on its dataset.
        context: loads the data; methods of one cell's dataset and seed share it.
        compiled: whether the step is compiled; `auto`: on a GPU, as in a run long enough for a table.
    """

    def __init__(self, cell: Cell, context: Context, *, compiled: Compiling = "auto") -> None:
        fabric = context.fabric(cell)
        self.cell, self.device = cell, fabric.device
        data = context.training_data(cell, fabric.device)
        self._size = cell.train.batch_size
        if compiled == "auto":
            compiled = "on" if fabric.device.type == "cuda" else "off"
        with tempfile.TemporaryDirectory() as nothing_stored:
            self.trainer = Trainer(
                context.method(cell),
                data,
                cell.train,
                CellRun(Path(nothing_stored)),
                seed_for(cell.seed, cell.dataset, cell.base, "training"),
                fabric,
                TrainingOptions(compile=compiled),
            )
        self.trainer.start_epoch(0)
        self.batches = _full_batches(data.batches.epoch(0), self._size)
        self.method: Method = self.trainer.method
        self.steps = 0

    @property
    def pairs(self) -> int:
        """Pairs of a step."""
        return len(self.batches[0])

    @property
    def compiled(self) -> bool:
        """Whether the step runs compiled."""
        return self.trainer.compiled

    def upcoming(self, steps: int) -> Iterator[Indices]:
        """The next batches (indices `[pairs]`), announced as training announces them."""
        numbers = range(self.steps, self.steps + steps)
        batches = [self.batches[number % len(self.batches)] for number in numbers]
        self.trainer.data.train.schedule(batches)
        for indices in batches:
            yield indices
            self.steps += 1

    def run(self, steps: int) -> dict[str, float]:
        """Seconds of a step, as training takes it: nothing waits for the device but the end."""
        start = timing.clock(self.device)
        for indices in self.upcoming(steps):
            self._step(indices)
        return {"training step": (timing.clock(self.device) - start) / steps}

    def _step(self, indices: Indices, after_part: Callable[[str], None] | None = None) -> None:
        batch, noise = self.trainer.inputs(indices, 0, self.steps)
        if after_part is not None:
            after_part("data")
        losses = self.trainer.training_step(batch, noise, after_part=after_part)
        self.trainer.epoch_stats.add(losses, len(indices))

    def run_in_parts(self, steps: int) -> dict[str, float]:
        """Seconds of each part of a step, waiting for the device after each; with that, slower in all."""
        seconds = dict.fromkeys(PARTS, 0.0)
        begun = timing.clock(self.device)

        def after_part(part: str) -> None:
            nonlocal begun
            now = timing.clock(self.device)
            seconds[part] += (now - begun) / steps
            begun = now

        for indices in self.upcoming(steps):
            begun = timing.clock(self.device)
            self._step(indices, after_part)
        return seconds

    def costs(self) -> dict[str, float]:
        """What is counted and not timed, by quantity."""
        # Gradients of the last step would be counted as held before, and not as this step's.
        self.trainer.optimiser.zero_grad(set_to_none=True)
        memory = peak_bytes(lambda: self.run(1), self.device)
        used = sum(weight.numel() for weight in self.method.parameters() if weight.grad is not None)
        self.trainer.optimiser.zero_grad(set_to_none=True)
        train, cell = self.cell.train, self.cell
        at = (train.backbone, train.image_size, cell.overrides)
        return {
            "peak memory": (memory + held_bytes(self.method, self.trainer.adam)) / 1e9,
            "parameters built": parameters(self.method) / 1e6,
            "parameters used": used / 1e6,
            "compute per pair": pass_gflop(
                cell.base, *at, pairs=self.pairs, backward=True, text_length=train.text_length
            ),
        }


def _full_batches(batches: Sequence[Indices], size: int) -> list[Indices]:
    """Batches of full size; of a dataset that has none, the largest there is."""
    full = [indices for indices in batches if len(indices) == size]
    return full or [max(batches, key=len)]


class Encoders:
    """A method at inference, at the batch sizes of evaluation."""

    def __init__(self, cell: Cell, context: Context) -> None:
        fabric = context.fabric(cell)
        self.cell, self.device = cell, fabric.device
        self.method = context.method(cell).to(fabric.device).eval()
        to_precision(self.method, cell.train.precision)
        data = context.split(cell.dataset, InputSpec.of(cell), "test", fabric.device)
        self._images = next(iter(data.image_chunks(IMAGES_AT_ONCE)))
        self._captions = next(iter(data.caption_chunks(CAPTIONS_AT_ONCE)))

    def features(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of the first images and captions of the test split, each `[batch, width]`."""
        with torch.inference_mode(), autocast(self.device, self.cell.train.precision):
            return self.method.encode_image(self._images), self.method.encode_text(self._captions)

    def run(self, times: int) -> dict[str, float]:
        """Seconds to encode one batch of images, and one of captions."""
        seconds = {}
        work: dict[str, Callable[[], object]] = {
            "image encoding": lambda: self.method.encode_image(self._images),
            "text encoding": lambda: self.method.encode_text(self._captions),
        }
        with torch.inference_mode(), autocast(self.device, self.cell.train.precision):
            for quantity, encode in work.items():
                start = timing.clock(self.device)
                for _ in range(times):
                    encode()
                seconds[quantity] = (timing.clock(self.device) - start) / times
        return seconds


# -- from candidates to measurements --------------------------------------------------------------

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
    leg = max(1, min(LEG, overhead.steps // 2))
    blocks = overhead.repeats * max(1, overhead.steps // (2 * leg))
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
