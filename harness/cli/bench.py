"""The verbs `bench step`, `bench device`, `bench compare` and `bench table`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.answers import answer, one_of, refusals
from harness.cli.command import StrictTyper
from harness.cli.options import (
    AnswerOptions,
    Deterministic,
    Threads,
    height_and_width,
    takes_groups,
)
from harness.machine.terms import COMPILING, PRECISIONS

bench_app = StrictTyper(help="How fast a training step is here, and what was measured.", no_args_is_help=True)


@dataclass(frozen=True)
class StepOptions:
    """What `bench step` measures, and how often."""

    method: Annotated[str, typer.Option(help="A method's name.")] = "uit"
    backbone: Annotated[str, typer.Option(help="tiny, or an open_clip model name.")] = "tiny"
    dataset: Annotated[str, typer.Option(help="Whose training pairs are used.")] = "rendered-plaza"
    subset: Annotated[int, typer.Option(min=2, help="Identities of it that are used.")] = 200
    size: Annotated[str | None, typer.Option(help="Height×width, like 384x128.")] = None
    batch_size: Annotated[int, typer.Option(min=2, help="Pairs per step.")] = 128
    precision: Annotated[str | None, typer.Option(help="bf16, fp32 or released.")] = None
    compiled: Annotated[str, typer.Option("--compile", help="auto (on a GPU), on or off.")] = "auto"
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps in a row between turns; default: 5, on a CPU 2.")
    ] = None
    blocks: Annotated[int | None, typer.Option(min=1, help="Blocks of turns; default: 6, on a CPU 4.")] = None
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that feed the reference step.")] = None


@bench_app.command("step")
@takes_groups
def bench_step(
    step: StepOptions,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON object to this file.")] = None,
    *,
    options: AnswerOptions,
    threads: Threads = 1,
    deterministic: Deterministic = False,
) -> None:
    """A training step beside a reference step, in turns: pairs per second, compute, memory, the ratio."""
    one_of("--precision", step.precision, PRECISIONS)
    one_of("--compile", step.compiled, COMPILING)
    with refusals():
        from harness.launch.context import Context
        from harness.machine.display import shown
        from harness.machine.files import atomic_json
        from harness.speed.bench import StepBench, render
        from harness.speed.bench import bench_step as measured

        machine = options.machine(threads=threads, deterministic=deterministic)
        asked: dict[str, Any] = dict(vars(step))
        size = asked.pop("size")
        wanted = StepBench(**asked, image_size=None if size is None else height_and_width(size, "--size"))
        with shown() as progress:
            measurement = measured(wanted, Context(machine, progress))
        if out is not None:
            atomic_json(out, measurement)
    answer(measurement, options.as_json, lambda: render(measurement))


@bench_app.command("device")
@takes_groups
def bench_device(
    out: Annotated[Path, typer.Option(help="Folder that gets a file for each part.")] = Path(
        "reports/benchmarks"
    ),
    minutes: Annotated[float, typer.Option(min=0, help="Parts begin until then.")] = 9.0,
    tiny: Annotated[bool, typer.Option("--tiny", help="At the size of a test, for a processor.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was measured before.")] = False,
    *,
    options: AnswerOptions,
    threads: Threads = 1,
) -> None:
    """All that is worth knowing of a device, in parts; the same command measures what is left or failed."""
    with refusals():
        from harness.speed.device_bench import DeviceBench
        from harness.speed.device_bench import bench_device as measured
        from harness.speed.device_parts import PartSizes

        machine = options.machine(threads=threads, deterministic=False)
        sizes = PartSizes.tiny() if tiny else PartSizes()
        wanted = DeviceBench(machine, sizes, out, minutes, again)
        states = measured(wanted, lambda line: print(line, file=sys.stderr, flush=True))
    answer(
        states, options.as_json, lambda: print(", ".join(f"{name} {state}" for name, state in states.items()))
    )


@bench_app.command("compare")
def bench_compare(
    now: Annotated[Path, typer.Argument(help="A suite that `make bench` wrote.")],
    before: Annotated[Path, typer.Option(help="The suite it is compared with.")] = Path(
        "reports/benchmarks/suite.json"
    ),
) -> None:
    """Benchmarks that moved by more than 15 %, as ratios to the reference loop of the same suite."""
    with refusals():
        from harness.speed.regressions import moved_lines

        try:
            for line in moved_lines(before, now):
                print(line)
        except (OSError, ValueError) as error:  # slower or not comparable is no failure
            print(error)


@bench_app.command("table")
def bench_table(
    folder: Annotated[Path, typer.Argument(help="Of measurements.")] = Path("reports/benchmarks"),
) -> None:
    """Measurements that were kept, as Markdown."""
    with refusals():
        from harness.speed.bench import table

        print(table(folder))
