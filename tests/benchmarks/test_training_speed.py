"""Cost of losses, of a step, and of an epoch of the embedded data beside a plain DataLoader-and-PIL loop.

`pytest --benchmark-only tests/benchmarks/test_training_speed.py`; both loops of an epoch run in one process,
in turns (A B B A), on one thread; `ratio` is plain ÷ ours. `TRAINING_SUBSET` identities are used (default
100).
"""

from __future__ import annotations

import os
import time

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from harness import timing
from harness.bench import StepBench
from harness.context import Context, Machine
from harness.overhead import Candidate
from harness.plain import PlainStep, on_device, plain_loader
from methods import losses

SUBSET = int(os.environ.get("TRAINING_SUBSET", "100"))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def both() -> tuple[Candidate, PlainStep]:
    context = Context(Machine(device="cpu"))
    cell = StepBench(subset=SUBSET, batch_size=64).cell(CPU)
    ours = Candidate(cell, context)
    return ours, PlainStep(cell, context, ours.batches, workers=0)


@pytest.mark.parametrize("name", ["sdm", "hard_mining", "itc", "cmpm"])
def test_a_loss_of_128_pairs_of_width_512_forward_and_backward(
    benchmark: BenchmarkFixture, name: str
) -> None:
    image, text = (torch.randn(128, 512, requires_grad=True) for _ in range(2))
    people, more = torch.arange(128) // 2, {"sdm": (0.02,), "itc": (0.02,)}.get(name, ())
    if name == "hard_mining":
        run = lambda: losses.hard_mining(image, text, people)  # noqa: E731
    elif name == "itc":
        run = lambda: losses.itc(image, text, *more)  # noqa: E731
    else:
        run = lambda: getattr(losses, name)(image, text, people, *more)  # noqa: E731
    benchmark(lambda: run().backward())


def test_a_training_step_at_the_size_of_a_laptop(
    benchmark: BenchmarkFixture, both: tuple[Candidate, PlainStep]
) -> None:
    ours, _ = both
    benchmark.pedantic(lambda: ours.run(1), rounds=5, warmup_rounds=1)
    benchmark.extra_info["pairs_per_second"] = ours.pairs / benchmark.stats.stats.median


def side_by_side(benchmark: BenchmarkFixture, ours: timing.Leg, plain: timing.Leg) -> None:
    seconds = timing.interleaved({"ours": ours, "plain": plain}, 2)
    found = timing.ratio(*([one["epoch"] for one in seconds[name]] for name in ("plain", "ours")))
    benchmark.extra_info.update(ratio=found.value, low=found.low, high=found.high)
    benchmark.pedantic(ours, rounds=1)


def test_an_epochs_batches_beside_a_plain_loader(
    benchmark: BenchmarkFixture, both: tuple[Candidate, PlainStep]
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


def test_an_epoch_of_training_beside_a_plain_loop(
    benchmark: BenchmarkFixture, both: tuple[Candidate, PlainStep]
) -> None:
    ours, plain = both
    steps = len(ours.batches)
    side_by_side(
        benchmark,
        lambda: {"epoch": steps * ours.run(steps)["training step"]},
        lambda: {"epoch": steps * plain.run(steps)["training step"]},
    )
