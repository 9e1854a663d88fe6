"""Bad days: after each, nothing finished is lost, and the final table is the same to the last digit."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import write_cuhk
from light_runs import light_machine, light_study, run_light
from study_files import write_study

from harness import environment
from harness.context import Context
from harness.data.records import DataError
from harness.files import atomic_write
from harness.launch import Options, run_cell
from harness.progress import Progress
from harness.refusing import lines_of
from harness.resultstable import write_results_table
from harness.running import run_study
from harness.store import CellRun, RunStore
from reports.assemble import build


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("data")
    write_cuhk(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield root


@pytest.fixture(scope="module")
def untroubled(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on which nothing fell."""
    folder = tmp_path_factory.mktemp("untroubled")
    return run_light(light_study(folder), folder / "out", Context(light_machine(data_root))).directory


@pytest.fixture
def context(data_root: Path) -> Context:
    return Context(light_machine(data_root))


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
    status = run_cell(light_study(tmp_path / "in").cells()[0], store, context)
    assert status.state == "failed"
    assert "No space left" in status.detail
    assert checkpoint.exists()
    assert not [path for path in (run.directory / "checkpoint").iterdir() if path.suffix != ".pt"]
    resize(small_disk, "40m")
    assert_same_table(run_light(light_study(tmp_path / "in"), small_disk / "out", context), untroubled)


def test_a_run_that_finds_the_disk_full_exits_1_with_a_sentence(
    small_disk: Path, tmp_path: Path, context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_disk / "filling").write_bytes(b"x" * 60_000)
    options = Options(context.machine, workers=1)
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
    assert "Read-only file system" in "".join(lines_of(caught.value) or [])


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


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_records_cut_short_or_gone_are_evaluated_again_and_it_is_noted(
    tmp_path: Path, context: Context, untroubled: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(untroubled, tmp_path / "out")
    path = RunStore(tmp_path / "out").cells()[0].records_path("cuhk-pedes", "val", "t2i")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2]) if damage == "cut" else path.unlink()
    from harness import train

    monkeypatch.setattr(train, "train", lambda *_, **__: pytest.fail("trained again"))
    store = run_light(light_study(tmp_path / "in"), tmp_path / "out", context)
    assert path.read_bytes() == whole
    assert_same_table(store, untroubled)
    assert "cuhk-pedes.val.t2i were missing or cut short" in notes_of(store)


def test_a_damaged_line_of_history_costs_no_digit_and_is_noted(
    tmp_path: Path, context: Context, untroubled: Path
) -> None:
    run = cut_off(RunStore(tmp_path / "out"), context, tmp_path / "in")
    with (run.directory / "history.jsonl").open("a") as file:
        file.write('{"epoch": 3, "loss')
    store = run_light(light_study(tmp_path / "in"), tmp_path / "out", context)
    assert [line["epoch"] for line in store.cells()[0].history] == [1, 2, 3]
    assert_same_table(store, untroubled)


@pytest.mark.parametrize("name", ["status.json", "cell.json", "results.json"])
def test_a_finished_cell_with_a_damaged_file_ends_with_the_same_table(
    tmp_path: Path, context: Context, untroubled: Path, name: str
) -> None:
    shutil.copytree(untroubled, tmp_path / "out")
    (RunStore(tmp_path / "out").cells()[0].directory / name).write_text('{"half')
    assert_same_table(run_light(light_study(tmp_path / "in"), tmp_path / "out", context), untroubled)


# -- data and time --------------------------------------------------------------------------------


def test_a_dataset_that_vanishes_during_training_costs_nothing_and_is_missed_by_the_next_run(
    tmp_path: Path, data_root: Path, untroubled: Path
) -> None:
    shutil.copytree(data_root, tmp_path / "data")
    context, store = Context(light_machine(tmp_path / "data")), RunStore(tmp_path / "out")
    first, second = light_study(tmp_path / "in").cells()

    def vanish(epoch: int, scores: object) -> None:
        shutil.rmtree(tmp_path / "data" / "CUHK-PEDES", ignore_errors=True)

    assert run_cell(first, store, context, after_epoch=vanish).state == "done"
    with pytest.raises(DataError):
        run_cell(second, store, Context(context.machine))
    shutil.copytree(data_root, tmp_path / "data", dirs_exist_ok=True)
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


# -- processes ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_runs_of_one_study_at_once_train_every_cell_once_and_agree(
    tmp_path: Path, data_root: Path, untroubled: Path
) -> None:
    light_study(tmp_path / "in")
    plugin = Path(__file__).with_name("light_method.py")
    command: list[Any] = [sys.executable, "-m", "harness", "run", tmp_path / "in" / "study.yaml"]
    command += ["--out", tmp_path / "out", "--data-root", data_root, "--plugin", plugin, "--workers", "1"]
    runs = [subprocess.Popen([*command, "--device", "cpu"], cwd=Path(__file__).parent.parent) for _ in "ab"]
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
    from harness.study import load_study
    from harness.studyfile import StudyError

    for name in ("../x", "a/b", "..", "", "a\\b", "a\nb"):
        with pytest.raises(StudyError):
            load_study(write_study(tmp_path, name=name))
