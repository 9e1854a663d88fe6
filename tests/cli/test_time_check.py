"""What `check` says of a study's time, and where it has it from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median

import psutil
import pytest
from light_runs import PLUGIN, RECIPE, light_machine, light_study, run_light
from study_files import write_study
from typer.testing import CliRunner

from harness.cli import time_check
from harness.cli.time_check import Pace, expected_time
from harness.cli.verbs import app
from harness.launch.cells import LaunchOptions
from harness.launch.context import Context
from harness.machine.environment import Machine
from harness.study.schema import Overhead
from harness.study.shipped import shipped_studies
from harness.study.study import load_study


@pytest.fixture
def parts() -> tuple[list, Context, LaunchOptions]:
    study, machine = load_study(shipped_studies()["smoke"]), Machine(None, "cpu")
    return study.cells(), Context(machine), LaunchOptions(machine, workers=2)


def test_time_comes_from_measured_speeds_where_every_method_has_one(
    parts: tuple[list, Context, LaunchOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, context, options = parts
    paces = {time_check._key(cell): (cell, Pace(16.0, 3.0, 1e9)) for cell in cells}
    monkeypatch.setattr(time_check, "_measured", lambda folders, device: paces)
    made = expected_time(cells, context, options, tmp_path)
    assert made is not None
    # Each cell: 2 epochs of 64 pairs at 16 pairs a second and 3 s of evaluation; two at once.
    assert made.seconds == pytest.approx(2 * (64 / 16 + 3))
    assert made.origin == "from speeds measured on this device"
    assert made.peak_memory == 1e9


def test_a_method_without_a_measured_speed_takes_its_flops_at_the_rate_that_others_reached(
    parts: tuple[list, Context, LaunchOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, context, options = parts
    monkeypatch.setattr(time_check, "_gflop", lambda cell: 2.0 if cell.method == "uit" else 1.0)
    paces = {
        time_check._key(cell): (cell, Pace(32.0, 0.0, 1e9)) for cell in cells if cell.method == "baseline"
    }
    monkeypatch.setattr(time_check, "_measured", lambda folders, device: paces)
    made = expected_time(cells, context, options, tmp_path)
    assert made is not None
    assert made.seconds == pytest.approx((2 * 64 / 32 + 2 * 64 / 16) / 2)
    assert "1 of 2 trainings from speeds measured on this device, the others from their FLOPs" in made.origin


def test_without_any_measured_speed_it_says_that_it_guesses_from_flops(
    parts: tuple[list, Context, LaunchOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, context, options = parts
    monkeypatch.setattr(time_check, "_measured", lambda folders, device: {})
    made = expected_time(cells, context, options, tmp_path)
    assert made is not None
    assert made.seconds > 0
    assert made.origin.startswith("from FLOPs, at 60 % of the")
    assert "not measured here yet" in " ".join(made.sentences())


def test_the_time_of_a_study_holds_that_of_measuring_its_overhead(
    parts: tuple[list, Context, LaunchOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, context, options = parts
    paces = {time_check._key(cell): (cell, Pace(16.0, 3.0, 1e9)) for cell in cells}
    monkeypatch.setattr(time_check, "_measured", lambda folders, device: paces)
    made = expected_time(
        cells, context, options, tmp_path, Overhead(against=["baseline"], steps=10, repeats=3, warmup=2)
    )
    assert made is not None
    # Each of two methods: 2 steps before, 3 blocks of 2 · 5, timed whole and in parts; one after another.
    step = cells[0].train.batch_size / 16
    assert made.overhead_seconds == pytest.approx(2 * 2 * (2 + 3 * 2 * 5) * step)
    assert made.seconds == pytest.approx(2 * (64 / 16 + 3) + made.overhead_seconds)
    assert "for the overhead" in next(made.sentences())


def test_the_time_of_a_study_holds_that_of_its_trials(
    parts: tuple[list, Context, LaunchOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, context, options = parts
    paces = {time_check._key(cell): (cell, Pace(16.0, 3.0, 1e9)) for cell in cells}
    monkeypatch.setattr(time_check, "_measured", lambda folders, device: paces)
    made = expected_time(cells, context, options, tmp_path, trials=[(cell, 3) for cell in cells])
    assert made is not None
    training = 2 * (64 / 16 + 3)  # 2 epochs of 64 pairs at 16 pairs a second and 3 s of evaluation
    assert made.trial_seconds == pytest.approx(6 * training / 2)  # two at once
    assert made.seconds == pytest.approx(2 * training / 2 + made.trial_seconds)
    assert "for the trials if none is pruned" in next(made.sentences())


def test_trials_that_are_left_take_time_where_every_cell_is_done(
    parts: tuple[list, Context, LaunchOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, context, options = parts
    paces = {time_check._key(cell): (cell, Pace(16.0, 3.0, 1e9)) for cell in cells}
    monkeypatch.setattr(time_check, "_measured", lambda folders, device: paces)
    made = expected_time([], context, options, tmp_path, trials=[(cells[0], 1), (cells[1], 0)])
    assert made is not None
    assert made.seconds == pytest.approx(2 * (64 / 16 + 3))


def test_a_study_of_other_batches_is_timed_by_the_rate_that_earlier_runs_reached(
    parts: tuple[list, Context, LaunchOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, context, options = parts
    monkeypatch.setattr(time_check, "_gflop", lambda cell: 2.0)
    other = replace(cells[0], train=cells[0].train.model_copy(update={"batch_size": 3}))
    paces = {time_check._key(other): (other, Pace(32.0, 5.0, 1e9))}
    monkeypatch.setattr(time_check, "_measured", lambda folders, device: paces)
    made = expected_time(cells, context, options, tmp_path)
    assert made is not None
    assert made.seconds == pytest.approx(2 * (64 / 32 + 5))
    assert made.origin == "from FLOPs, at the rate that other runs reached on this device"


def test_the_speeds_that_a_runs_own_history_has_give_the_time_and_memory_of_more_seeds(
    cuhk_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    context = Context(light_machine(cuhk_root))
    store = run_light(light_study(tmp_path / "study", seeds=2), tmp_path / "out", context)
    more = light_study(tmp_path / "study", seeds=6).cells()[2:]
    made = expected_time(more, context, LaunchOptions(context.machine, workers=2), store.directory)
    assert made is not None
    lines = [line for run in store.cells() for line in run.history]
    speed, evaluation = (
        median(line[name] for line in lines) for name in ("pairs_per_second", "evaluation_seconds")
    )
    pairs = len(context.dataset("cuhk-pedes", None).splits["train"].captions)
    assert len(lines) == 2 * 3
    assert made.seconds == pytest.approx(4 * 3 * (pairs / speed + evaluation) / 2)
    assert made.peak_memory == max(line["peak_memory"] for line in lines)
    assert made.device_memory == psutil.virtual_memory().total
    assert made.origin == "from speeds measured on this device"
    assert (made.measured, made.trained, made.workers) == (4, 4, 2)


READS_A_NUMBER = """
_forward = Light.forward


def _read(self, batch, noise):
    losses = _forward(self, batch, noise)
    self.last = next(iter(losses.values())).item()
    return losses


Light.forward = _read
"""


def test_the_time_of_a_plugins_method_is_counted_or_said_to_be_unknown(
    cuhk_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be read where operations are counted, as no number is there; training may."""
    monkeypatch.setattr(time_check, "RUNS", tmp_path / "none")
    light = PLUGIN.read_text().replace('"light"', '"reading"')
    (tmp_path / "reading.py").write_text(light + READS_A_NUMBER)
    monkeypatch.chdir(tmp_path)
    data = ["--data-root", str(cuhk_root), "--device", "cpu", "--plugin"]

    def said_of(name: str, plugin: Path) -> str:
        study = write_study(tmp_path, methods=[name], datasets=["cuhk-pedes"], seeds=1, train=RECIPE)
        done = CliRunner().invoke(app, ["check", str(study), *data, str(plugin)])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    assert "time of what is left: about" in said_of("light", PLUGIN)
    reading = said_of("reading", tmp_path / "reading.py")
    assert "time: not known: reading's operations cannot be counted without training it" in reading
