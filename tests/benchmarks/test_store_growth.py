"""How long `run` takes to find that nothing is left to do in a store of 2,000 finished cells."""

from __future__ import annotations

import shutil
from pathlib import Path

from light_runs import light_machine, light_study
from pytest_benchmark.fixture import BenchmarkFixture

from harness.launch.cell import run_cell
from harness.launch.cells import LaunchOptions, failed, run_cells
from harness.launch.context import Context
from harness.store.runs import RunStore

CELLS = 2000


def test_finding_what_is_left_of_two_thousand_cells(
    benchmark: BenchmarkFixture, tmp_path: Path, cuhk_root: Path
) -> None:
    store, context = RunStore(tmp_path / "out"), Context(light_machine(cuhk_root))
    cells = light_study(tmp_path, seeds=CELLS).cells()
    run_cell(cells[0], store, context)
    first = store.open(cells[0], context.parts(cells[0]))
    for cell in cells[1:]:
        run = store.open(cell, context.parts(cell))
        shutil.copytree(first.directory / "records", run.directory / "records")
        for name in ("results.json", "history.jsonl", "model-val.safetensors"):
            shutil.copyfile(first.directory / name, run.directory / name)
        run.finish()

    def left() -> list[str]:
        runs = run_cells(cells, store, context, LaunchOptions(context.machine, workers=1))
        return [run.name for run in failed(runs)]

    assert benchmark.pedantic(left, rounds=3) == []
