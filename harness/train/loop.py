"""The training loop.

All randomness of a step comes from seeds named by (seed, purpose, epoch, step): its augmentation, the
method's noise and the global generators; its batch depends on the epoch alone. A step is therefore the same
whether the run came straight to it or was killed and resumed on the way, and the same on one device as on
several, where each process takes its share of the one global batch and of the one global draw.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from harness.data.loader import Indices
from harness.evaluate.features import scores
from harness.evaluate.metrics import NonFiniteFeatures
from harness.machine import devices
from harness.store.cell_run import CellRun
from harness.study.schema import TrainSettings
from harness.train.best_epoch import TrainingProgress
from harness.train.checkpoint import CheckpointTimer, CheckpointWriter, pack, unpack
from harness.train.epoch_hook import pair_statistics, values_before_epoch
from harness.train.epoch_stats import EpochStats, TrainingDiverged
from harness.train.optimiser import make_optimiser, rate_factor, set_rates
from harness.train.options import AfterEpoch, TrainingData, TrainingObserver, TrainingOptions
from harness.train.step_inputs import StepInputs
from methods.base import Batch, Method, Noise

__all__ = [
    "AfterEpoch",
    "Trainer",
    "TrainingData",
    "TrainingDiverged",
    "TrainingObserver",
    "TrainingOptions",
    "train",
]

COMPILED_FROM = 2000
"""Steps below which compiling, a minute or so, cannot pay."""

COMPILED_STEPS = 10_000
"""Steps of different methods, sizes and settings that one process may compile."""

log = logging.getLogger(__name__)


def train(
    method: Method,
    data: TrainingData,
    settings: TrainSettings,
    run: CellRun,
    *,
    seed: int,
    fabric: Fabric | None = None,
    options: TrainingOptions | None = None,
) -> dict[str, int]:
    """Train `method` by the recipe; returns the epoch that each selection chose.

    Begins at the run's checkpoint, where there is one.

    Leaves one history line per epoch and the models `val` and `test` (best epoch by `options.metric` on that
    split, the earliest on ties) and `last`. The test split is scored for disclosure only. A method that does
    not train keeps its initial weights, as epoch 0. Of several processes only the first writes.

    Raises `TrainingDiverged`; the checkpoint is then still the last sound one.
    """
    fabric = fabric or devices.make_fabric(settings.precision)
    trainer = Trainer(method, data, settings, run, seed, fabric, options or TrainingOptions())
    with closing(trainer.writer):
        for epoch in range(trainer.progress.epoch, trainer.epochs):
            trainer.start_epoch(epoch)
            trainer.run_hook(epoch)
            for step, indices in trainer.remaining_batches(epoch):
                trainer.set_rate(epoch, step)
                batch, noise = trainer.inputs(indices, epoch, step)
                losses = trainer.training_step(batch, noise)
                trainer.end_step(losses, len(indices), epoch, step)
            trainer.end_epoch(epoch)
        return trainer.save_models()


class Trainer:
    """A run in training: its state, its one training step, and what is done around the step."""

    method: Method
    """The weights, in the precision of the recipe, on the device."""
    model: torch.nn.Module
    """`method` as Fabric wraps it: autocast, gradients averaged over processes."""
    adam: torch.optim.Adam
    optimiser: torch.optim.Optimizer
    """`adam` as Fabric wraps it."""
    data: TrainingData
    settings: TrainSettings
    run: CellRun
    seed: int
    fabric: Fabric
    options: TrainingOptions
    epochs: int
    """Epochs to train; 0 for a method that does not train."""
    steps: int
    """Steps of the epoch that runs."""
    progress: TrainingProgress
    """How far the run has come; what a checkpoint holds beside weights."""
    epoch_stats: EpochStats
    step_inputs: StepInputs
    """Draws the batch and the randomness of a step."""
    writer: CheckpointWriter
    checkpoint_timer: CheckpointTimer
    reported: float
    """When progress was reported last (monotonic)."""
    compiled: bool
    """Whether the step runs compiled."""

    def __init__(
        self,
        method: Method,
        data: TrainingData,
        settings: TrainSettings,
        run: CellRun,
        seed: int,
        fabric: Fabric,
        options: TrainingOptions,
    ) -> None:
        self.method, self.data, self.settings, self.run = method, data, settings, run
        self.seed, self.fabric, self.options = seed, fabric, options
        self.epochs = settings.epochs if method.trains else 0
        self.steps, self.reported, self.compiled = 0, time.monotonic(), False
        self.checkpoint_timer = CheckpointTimer(options.checkpoint_minutes)
        self.writer = CheckpointWriter(run.save_checkpoint)
        devices.to_precision(method.to(fabric.device), settings.precision)
        if fabric.world_size > 1:
            method.gather = devices.gather_with_gradients
        self.step_inputs = StepInputs(method, data.train, settings, seed, fabric)
        self.adam = make_optimiser(method, settings)
        self.progress = self._resumed()
        self.epoch_stats = EpochStats(fabric.device)
        self.model, self.optimiser = fabric.setup(method, self.adam)
        self.model.train()
        self.compiled = self.progress.epoch < self.epochs and self._compile()
        if options.on_start is not None:
            options.on_start(self.compiled)

    def _resumed(self) -> TrainingProgress:
        # Loading sets damaged files aside: the first process does, and the others find what is sound.
        with self.fabric.rank_zero_first():
            state = self.run.load_checkpoint()
            progress = TrainingProgress() if state is None else unpack(state, self.method, self.adam)
            if self.fabric.is_global_zero:
                self.run.truncate_after(progress.epoch)
        return progress

    def _compile(self) -> bool:
        """Compile the step where it pays, tried on a batch of full size.

        Where that fails, warn and train without.
        """
        if not self._worth_compiling():
            return False
        # Never the batch at which a run resumes: an epoch's last one may be smaller, and another graph.
        epoch = self.progress.epoch
        step, indices = next(self._full_batches(epoch), (0, None))
        if indices is None:
            return False
        prepare_compiler()
        buffers = {name: value.clone() for name, value in self.method.named_buffers()}
        self.method.compile(dynamic=False)
        try:
            self.training_step(*self.inputs(indices, epoch, step), update=False)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # the compiler raises errors of many kinds
            log.warning(
                "torch.compile failed (%s: %s); training continues without it", type(error).__name__, error
            )
            self.method._compiled_call_impl = None
        self.optimiser.zero_grad(set_to_none=True)
        for name, value in self.method.named_buffers():  # the trial is no step of training
            value.copy_(buffers[name])
        return self.method._compiled_call_impl is not None

    def _full_batches(self, epoch: int) -> Iterator[tuple[int, Indices]]:
        for step, indices in enumerate(self.data.batches.epoch(epoch)):
            if len(indices) == self.settings.batch_size:
                yield step, indices

    def _worth_compiling(self) -> bool:
        if self.options.compile != "auto":
            return self.options.compile == "on"
        # Of the whole run, not of what is left: a resumed run must use the same kernels.
        steps = self.epochs * self.data.batches.steps(0)
        return self.fabric.device.type == "cuda" and self.fabric.world_size == 1 and steps >= COMPILED_FROM

    # -- the step ---------------------------------------------------------------------------------

    def inputs(self, indices: Indices, epoch: int, step: int) -> tuple[Batch, Noise]:
        """This process's share of a global batch `indices` [pairs], and of all randomness of the step."""
        self.step_inputs.data_seconds = 0.0
        drawn = self.step_inputs.draw(indices, epoch, step, steps=self.steps)
        self.epoch_stats.data_seconds += self.step_inputs.data_seconds
        return drawn

    def training_step(
        self,
        batch: Batch,
        noise: Noise,
        *,
        update: bool = True,
        after_part: Callable[[str], None] | None = None,
    ) -> dict[str, Tensor]:
        """Losses, backward pass and optimiser step of one batch; the losses by name, each a scalar.

        This is the only training step: the loop, the compile trial and every measurement of speed take it.

        Args:
            batch: this process's share of the batch.
            noise: all randomness of the step, row by row the batch's.
            update: whether the optimiser steps; without, only the gradients are computed.
            after_part: called with `forward`, `backward` and `optimiser` when each has been launched.
        """
        report = after_part or _ignore
        self.optimiser.zero_grad(set_to_none=True)
        losses = self._losses(batch, noise)
        total = torch.stack(list(losses.values())).sum()
        report("forward")
        self.fabric.backward(total)
        report("backward")
        if update:
            self.optimiser.step()
        report("optimiser")
        return losses

    def _losses(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        # An epoch's last, smaller batch is not worth compiling for.
        small = self.compiled and len(batch.images) < self.settings.batch_size // self.fabric.world_size
        with torch.compiler.set_stance("force_eager") if small else nullcontext():
            losses: dict[str, Tensor] = self.model(batch, noise)
        return losses

    # -- around the step --------------------------------------------------------------------------

    def start_epoch(self, epoch: int) -> None:
        """Continue the epoch's statistics where a killed run left them."""
        self.model.train()
        self.epoch_stats = EpochStats.restored(self.progress.epoch_stats, self.fabric.device)
        self.progress.epoch_stats = None
        self.reported = time.monotonic()

    def set_rate(self, epoch: int, step: int) -> None:
        """Set the learning rates of a step; they change every epoch or every step."""
        set_rates(self.adam, rate_factor(self.settings, epoch, step, self.steps))

    def run_hook(self, epoch: int) -> None:
        """Let the method look at all training pairs before an epoch, unless the run resumes within it."""
        values = self.progress.pair_values
        if values is None:
            values = values_before_epoch(self.step_inputs, self.data.batches, epoch)
            self.model.train()
        self.progress.pair_values = values
        on_device = {name: value.to(self.fabric.device) for name, value in values.items()}
        self.step_inputs.pair_values = on_device

    def remaining_batches(self, epoch: int) -> Iterator[tuple[int, Indices]]:
        """Steps of the epoch that are still to do, each with the caption indices of its global batch.

        Indices [pairs] into the training captions.
        """
        batches = self.data.batches.epoch(epoch)
        self.steps = len(batches)
        remaining = list(enumerate(batches))[self.progress.step :]
        share = self.step_inputs.share
        self.data.train.schedule([indices[share(indices)] for _, indices in remaining])
        yield from remaining

    def end_step(self, losses: Mapping[str, Tensor], pairs: int, epoch: int, step: int) -> None:
        """Count a step, whose `losses` are scalars by name.

        Now and then reports progress, looks for NaN, and writes a checkpoint in a long epoch.
        """
        self.epoch_stats.add(losses, pairs)
        self.progress.step = step + 1
        now = time.monotonic()
        if self.fabric.is_global_zero and now - self.reported >= self.options.report_seconds:
            self.epoch_stats.check(epoch + 1)
            means, speed = self.epoch_stats.means(), self.epoch_stats.pairs_per_second
            if self.options.progress is not None:
                self.options.progress.on_step(epoch + 1, step + 1, self.steps, means, speed)
            self.reported = time.monotonic()
        # Clocks of several processes disagree about when; there, epochs are the only stops.
        if self.fabric.world_size == 1 and self.checkpoint_timer.due_within_epoch():
            self._require_finite(epoch)
            self.progress.epoch_stats = self.epoch_stats.state()
            self._save_checkpoint()

    def end_epoch(self, epoch: int) -> None:
        """Evaluate the model, update the best epochs, and append the epoch to the history."""
        line: dict[str, Any] = {"epoch": epoch + 1, "losses": self.epoch_stats.means(over_processes=True)}
        # Of the last step, which a run that resumes after it does not take again.
        rate = rate_factor(self.settings, epoch, max(self.steps - 1, 0), max(self.steps, 1))
        line |= {"lr": self.settings.lr * rate, **self.epoch_stats.costs()}
        statistics = pair_statistics(self.progress.pair_values or {}, self.data.moved)
        line |= {"pairs": statistics} if statistics else {}
        line["peak_memory"] = devices.peak_memory(self.fabric.device)
        self._require_finite(epoch)
        start = time.perf_counter()
        evaluated = self._evaluate(epoch)
        line |= {**evaluated, "evaluation_seconds": time.perf_counter() - start}
        self.progress.epoch, self.progress.step = epoch + 1, 0
        self.progress.epoch_stats = self.progress.pair_values = None
        chosen_by = {split: scored[self.options.metric] for split, scored in evaluated.items()}
        self.progress.consider(chosen_by, epoch + 1, self.method.state_dict())
        if not self.fabric.is_global_zero:
            return
        self.run.append_history(line)
        if self.checkpoint_timer.due_after_epoch() or epoch + 1 == self.epochs:
            self._save_checkpoint()
        if self.options.progress is not None:
            self.options.progress.on_epoch(line)
        if evaluated and self.options.after_epoch is not None:
            self.options.after_epoch(epoch + 1, evaluated["val"])

    def _evaluate(self, epoch: int) -> dict[str, Mapping[str, float]]:
        """Scores on `val` and `test`; empty in an epoch that is not evaluated."""
        if (epoch + 1) % self.settings.evaluate_every and epoch + 1 < self.epochs:
            return {}
        precision, tie_order = self.settings.precision, self.options.tie_order
        try:
            return {
                name: scores(self.method, split, precision=precision, tie_order=tie_order)
                for name, split in (("val", self.data.val), ("test", self.data.test))
            }
        except NonFiniteFeatures as error:
            raise TrainingDiverged(0, epoch + 1, self.epoch_stats.means()) from error

    def _require_finite(self, epoch: int) -> None:
        self.epoch_stats.check(epoch + 1)
        finite = [weight.detach().isfinite().all() for weight in self.method.parameters()]
        if not torch.stack(finite).all():
            raise TrainingDiverged(0, epoch + 1, self.epoch_stats.means())

    def _save_checkpoint(self) -> None:
        start = time.monotonic()
        is_over = self.progress.epoch == self.epochs
        state = pack(self.progress, self.method, None if is_over else self.adam)
        self.writer.write(state, self.progress.epoch)
        self.checkpoint_timer.written(start)

    def save_models(self) -> dict[str, int]:
        """Write the weights of every selection; returns the epoch of each.

        Without any valid score the last epoch is chosen.
        """
        weights = {self.progress.epoch: self.method.state_dict(), **self.progress.kept}
        chosen = {name: best.epoch or self.progress.epoch for name, best in self.progress.best.items()}
        chosen["last"] = self.progress.epoch
        self.writer.wait()
        if self.fabric.is_global_zero:
            for selection, epoch in chosen.items():
                self.run.save_model(selection, weights[epoch], epoch)
        self.fabric.barrier()
        return chosen


def prepare_compiler() -> None:
    """Let one process compile the step of every method, size and setting that its cells and trials have.

    By default the compiler gives up on code that it has compiled for eight kinds of input, and the ninth
    method of a study would run other kernels than the first. Where algorithms must be deterministic, kernels
    are not chosen by timing them either.
    """
    from torch._dynamo import config

    config.recompile_limit = config.accumulated_recompile_limit = COMPILED_STEPS
    if torch.are_deterministic_algorithms_enabled():
        from torch._inductor import config as inductor

        inductor.deterministic = True


def _ignore(part: str) -> None:
    """Nobody measures the parts of a step."""
