"""A method ready to be timed: one step of its training at a time, or one batch of its encoders."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from harness.data.loader import Indices
from harness.evaluate.features import CAPTIONS_AT_ONCE, IMAGES_AT_ONCE
from harness.launch.context import Context, InputSpec
from harness.machine import environment
from harness.machine.devices import autocast, to_precision
from harness.machine.memory import held_bytes, peak_bytes
from harness.machine.seeds import seed_for
from harness.machine.terms import Compiling
from harness.speed import timing
from harness.store.cell_run import CellRun
from harness.study.cell import Cell
from harness.train.loop import Trainer, TrainingOptions
from methods.base import Method
from methods.cost import parameters, pass_gflop

PARTS = ("data", "forward", "backward", "optimiser")
"""What a step is timed in."""


def device_name(device: torch.device) -> str:
    """What a reader calls the device."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    described = environment.describe()
    return f"{described['processor']} ({torch.get_num_threads()} threads)"


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
