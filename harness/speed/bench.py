"""The verb `bench`: a training step beside a plain one, and a table of what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness import registry
from harness.data.decoding import available_cores
from harness.launch.context import Context
from harness.machine import environment
from harness.machine.memory import held_bytes, peak_bytes
from harness.machine.terms import Compiling, Precision
from harness.speed import timing
from harness.speed.candidates import PARTS, Candidate, device_name
from harness.speed.device_table import device_table
from harness.speed.reference_step import ReferenceStep, on_device, plain_loader
from harness.study.cell import Cell
from harness.study.schema import Select, TrainSettings
from methods.backbones import backbone_config
from methods.cost import pass_gflop

FULL_SIZE = (384, 128)
FOLDER = Path("reports/benchmarks")


@dataclass(frozen=True)
class StepBench:
    """What to time: a method at a size, for so many blocks of turns."""

    method: str = "uit"
    backbone: str = "tiny"
    dataset: str = "rendered-plaza"
    subset: int | None = 200
    """Identities whose images are used; None uses all."""
    image_size: tuple[int, int] | None = None
    """Height and width; None: 384×128, or what `tiny` is made for."""
    batch_size: int = 128
    precision: Precision | None = None
    """None: bf16 on CUDA, fp32 on a CPU."""
    compiled: Compiling = "auto"
    """`auto`: on CUDA, because a study of full size is compiled there; `on`; `off`."""
    steps: int | None = None
    """Steps in a row before it is the other one's turn; None: 5 on CUDA, 2 on a CPU."""
    blocks: int | None = None
    """Blocks of turns; None: 6 on CUDA, 4 on a CPU."""
    workers: int | None = None
    """Processes that feed the plain step; None: none on a CPU, up to 8 beside a GPU."""

    def cell(self, device: torch.device) -> Cell:
        """The training run whose step is timed. Raises `UnknownNameError`."""
        entry, config = registry.method(self.method), backbone_config(self.backbone)
        if not entry.trains:
            raise registry.UnknownNameError("training method", self.method, _trained())
        size = self.image_size or (config.image_size if self.backbone == "tiny" else FULL_SIZE)
        train = TrainSettings(
            backbone=self.backbone,
            pretrained="none",  # speed does not depend on what the weights are
            image_size=size,
            batch_size=self.batch_size,
            precision=self.precision or ("bf16" if device.type == "cuda" else "fp32"),
        )
        return Cell(
            study="bench",
            method=self.method,
            base=self.method,
            dataset=self.dataset,
            seed=0,
            preset="clean",
            train=train,
            method_settings=entry.resolve({}).model_dump(),
            overrides={},
            trains=True,
            targets=(self.dataset,),
            subset=self.subset,
            select=Select(),
            tie_order="index",
        )


def _trained() -> list[str]:
    return [entry.name for entry in registry.methods().values() if entry.trains]


def bench_step(wanted: StepBench, context: Context) -> dict[str, Any]:
    """Time the training step and the plain one in turns; everything worth knowing, as plain values.

    `ratio` is ours ÷ plain in pairs per second, `ratio_without_data` the same for forward, backward and
    update alone. Raises what loading the dataset or an unknown name raises.
    """
    device = context.fabric(wanted.cell(torch.device("cpu"))).device
    cell = wanted.cell(device)
    on_gpu = device.type == "cuda"
    steps, blocks = wanted.steps or (5 if on_gpu else 2), wanted.blocks or (6 if on_gpu else 4)
    workers = wanted.workers
    if workers is None:
        workers = min(8, available_cores()) if on_gpu else 0
    ours = Candidate(cell, context, compiled=wanted.compiled)
    plain = ReferenceStep(cell, context, ours.batches, workers)
    ours.run(max(2, steps))
    plain.run(2)
    legs: dict[str, timing.Leg] = {
        "ours": lambda: {**ours.run(steps), **_without_data(ours.run_in_parts(steps))},
        "plain": lambda: plain.run(steps),
    }
    seconds = timing.interleaved(legs, blocks, partial(context.progress.working, "blocks of turns"))
    return {
        **_speed(seconds, ours.pairs),
        **_share_of_matrix_rate(cell, ours, seconds["ours"]),
        "peak_memory_gb": _peak_memory(ours),
        "reference": _reference(plain, ours, seconds["plain"], workers),
        "method": cell.method,
        "backbone": cell.train.backbone,
        "dataset": cell.dataset,
        "image_size": list(cell.train.image_size),
        "batch_size": ours.pairs,
        "precision": cell.train.precision,
        "compiled": ours.compiled,
        "deterministic": context.machine.deterministic,
        "steps": steps,
        "blocks": blocks,
        **_where(device),
    }


