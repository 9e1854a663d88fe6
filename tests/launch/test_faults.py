"""Bad days: after each, nothing finished is lost, and the final table is the same to the last digit."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from light_runs import PLUGIN, light_machine, light_study, run_light
from study_files import write_study

from harness.cli import run, verbs
from harness.cli.run import run_study
from harness.evaluate import features
from harness.launch.cell import run_cell
from harness.launch.cells import LaunchOptions, run_cells
from harness.launch.context import Context
from harness.machine import environment
from harness.machine.errors import DataError, refusal_of
from harness.machine.files import atomic_write
from harness.machine.progress import Progress
from harness.store import checkpoint_files
from harness.store.cell_run import CellRun
from harness.store.results_table import write_results_table
from harness.store.runs import RunStore
from harness.train.loop import Trainer
from reports.assemble import build


@pytest.fixture(scope="module")
def untroubled(cuhk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on which nothing fell."""
    folder = tmp_path_factory.mktemp("untroubled")
    return run_light(light_study(folder), folder / "out", Context(light_machine(cuhk_root))).directory


@pytest.fixture
def context(cuhk_root: Path) -> Context:
    return Context(light_machine(cuhk_root))


def assert_same_table(store: RunStore, untroubled: Path) -> None:
    assert write_results_table(store).read_text() == (untroubled / "results.csv").read_text()


def notes_of(store: RunStore) -> str:
    return "\n".join(note for run in store.cells() for note in run.notes)


class Fallen(Exception):
    """What `after_epoch` raises to leave a cell cut off."""


def cut_off(store: RunStore, context: Context, folder: Path, epoch: int = 2) -> CellRun:
    """The first cell of the study, stopped after an epoch."""

    def stop(now: int, scores: object) -> None:
        if now == epoch:
            raise Fallen

    cell = light_study(folder).cells()[0]
    with pytest.raises(Fallen):
        run_cell(cell, store, context, after_epoch=stop)
    return store.open(cell, context.parts(cell))


