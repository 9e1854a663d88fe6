"""The parts of `bench device`: each measures one thing in a worker's process and returns plain values."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import registry
from harness.machine.environment import Machine
from harness.machine.paths import SOURCE

STEPS = ("uit", "baseline", "uit-mlm", "rde")
"""Methods whose step is measured, where they are registered."""


@dataclass(frozen=True)
class PartSizes:
    """At which size the parts are measured."""

    backbone: str = "ViT-B-16-quickgelu"
    image_size: tuple[int, int] = (384, 128)
    batch_size: int = 128
    identities: int = 200
    """Rendered people whose images, enlarged, are trained on."""
    steps: int = 5
    blocks: int = 4
    captions: int = 20_000
    gallery: int = 40_000
    epochs: int = 2
    trials: tuple[int, ...] = (1, 2, 4)
    """How many trials share the device."""
    cells: int = 10
    test_seconds: int = 120

    @classmethod
    def tiny(cls) -> PartSizes:
        """The size of a test on a processor."""
        return cls("tiny", (96, 32), 8, 8, 1, 1, 60, 80, 1, (1, 2), 2, 600)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


def gpu_tests(machine: Machine, sizes: PartSizes) -> dict[str, Any]:
    """The tests that need a CUDA device; without one they are all skipped.

    Raises:
        FileNotFoundError: the tests are not beside the package.
        RuntimeError: a test failed.
    """
    marked = [
        str(path)
        for path in sorted((SOURCE / "tests").rglob("test_*.py"))
        if "pytest.mark.gpu" in path.read_text("utf-8")
    ]
    if not marked:
        raise FileNotFoundError(2, "the tests are not beside the package", str(SOURCE / "tests"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        *marked,
    ]
    done = subprocess.run(
        command, cwd=SOURCE, capture_output=True, text=True, timeout=sizes.test_seconds, check=False
    )
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()]
    if done.returncode:
        raise RuntimeError(f"{lines[-1]}; {' | '.join(line for line in lines if line.startswith('FAILED'))}")
    return {"summary": lines[-1], "files": len(marked)}


def step(method: str, machine: Machine, sizes: PartSizes) -> dict[str, Any]:
    """A training step in turns with the reference step: speed, data wait, memory, share of matrix rate."""
    from harness.launch.context import Context
    from harness.speed.bench import bench_step

    return bench_step(_step_bench(method, sizes), Context(machine))


def _step_bench(method: str, sizes: PartSizes) -> Any:
    from harness.speed.bench import StepBench

    return StepBench(
        method=method,
        backbone=sizes.backbone,
        image_size=sizes.image_size,
        batch_size=sizes.batch_size,
        subset=sizes.identities,
        steps=sizes.steps,
        blocks=sizes.blocks,
    )


def data_wait(machine: Machine, sizes: PartSizes) -> dict[str, Any]:
    """A step with its images on the device beside one whose images are read ahead, in turns."""
    from harness.speed import timing

    legs = {}
    for resident in (True, False):
        candidate = _candidate(machine, sizes, resident=resident)
        candidate.run(max(2, sizes.steps))
        legs["on the device" if resident else "read ahead"] = partial(candidate.run, sizes.steps)
    per_block = timing.interleaved(legs, sizes.blocks)
    seconds = {name: [block["training step"] for block in blocks] for name, blocks in per_block.items()}
    compared = timing.ratio(seconds["read ahead"], seconds["on the device"])
    return {"read_ahead_over_resident": asdict(compared), "seconds": seconds}


def _candidate(
    machine: Machine, sizes: PartSizes, method: str = "uit", *, resident: bool | None = None
) -> Any:
    import torch

    from harness.launch.context import Context
    from harness.speed.candidates import Candidate

    context = Context(machine)
    if resident is not None:
        context.keep_resident(resident)
    kind = context.fabric(_step_bench(method, sizes).cell(torch.device("cpu"))).device
    return Candidate(_step_bench(method, sizes).cell(kind), context)


def memory(machine: Machine, sizes: PartSizes) -> dict[str, Any]:
    """Peak memory of a step as measured, beside the estimate that `check` prints."""
    from harness.launch.cell import release_memory
    from harness.speed.rehearsal import memory_gb

    by_method = {}
    for method in ("uit", "baseline"):
        candidate = _candidate(machine, sizes, method)
        candidate.run(1)
        measured = candidate.costs()["peak memory"]
        estimated = memory_gb(registry.method(method), candidate.cell.train, candidate.cell.overrides)
        by_method[method] = {
            "measured_gb": measured,
            "estimated_gb": estimated,
            "compiled": candidate.compiled,
        }
        del candidate
        release_memory()
    return by_method


def determinism(machine: Machine, sizes: PartSizes) -> dict[str, Any]:
    """Seconds of a step with deterministic kernels and without, in a process each, twice in turns."""
    seconds: dict[str, list[float]] = {"deterministic": [], "free": []}
    for name in ("free", "deterministic", "deterministic", "free"):
        asked = replace(machine, deterministic=name == "deterministic")
        with _processes(1) as workers:
            seconds[name].append(workers.submit(timed_steps, asked, sizes).result())
    return {
        "deterministic_over_free": sum(seconds["deterministic"]) / sum(seconds["free"]),
        "seconds": seconds,
    }


def timed_steps(machine: Machine, sizes: PartSizes) -> float:
    """Seconds of a step of UIT in this process, after warming up."""
    from harness.launch.context import prepare_process

    prepare_process(machine)
    one = _candidate(machine, sizes)
    one.run(max(2, sizes.steps))
    return float(one.run(sizes.steps * sizes.blocks)["training step"])


def _processes(count: int) -> Executor:
    from harness.launch.local import LocalWorkers
    from harness.launch.units import Resources

    return LocalWorkers(Resources(workers=count))


def overhead(machine: Machine, sizes: PartSizes) -> list[dict[str, Any]]:
    """What TIR costs: UIT beside UIT without it, as a study's `overhead` measures it."""
    from harness.launch.context import Context
    from harness.speed.overhead import measure
    from harness.study.schema import Overhead

    study = _study(sizes, ["uit", "uit-no-tir"])
    cells = [study.cell(label, study.datasets[0], study.seeds[0]) for label in study.methods]
    wanted = Overhead(
        against=("uit-no-tir",), steps=2 * sizes.steps, warmup=sizes.steps, repeats=max(1, sizes.blocks // 2)
    )
    return measure(cells, wanted, Context(machine))


def _study(sizes: PartSizes, methods: list[str], seeds: int = 1) -> Any:
    from harness.study.study import load_study

    height, width = sizes.image_size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(
            f"name: device\nmethods: [{', '.join(methods)}]\ndatasets: [rendered-plaza]\nseeds: {seeds}\n"
            f"subset: {sizes.identities}\ntrain:\n  backbone: {sizes.backbone}\n  pretrained: none\n"
            f"  image_size: [{height}, {width}]\n  batch_size: {sizes.batch_size}\n  epochs: {sizes.epochs}\n"
            "  warmup_epochs: 0\n",
            "utf-8",
        )
        return load_study(path)


def study(machine: Machine, sizes: PartSizes) -> dict[str, Any]:
    """A short real study of two methods, compiled: seconds in all, and of each cell its epochs."""
    return _cells(machine, sizes, ["uit", "baseline"], 1)


def short_cells(machine: Machine, sizes: PartSizes) -> dict[str, Any]:
    """Short cells one after the other in one process: what the later ones share with the first."""
    return _cells(machine, replace(sizes, epochs=1), ["baseline"], sizes.cells)


def _cells(machine: Machine, sizes: PartSizes, methods: list[str], seeds: int) -> dict[str, Any]:
    from harness.launch.cell import run_cell
    from harness.launch.context import Context
    from harness.store.runs import RunStore
    from harness.train import loop

    compiled_from, loop.COMPILED_FROM = loop.COMPILED_FROM, 1  # else so short a run would not be compiled
    try:
        with tempfile.TemporaryDirectory() as folder:
            store, context, cells = RunStore(Path(folder)), Context(machine), {}
            for cell in _study(sizes, methods, seeds).cells():
                began = time.perf_counter()
                status = run_cell(cell, store, context)
                seconds = time.perf_counter() - began
                run = context.open_run(store, cell)
                cells[cell.key] = {"state": status.state, "seconds": seconds, "epochs": run.history}
                if status.state != "done":
                    raise RuntimeError(f"{cell.key}: {status.state} {status.detail}")
        return {"seconds": sum(one["seconds"] for one in cells.values()), "cells": cells}
    finally:
        loop.COMPILED_FROM = compiled_from


def evaluation(machine: Machine, sizes: PartSizes) -> dict[str, Any]:
    """Ranking a large gallery for many captions, exactly: seconds and scores of random features."""
    import torch

    from harness.evaluate.metrics import query_records, ranks, summarise
    from harness.machine.devices import make_fabric
    from harness.speed.timing import clock

    device = make_fabric("fp32", device=machine.device).device
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (
        torch.randn(count, 512, generator=generator).to(device) for count in (sizes.captions, sizes.gallery)
    )
    people = [torch.arange(count) % (sizes.captions // 2) for count in (sizes.captions, sizes.gallery)]
    seconds = []
    for _ in range(2):
        began = clock(device)
        scores = summarise(query_records(ranks(queries, gallery, *people), people[0]))
        seconds.append(clock(device) - began)
    return {"seconds": min(seconds), "scores": scores}


def trials(machine: Machine, sizes: PartSizes) -> dict[str, Any]:
    """Several trials on one device at once: steps a second of all together, over those of one alone."""
    rates = {}
    for count in sizes.trials:
        with _processes(count) as workers:
            futures = [workers.submit(timed_steps, machine, sizes) for _ in range(count)]
            rates[str(count)] = sum(1 / future.result() for future in futures)
    first = rates[str(sizes.trials[0])]
    return {"steps_per_second": rates, "over_one": {count: rate / first for count, rate in rates.items()}}


Part = Callable[[Machine, PartSizes], Any]


def _step_of(method: str) -> Part:
    part = partial(step, method)
    part.__doc__ = step.__doc__
    return part


PARTS: dict[str, Part] = {
    "tests": gpu_tests,
    **{f"step-{method}": _step_of(method) for method in STEPS if method in registry.methods()},
    "data-wait": data_wait,
    "memory": memory,
    "determinism": determinism,
    "overhead": overhead,
    "study": study,
    "evaluation": evaluation,
    "trials": trials,
    "short-cells": short_cells,
}
"""By name, the most worthwhile first."""