def _reference(
    plain: ReferenceStep, ours: Candidate, seconds: Sequence[dict[str, float]], workers: int
) -> dict[str, Any]:
    return {
        "pairs_per_second": ours.pairs / _mean(seconds, "training step"),
        "peak_memory_gb": _plain_memory(plain, ours.batches[0]),
        "precision": plain.precision,
        "worker_processes": workers,
        "what": "eager, text encoded twice, Adam not fused; every sample opened, augmented, tagged and "
        "tokenised on the host",
    }


def _without_data(parts: dict[str, float]) -> dict[str, float]:
    total = sum(parts.values())
    return {**parts, "without data": total - parts["data"], "in parts": total}


def _mean(blocks: Sequence[dict[str, float]], quantity: str) -> float:
    return sum(block[quantity] for block in blocks) / len(blocks)


def _speed(seconds: dict[str, list[dict[str, float]]], pairs: int) -> dict[str, Any]:
    speeds: dict[str, Any] = {"pairs_per_second": pairs / _mean(seconds["ours"], "training step")}
    for name, quantity in (("ratio", "training step"), ("ratio_without_data", "without data")):
        per_block = {label: [block[quantity] for block in blocks] for label, blocks in seconds.items()}
        compared = timing.ratio(per_block["plain"], per_block["ours"])
        speeds |= {name: compared.value, f"{name}_low": compared.low, f"{name}_high": compared.high}
    share = _mean(seconds["ours"], "data") / _mean(seconds["ours"], "in parts")
    parts = {part: _mean(seconds["ours"], part) for part in PARTS}
    return {**speeds, "data_share": share, "seconds_in_parts": parts}