# -- disks ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with next to no room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small disk needs root: run these tests in a container as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def test_a_disk_that_fills_during_a_checkpoint_keeps_the_last_one_and_the_run_goes_on_later(
    small_disk: Path, tmp_path: Path, context: Context, untroubled: Path
) -> None:
    resize(small_disk, "40m")
    store = RunStore(small_disk / "out")
    run = cut_off(store, context, tmp_path / "in", epoch=1)
    (checkpoint,) = (run.directory / "checkpoint").glob("epoch-*.pt")
    used = sum(path.stat().st_size for path in small_disk.rglob("*") if path.is_file())
    resize(small_disk, f"{(used + checkpoint.stat().st_size // 2) // 1024 + 64}k")
    first, second = light_study(tmp_path / "in").cells()
    with pytest.raises(OSError, match="No space left"):
        run_cells([first, second], store, context, LaunchOptions(context.machine, workers=1))
    # The disk is no fault of any cell: none has failed, and the second was not even begun.
    assert run.status.state == "queued"
    assert "No space left" in run.status.detail
    assert store.open(second, context.parts(second)).history == []
    assert checkpoint.exists()
    assert not [path for path in (run.directory / "checkpoint").iterdir() if path.suffix != ".pt"]
    resize(small_disk, "40m")
    assert_same_table(run_light(light_study(tmp_path / "in"), small_disk / "out", context), untroubled)


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, os.strerror(number)) for number in (errno.ENOSPC, errno.EACCES, errno.EISDIR)),
        RuntimeError("can't start new thread"),
    ],
    ids=str,
)
def test_a_full_disk_or_a_lack_of_threads_during_a_search_costs_no_trial(
    tmp_path: Path,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    search = {
        "trials": 3,
        "sampler": "random",
        "pruner": "none",
        "space": {"lr": {"low": 0.001, "high": 0.1}},
    }
    study, options = (
        light_study(tmp_path / "in", seeds=1, search=search),
        LaunchOptions(context.machine, workers=1),
    )
    full = iter([False, True])

    def save(*arguments: Any) -> None:
        if next(full, False):
            raise error
        saved(*arguments)

    saved = checkpoint_files.save
    monkeypatch.setattr(checkpoint_files, "save", save)
    assert run_study(study, options, tmp_path / "out", Progress()) == 1
    assert "nothing finished is lost" in capsys.readouterr().err
    assert run_study(study, options, tmp_path / "out", Progress()) == 0
    (found,) = json.loads((tmp_path / "out" / "search.json").read_text())["searches"]
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3


@pytest.mark.parametrize(("number", "reason"), [(errno.EMFILE, "error"), (errno.ENOMEM, "oom")])
def test_a_limit_that_one_cell_meets_fails_that_cell_and_the_others_run(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    meets, start_epoch = iter([True]), Trainer.start_epoch

    def start(self: Trainer, epoch: int) -> None:
        if next(meets, False):
            raise OSError(number, os.strerror(number))
        start_epoch(self, epoch)

    monkeypatch.setattr(Trainer, "start_epoch", start)
    store = run_light(light_study(tmp_path / "in"), tmp_path / "out", context)
    assert sorted((run.status.state, run.status.reason) for run in store.cells()) == [
        ("done", ""),
        ("failed", reason),
    ]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "memory"),
        (RuntimeError("can't start new thread"), "threads"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "open files"),
    ],
)
def test_a_run_that_is_short_of_something_says_so_in_a_line_exits_1_and_goes_on_later(
    error: Exception,
    word: str,
    tmp_path: Path,
    context: Context,
    untroubled: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, options = light_study(tmp_path / "in"), LaunchOptions(context.machine, workers=1)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(run, "illustrate", fail)
        assert run_study(study, options, tmp_path / "out", Progress()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line
    assert "nothing finished is lost" in line
    monkeypatch.setattr(Trainer, "start_epoch", lambda *_: pytest.fail("trained again"))
    assert_same_table(run_light(study, tmp_path / "out", context), untroubled)


def test_a_verb_that_is_short_of_memory_says_so_in_a_line_and_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ImportError("numpy cannot be imported") from MemoryError()

    with pytest.raises(typer.Exit) as caught, verbs.refusals():
        fail()
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err.startswith("out of memory")


def test_a_run_that_finds_the_disk_full_exits_1_with_a_sentence(
    small_disk: Path,
    tmp_path: Path,
    context: Context,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (small_disk / "filling").write_bytes(b"x" * 60_000)
    # Somebody else fills it after the free space was looked at: a disk that is full before is refused.
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10**12))
    options = LaunchOptions(context.machine, workers=1)
    assert run_study(light_study(tmp_path / "in"), options, small_disk / "out", Progress()) == 1
    printed = capsys.readouterr().err
    assert "No space left on device" in printed
    assert "nothing finished is lost" in printed


def test_a_store_that_can_only_be_read_is_reported_on_elsewhere_and_refused_in_place(
    small_disk: Path, tmp_path: Path, untroubled: Path
) -> None:
    resize(small_disk, "40m")
    shutil.copytree(untroubled, small_disk / "out")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert build([small_disk / "out"], tmp_path / "page.html").path.exists()
    with pytest.raises(OSError, match="Read-only") as caught:
        atomic_write(small_disk / "out" / "x", "y")
    assert caught.value.errno == errno.EROFS
    refusal = refusal_of(caught.value)
    assert refusal is not None
    assert "Read-only file system" in str(refusal)


# -- damaged files --------------------------------------------------------------------------------


def test_a_checkpoint_damaged_between_two_runs_is_named_and_the_digits_stay(
    tmp_path: Path, context: Context, untroubled: Path
) -> None:
    run = cut_off(RunStore(tmp_path / "out"), context, tmp_path / "in")
    (checkpoint,) = (run.directory / "checkpoint").glob("epoch-*.pt")
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    store = run_light(light_study(tmp_path / "in"), tmp_path / "out", context)
    assert_same_table(store, untroubled)
    assert "set aside" in notes_of(store)


def cut(path: Path, at: int | None = None) -> None:
    os.truncate(path, path.stat().st_size // 2 if at is None else at)


def flip(path: Path, at: int | None = None) -> None:
    """Change one bit, by default in the middle: the size stays, and what it is in may still be read."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1
    with path.open("r+b") as file:
        file.write(content)


FILES = ("history.jsonl", "results.json", "model-val.safetensors", "records/cuhk-pedes.val.t2i.parquet")


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_any_file_of_a_finished_cell_that_is_damaged_is_named_and_made_again_without_training(
    tmp_path: Path, context: Context, untroubled: Path, damage: Any, name: str, monkeypatch: Any
) -> None:
    shutil.copytree(untroubled, tmp_path / "out")
    run = RunStore(tmp_path / "out").cells()[0]
    whole = (run.directory / name).read_bytes()
    damage(run.directory / name)
    assert any(note.startswith(name) for note in run.notes)
    monkeypatch.setattr(Trainer, "start_epoch", lambda *_: pytest.fail("trained again"))
    store = run_light(light_study(tmp_path / "in"), tmp_path / "out", context)
    assert (run.directory / name).read_bytes() == whole
    assert_same_table(store, untroubled)
    assert name in notes_of(store)
    assert "next run" not in notes_of(store)


def test_a_report_uses_no_score_that_was_changed_after_its_cell_finished(
    tmp_path: Path, untroubled: Path
) -> None:
    shutil.copytree(untroubled, tmp_path / "out")
    store = RunStore(tmp_path / "out")
    path = store.cells()[0].directory / "results.json"
    path.write_text(re.sub(r'"R1": [0-9.]+', '"R1": 99.875', path.read_text()))
    page = build([store.directory], tmp_path / "page.html").path.read_text()
    assert "99.9" not in page
    assert "results.json is not as it was written" in page
    assert "99.8750" not in (store.directory / "results.csv").read_text()


@pytest.mark.parametrize("damage", [partial(cut, at=40), partial(flip, at=40), Path.unlink])
def test_a_history_damaged_while_its_cell_was_cut_off_is_restored_from_the_checkpoint(
    tmp_path: Path, context: Context, untroubled: Path, damage: Any
) -> None:
    run = cut_off(RunStore(tmp_path / "out"), context, tmp_path / "in")
    # The checkpoint after the second epoch may have been left out as not worth its time.
    first = run.history[0]
    damage(run.directory / "history.jsonl")
    store = run_light(light_study(tmp_path / "in"), tmp_path / "out", context)
    assert run.history[0] == first
    assert [line["epoch"] for line in run.history] == [1, 2, 3]
    assert "restored from the checkpoint" in notes_of(store)
    assert_same_table(store, untroubled)


def test_a_torn_last_line_of_history_costs_no_digit(
    tmp_path: Path, context: Context, untroubled: Path
) -> None:
    run = cut_off(RunStore(tmp_path / "out"), context, tmp_path / "in")
    with (run.directory / "history.jsonl").open("a") as file:
        file.write('{"epoch": 3, "loss')
    store = run_light(light_study(tmp_path / "in"), tmp_path / "out", context)
    assert [line["epoch"] for line in store.cells()[0].history] == [1, 2, 3]
    assert_same_table(store, untroubled)


def test_models_damaged_before_their_cell_was_evaluated_are_made_again(
    tmp_path: Path, context: Context, untroubled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, cell = RunStore(tmp_path / "out"), light_study(tmp_path / "in").cells()[0]
    with monkeypatch.context() as patch:
        patch.setattr(features, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_cell(cell, store, context)
    run = store.open(cell, context.parts(cell))
    flip(run.model_path("val"))
    assert_same_table(run_light(light_study(tmp_path / "in"), tmp_path / "out", context), untroubled)
    for selection in ("val", "last", "test"):
        run.load_model(selection)


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["status.json", "cell.json", "results.json"])
def test_a_finished_cell_with_a_damaged_file_ends_with_the_same_table(
    tmp_path: Path, context: Context, untroubled: Path, name: str
) -> None:
    shutil.copytree(untroubled, tmp_path / "out")
    (RunStore(tmp_path / "out").cells()[0].directory / name).write_text('{"half')
    assert_same_table(run_light(light_study(tmp_path / "in"), tmp_path / "out", context), untroubled)


# -- data and time --------------------------------------------------------------------------------


def test_a_dataset_that_vanishes_during_training_costs_nothing_and_is_missed_by_the_next_run(
    tmp_path: Path, cuhk_root: Path, untroubled: Path
) -> None:
    shutil.copytree(cuhk_root, tmp_path / "data")
    context, store = Context(light_machine(tmp_path / "data")), RunStore(tmp_path / "out")
    first, second = light_study(tmp_path / "in").cells()

    def vanish(epoch: int, scores: object) -> None:
        shutil.rmtree(tmp_path / "data" / "CUHK-PEDES", ignore_errors=True)

    assert run_cell(first, store, context, after_epoch=vanish).state == "done"
    with pytest.raises(DataError):
        run_cell(second, store, Context(context.machine))
    shutil.copytree(cuhk_root, tmp_path / "data", dirs_exist_ok=True)
    assert_same_table(run_light(light_study(tmp_path / "in"), tmp_path / "out", context), untroubled)


def test_a_clock_that_jumps_changes_no_digit_and_ends_no_cell(
    tmp_path: Path, context: Context, untroubled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: 1.7e9 - 1e8 * (-1) ** next(jumps) * next(jumps))
    study = light_study(tmp_path / "in", timeout_minutes=60)
    store = run_light(study, tmp_path / "out", context)
    assert_same_table(store, untroubled)
    assert all(0 < run.status.seconds < 3000 for run in store.cells())


@pytest.mark.parametrize("hours", [-50, 50])
@pytest.mark.parametrize("name", ["results.json", "records/cuhk-pedes.val.t2i.parquet"])
def test_a_clock_that_was_wrong_while_a_cell_finished_hides_no_damage(
    tmp_path: Path, context: Context, untroubled: Path, name: str, hours: int
) -> None:
    shutil.copytree(untroubled, tmp_path / "out")
    run = RunStore(tmp_path / "out").cells()[0]
    whole = (run.directory / name).read_bytes()
    status = run.directory / "status.json"
    wrong = status.stat().st_mtime_ns + hours * 3600 * 10**9
    os.utime(status, ns=(wrong, wrong))
    flip(run.directory / name)
    assert_same_table(run_light(light_study(tmp_path / "in"), tmp_path / "out", context), untroubled)
    assert (run.directory / name).read_bytes() == whole


def test_a_language_of_plain_ascii_changes_no_identity_and_stops_no_run(
    tmp_path: Path, cuhk_root: Path, untroubled: Path
) -> None:
    shutil.copytree(untroubled, tmp_path / "out")
    light_study(tmp_path / "in")
    command: list[Any] = [sys.executable, "-m", "harness", "run", tmp_path / "in" / "study.yaml"]
    command += ["--out", tmp_path / "out", "--data-root", cuhk_root, "--plugin", PLUGIN, "--device", "cpu"]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env={**os.environ, **ascii_only}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode("ascii", "replace")
    assert b"2 cells, 2 finished before" in done.stderr
    assert_same_table(RunStore(tmp_path / "out"), untroubled)


# -- processes ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_runs_of_one_study_at_once_train_every_cell_once_and_agree(
    tmp_path: Path, cuhk_root: Path, untroubled: Path
) -> None:
    light_study(tmp_path / "in")
    plugin = Path(__file__).parents[1] / "light_method.py"
    command: list[Any] = [sys.executable, "-m", "harness", "run", tmp_path / "in" / "study.yaml"]
    command += ["--out", tmp_path / "out", "--data-root", cuhk_root, "--plugin", plugin, "--workers", "1"]
    runs = [subprocess.Popen([*command, "--device", "cpu"], cwd=Path(__file__).parents[2]) for _ in "ab"]
    codes = sorted(run.wait() for run in runs)
    # The one that comes to a cell second may find it still being trained, and says so by exit code 3.
    assert codes in ([0, 0], [0, 3])
    store = RunStore(tmp_path / "out")
    assert [len((run.directory / "history.jsonl").read_text().splitlines()) for run in store.cells()] == [
        3,
        3,
    ]
    assert_same_table(store, untroubled)


def test_a_password_on_the_command_line_is_never_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = "search.storage=postgresql://me:PLANTED-SECRET@host/db"
    monkeypatch.setattr(sys, "argv", ["harness", "run", "s.yaml", "--set", storage])
    command = environment.command()
    assert "PLANTED-SECRET" not in command
    assert "postgresql://me:***@host/db" in command


def test_a_study_name_that_leaves_the_folder_of_runs_is_refused(tmp_path: Path) -> None:
    from harness.machine.errors import StudyError
    from harness.study.study import load_study

    for name in ("../x", "a/b", "..", "", "a\\b", "a\nb"):
        with pytest.raises(StudyError):
            load_study(write_study(tmp_path, name=name))


def test_a_study_file_damaged_while_the_study_runs_is_named_and_written_anew(
    tmp_path: Path, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = light_study(tmp_path / "in"), tmp_path / "out"
    options = LaunchOptions(light_machine(cuhk_root), workers=1)

    def damaging(*_: object) -> None:
        (out / "study.yaml").write_text("subset:!8\nselect: [")

    with monkeypatch.context() as patched:
        patched.setattr(run, "illustrate", damaging)
        assert run_study(study, options, out, Progress()) == 1
    assert "study.yaml: damaged" in capsys.readouterr().err
    assert run_study(study, options, out, Progress()) == 0
