"""The verb `run` as a whole: what one stage found reaches the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from light_runs import RECIPE, light_machine, light_study

from harness.cli import run
from harness.launch.cells import LaunchOptions
from harness.machine.progress import Progress
from harness.search import study as search
from harness.speed import overhead
from harness.store.runs import RunStore
from harness.study.cell import Cell

FOUND = {("light", "cuhk-pedes", 1): {"lr": 0.004, "weight_decay": 0.25}}
SEARCH = {
    "trials": 2,
    "space": {"lr": {"low": 0.001, "high": 0.1}, "weight_decay": {"low": 0.0, "high": 0.5}},
}


def settings(cell: Cell) -> dict[str, float]:
    return {name: cell.all_settings()[name] for name in ("lr", "weight_decay")}


def test_the_settings_that_a_search_found_are_trained_and_their_cost_is_measured(
    tmp_path: Path, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Cell] = []
    monkeypatch.setattr(search, "search_study", lambda *_: FOUND)
    monkeypatch.setattr(overhead, "measure", lambda cells, *_: measured.extend(cells) or [])
    plan = light_study(
        tmp_path / "in",
        methods=["light", "clip-zero-shot"],
        seeds=1,
        search=SEARCH,
        overhead={"against": ["clip-zero-shot"]},
    )
    machine = light_machine(cuhk_root)
    code = run.run_study(plan, LaunchOptions(machine, workers=1), tmp_path / "out", Progress())
    assert code == 0
    made = [each.cell for each in RunStore(tmp_path / "out").cells()]
    cells = {cell.method: settings(cell) for cell in made if cell.trains}
    winner = FOUND["light", "cuhk-pedes", 1]
    assert cells["light-tuned"] == winner
    assert cells["light"] == {name: plan.cells()[0].all_settings()[name] for name in winner}
    assert cells["light"]["lr"] == RECIPE["lr"]
    assert [settings(cell) for cell in measured if cell.base == "light"] == [winner]
