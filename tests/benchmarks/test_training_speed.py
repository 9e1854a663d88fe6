"""Cost of losses, of a step, and of an epoch of the embedded data beside a plain DataLoader-and-PIL loop.

`pytest --benchmark-only tests/benchmarks/test_training_speed.py`; ours and the plain loop run in turns
(A B B A); `ratio` is plain ÷ ours. `TRAINING_SUBSET` identities are used (default 100).
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock
from pytest_benchmark.fixture import BenchmarkFixture

from harness.data.decoding import available_cores
from harness.launch.context import Context
from harness.machine import memory
from harness.machine.environment import Machine
from harness.speed import timing
from harness.speed.bench import StepBench
from harness.speed.candidates import Candidate
from harness.speed.reference_step import ReferenceStep, on_device, plain_loader
from harness.study.cell import Cell
from harness.study.study import load_study
from methods import losses
from methods.attention import use_fast_attention
from methods.mining import mining_loss

SUBSET = int(os.environ.get("TRAINING_SUBSET", "100"))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def both() -> tuple[Candidate, ReferenceStep]:
    context = Context(Machine(device="cpu"))
    cell = StepBench(subset=SUBSET, batch_size=64).cell(CPU)
    ours = Candidate(cell, context)
    return ours, ReferenceStep(cell, context, ours.batches, workers=0)


@pytest.mark.parametrize("name", ["sdm", "cmt", "itc", "cmpm"])
def test_a_loss_of_128_pairs_of_width_512_forward_and_backward(
    benchmark: BenchmarkFixture, name: str
) -> None:
    image, text = (torch.randn(128, 512, requires_grad=True) for _ in range(2))
    people, more = torch.arange(128) // 2, {"sdm": (0.02,), "itc": (0.02,)}.get(name, ())
    if name == "cmt":
        run = lambda: mining_loss(image, text, people, "triplet")  # noqa: E731
    elif name == "itc":
        run = lambda: losses.itc(image, text, *more)  # noqa: E731
    else:
        run = lambda: getattr(losses, name)(image, text, people, *more)  # noqa: E731
    benchmark(lambda: run().backward())


def test_a_training_step_at_the_size_of_a_laptop(
    benchmark: BenchmarkFixture, both: tuple[Candidate, ReferenceStep]
) -> None:
    ours, _ = both
    benchmark.pedantic(lambda: ours.run(1), rounds=5, warmup_rounds=1)
    benchmark.extra_info["pairs_per_second"] = ours.pairs / benchmark.stats.stats.median


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_block_of_the_image_encoder_beside_one_with_torchs_own_attention(
    benchmark: BenchmarkFixture, precision: str
) -> None:
    """Forward and backward of 32 images; `ratio` is torch's ÷ ours."""
    torch.set_num_threads(1)
    theirs = ResidualAttentionBlock(128, 4, mlp_ratio=2.0)
    ours = copy.deepcopy(theirs)
    use_fast_attention(ours)
    tokens = torch.randn(32, 49, 128, requires_grad=True)

    def run(block: torch.nn.Module) -> dict[str, float]:
        start = time.perf_counter()
        for _ in range(10):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                block(tokens).square().mean().backward()
        return {"epoch": time.perf_counter() - start}

    for block in (theirs, ours):
        run(block)
    side_by_side(benchmark, lambda: run(ours), lambda: run(theirs))


def side_by_side(benchmark: BenchmarkFixture, ours: timing.Leg, plain: timing.Leg) -> None:
    seconds = timing.interleaved({"ours": ours, "plain": plain}, 4)
    found = timing.ratio(*([one["epoch"] for one in seconds[name]] for name in ("plain", "ours")))
    benchmark.extra_info.update(ratio=found.value, low=found.low, high=found.high)
    benchmark.pedantic(ours, rounds=1)


def test_an_epochs_batches_beside_a_plain_loader(
    benchmark: BenchmarkFixture, both: tuple[Candidate, ReferenceStep]
) -> None:
    ours, plain = both

    def prepared() -> dict[str, float]:
        start = time.perf_counter()
        for step, indices in enumerate(ours.batches):
            ours.trainer.inputs(indices, 0, step)
        return {"epoch": time.perf_counter() - start}

    def from_files() -> dict[str, float]:
        start = time.perf_counter()
        for sample in plain_loader(plain.pairs, ours.batches, 0):
            on_device(sample, CPU)
        return {"epoch": time.perf_counter() - start}

    side_by_side(benchmark, prepared, from_files)


def test_an_epoch_of_training_beside_a_plain_loop_on_one_core(
    benchmark: BenchmarkFixture, both: tuple[Candidate, ReferenceStep]
) -> None:
    ours, plain = both
    steps = len(ours.batches)
    side_by_side(
        benchmark,
        lambda: {"epoch": steps * ours.run(steps)["training step"]},
        lambda: {"epoch": steps * plain.run(steps)["training step"]},
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_epochs_of_a_study_beside_a_plain_loop_on_all_cores(
    benchmark: BenchmarkFixture, precision: str
) -> None:
    """What the cores of a machine do with the recipe of the demo: a study trains a cell on each of them; a
    plain loop, in float32, has all of them for its one model, as torch hands them out.

    bf16 pays on a CPU with instructions for it. The plain loader has no worker processes: they would take
    the cores from the model, and on two cores they made the plain loop slower.
    """
    cores = available_cores()
    with Crew(train_a_cell, cores, precision) as study, Crew(train_plainly, 1, cores) as plain:
        side_by_side(
            benchmark,
            lambda: {"epoch": study.epoch() / cores},
            lambda: {"epoch": plain.epoch()},
        )
    benchmark.extra_info["cores"] = cores


class Crew:
    """Processes that each train an epoch when asked to."""

    def __init__(self, work: Callable[..., None], count: int, *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(count)]
        self.ends = [ours for ours, _ in pipes]
        self.processes = [context.Process(target=work, args=(theirs, *arguments)) for _, theirs in pipes]

    def __enter__(self) -> Crew:
        for process in self.processes:
            process.start()
        self.epoch()  # an epoch to warm up
        return self

    def epoch(self) -> float:
        """Seconds until every process has trained an epoch."""
        start = time.perf_counter()
        for end in self.ends:
            end.send("train")
        for end in self.ends:
            end.recv()
        return time.perf_counter() - start

    def __exit__(self, *_: object) -> None:
        for end in self.ends:
            end.send("stop")
        for process in self.processes:
            process.join()


def obey(end: Connection, epoch: Callable[[], object]) -> None:
    while end.recv() == "train":
        epoch()
        end.send("done")


def demo_cell(precision: str) -> Cell:
    study = load_study(Path("studies/demo.yaml"), [f"train.precision={precision}"], subset=SUBSET)
    return study.cell("uit", "rendered-plaza", 0)


def train_a_cell(end: Connection, precision: str) -> None:
    ours = Candidate(demo_cell(precision), Context(Machine(device="cpu")))
    obey(end, lambda: ours.run(len(ours.batches)))


def train_plainly(end: Connection, cores: int) -> None:
    memory.keep_freed_memory = lambda: False  # nothing that a plain loop would not have
    cell, context = demo_cell("fp32"), Context(Machine(device="cpu", threads=cores))
    batches = Candidate(cell, context).batches
    plain = ReferenceStep(cell, context, batches, workers=0)
    obey(end, lambda: plain.run(len(batches)))