def _share_of_matrix_rate(cell: Cell, ours: Candidate, seconds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Compute achieved, beside what a product of large matrices achieves in the step's precision."""
    gflop = pass_gflop(
        cell.base,
        cell.train.backbone,
        cell.train.image_size,
        cell.overrides,
        pairs=ours.pairs,
        backward=True,
        text_length=cell.train.text_length,
    )
    kinds = {"bf16": torch.bfloat16, "fp32": torch.float32, "released": torch.float16}
    rate = timing.matrix_rate(ours.device, kinds[cell.train.precision]) / 1e12
    achieved = gflop * ours.pairs / _mean(seconds, "training step") / 1e3
    return {
        "gflop_per_pair": gflop,
        "tflops": achieved,
        "matrix_tflops": rate,
        "matrix_fraction": achieved / rate,
    }


def _peak_memory(ours: Candidate) -> float:
    ours.trainer.optimiser.zero_grad(set_to_none=True)
    return (peak_bytes(lambda: ours.run(1), ours.device) + held_bytes(ours.method, ours.trainer.adam)) / 1e9


def _plain_memory(plain: ReferenceStep, indices: Any) -> float:
    (sample,) = plain_loader(plain.pairs, [indices], 0)
    batch = on_device(sample, plain.device)
    plain.optimiser.zero_grad()
    step = peak_bytes(lambda: plain.step(batch), plain.device)
    return (step + held_bytes(plain.method, plain.optimiser)) / 1e9


def _where(device: torch.device) -> dict[str, Any]:
    described = environment.describe()
    return {
        "device": device_name(device),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "versions": {
            name: described["packages"][name] for name in ("torch", "open_clip_torch", "lightning-fabric")
        },
        "python": described["python"],
        "commit": described["commit"],
        "date": date.today().isoformat(),
    }


def render(speed: dict[str, Any]) -> None:
    """Print a measurement for a person."""
    height, width = speed["image_size"]
    print(
        f"{speed['method']} on {speed['backbone']}, {height}×{width}, batch {speed['batch_size']}, "
        f"{speed['precision']}, {'compiled' if speed['compiled'] else 'eager'}, {speed['device']}"
    )
    print(f"{speed['pairs_per_second']:.1f} pairs/s; {_spread(speed, 'ratio')} times the plain step")
    print(f"{_spread(speed, 'ratio_without_data')} times without the data of either")
    print(
        f"{speed['tflops']:.3g} TFLOP/s, {speed['matrix_fraction']:.0%} of the matrix rate "
        f"({speed['matrix_tflops']:.3g}); peak memory {speed['peak_memory_gb']:.2f} GB; "
        f"{speed['data_share']:.1%} of a step is data"
    )


def _spread(speed: dict[str, Any], name: str) -> str:
    low, high = speed[f"{name}_low"], speed[f"{name}_high"]
    return f"{speed[name]:.2f}" + ("" if low is None else f" [{low:.2f}, {high:.2f}]")


# -- the table ------------------------------------------------------------------------------------


def table(folder: Path = FOLDER) -> str:
    """Markdown tables of the measurements stored in `folder`: steps, and what `make bench` wrote.

    Raises FileNotFoundError when there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder", str(folder))
    stored = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    steps = [one for one in stored if "pairs_per_second" in one]
    suites = [one for one in stored if "benchmarks" in one]
    parts = [one for one in stored if "part" in one]
    tables = [*([_step_table(steps)] if steps else []), *([device_table(parts)] if parts else [])]
    return "\n\n".join([*tables, *map(_suite_table, suites)])


def _step_table(steps: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            f"{one['method']}, {one['backbone']}",
            "×".join(map(str, one["image_size"])),
            one["batch_size"],
            one["precision"] + (", compiled" if one["compiled"] else ""),
            f"{one['pairs_per_second']:.1f}",
            _spread(one, "ratio"),
            _spread(one, "ratio_without_data"),
            f"{one['tflops']:.3g}",
            f"{one['matrix_fraction']:.0%}",
            f"{one['peak_memory_gb']:.2f}",
            one["device"],
            one["date"],
        )
        for one in steps
    ]
    heads = ("step", "image", "batch", "precision", "pairs/s", "÷ plain step", "÷ plain, without data")
    return _markdown("Training step", (*heads, "TFLOP/s", "of matrix rate", "GB", "device", "date"), rows)


def _suite_table(suite: dict[str, Any]) -> str:
    machine = suite["machine_info"]
    rows = [
        (
            one["name"].removeprefix("test_").replace("_", " "),
            f"{1e3 * one['stats']['median']:.4g}",
            f"{1e3 * one['stats']['iqr']:.2g}",
            ", ".join(f"{name} {_short(value)}" for name, value in one["extra_info"].items()),
        )
        for one in suite["benchmarks"]
    ]
    where = [machine["cpu"].get("brand_raw", machine["machine"])]
    where += [f"{machine['cores']} cores"] if "cores" in machine else []
    where += [f"{name} {version}" for name, version in machine.get("versions", {}).items() if name == "torch"]
    title = f"make bench, {', '.join(where)}, {suite['datetime'][:10]}"
    return _markdown(title, ("benchmark", "median ms", "quartile range", "also"), rows)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _markdown(title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [f"## {title}", "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
