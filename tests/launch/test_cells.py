"""A cell runs once, resumes, fails with a reason, and leaves the same numbers however it came to its end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from factories import write_cuhk, write_rstp
from study_files import SMALL, write_study

from harness import registry
from harness.launch import cells
from harness.launch.cell import is_finished, run_cell
from harness.launch.cells import LaunchOptions, run_cells
from harness.launch.changes import reasons_not_reused
from harness.launch.context import Context
from harness.launch.units import WorkerDied
from harness.machine.environment import Machine
from harness.machine.errors import Pruned
from harness.store.cell_run import CellRun
from harness.store.cell_status import Status
from harness.store.runs import RunStore
from harness.study.cell import Cell
from harness.study.study import Study, load_study
from harness.train import loop

PLUGIN = Path(__file__).parents[1] / "light_method.py"


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_cuhk(root)
    write_rstp(root)
    return root


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        registry.load_plugin(PLUGIN)
        yield


@pytest.fixture
def machine(data_root: Path) -> Machine:
    return Machine(data_root=data_root, device="cpu", plugins=(PLUGIN,))


@pytest.fixture
def context(machine: Machine) -> Context:
    return Context(machine)


def study_of(folder: Path, **changes: Any) -> Study:
    folder.mkdir(exist_ok=True)
    recipe = {**SMALL["train"], "epochs": 3, "batch_size": 8, "lr": 0.01, "warmup_epochs": 0}
    default = {"methods": ["light"], "datasets": ["cuhk-pedes"], "seeds": 1, "train": recipe}
    return load_study(write_study(folder, **{**default, **changes}))


def first_cell(folder: Path, **changes: Any) -> Cell:
    return study_of(folder, **changes).cells()[0]


def opened(cell: Cell, store: RunStore, context: Context) -> CellRun:
    return store.open(cell, context.parts(cell))


def no_training(*arguments: Any, **options: Any) -> None:
    raise AssertionError("this cell was trained again")


def everything_but_time(run: CellRun) -> Any:
    measured = {"seconds", "pairs_per_second", "data_seconds", "evaluation_seconds", "peak_memory"}
    history = [{name: line[name] for name in line.keys() - measured} for line in run.history]
    return history, run.results, [run.records("cuhk-pedes", "val", "t2i")["rank"].tolist()]


def test_a_cell_leaves_models_history_records_and_every_score(tmp_path: Path, context: Context) -> None:
    store = RunStore(tmp_path / "out")
    cell = first_cell(tmp_path, evaluate={"targets": ["rstpreid"]}, keep=["val", "last", "test"])
    assert run_cell(cell, store, context).state == "done"
    run = opened(cell, store, context)
    assert [line["epoch"] for line in run.history] == [1, 2, 3]
    assert run.model_epoch("last") == 3
    scored = {(row["target"], row["selection"], row["direction"]) for row in run.results}
    assert len(scored) == len(run.results) == 2 * 3 * 2
    for target, selection, direction in scored:
        assert len(run.records(target, selection, direction)) > 0
    best = max(line["val"]["R1"] for line in run.history)
    assert run.model_epoch("val") == next(line["epoch"] for line in run.history if line["val"]["R1"] == best)


def test_a_finished_cell_is_not_touched(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, cell = RunStore(tmp_path / "out"), first_cell(tmp_path)
    run_cell(cell, store, context)
    before = {path: path.stat().st_mtime_ns for path in store.directory.rglob("*") if path.is_file()}
    monkeypatch.setattr(loop, "train", no_training)
    assert run_cell(cell, store, Context(context.machine)).state == "done"
    assert {path: path.stat().st_mtime_ns for path in store.directory.rglob("*") if path.is_file()} == before


def test_a_method_without_training_is_evaluated(tmp_path: Path, context: Context) -> None:
    store, cell = RunStore(tmp_path / "out"), first_cell(tmp_path, methods=["clip-zero-shot"])
    assert run_cell(cell, store, context).state == "done"
    run = opened(cell, store, context)
    assert run.history == []
    assert {row["epoch"] for row in run.results} == {0}


@pytest.mark.parametrize(
    ("trouble", "reason", "detail"),
    [
        ("nan", "nan", "training diverged"),
        ("oom", "oom", "CUDA out of memory"),
        ("error", "error", "RuntimeError: a bug of the method"),
        ("slow", "timeout", "gave up after"),
    ],
)
def test_a_failure_has_its_reason_and_the_next_run_tries_again(
    tmp_path: Path,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
    reason: str,
    detail: str,
) -> None:
    store, cell = RunStore(tmp_path / "out"), first_cell(tmp_path, timeout_minutes=1.1 / 60)
    monkeypatch.setenv("LIGHT_TROUBLE", trouble)
    status = run_cell(cell, store, context)
    assert (status.state, status.reason) == ("failed", reason)
    assert detail in status.detail
    assert "Traceback" in (opened(cell, store, context).directory / "error.txt").read_text()

    monkeypatch.delenv("LIGHT_TROUBLE")
    unlimited = first_cell(tmp_path)  # a limit of time is no part of the identity
    assert run_cell(unlimited, store, context).state == "done"
    assert not (opened(cell, store, context).directory / "error.txt").exists()
    assert len(store.all_cells()) == 1


def test_a_failed_cell_keeps_no_other_from_running(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHT_TROUBLE", "error")
    store = RunStore(tmp_path / "out")
    both = study_of(tmp_path, methods=["light", "clip-zero-shot"]).cells()
    runs = run_cells(both, store, context, LaunchOptions(context.machine, workers=1))
    assert [run.status.state for _, run in runs] == ["failed", "done"]
    assert [run.name for run in cells.failed(runs)] == [runs[0][1].name]
    table = (store.directory / "results.csv").read_text()
    assert ",failed,error,,,,,,,," in table


@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_cell_stopped_anywhere_ends_with_the_numbers_of_one_never_stopped(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    cell = first_cell(tmp_path)
    undisturbed, disturbed = RunStore(tmp_path / "one"), RunStore(tmp_path / "other")
    run_cell(cell, undisturbed, context)

    monkeypatch.setenv("LIGHT_TROUBLE", f"stop@{step}")
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, disturbed, context)
    stopped = opened(cell, disturbed, context)
    assert stopped.status.state == "queued"
    assert "resumes" in stopped.status.detail

    monkeypatch.delenv("LIGHT_TROUBLE")
    assert run_cell(cell, disturbed, context).state == "done"
    assert everything_but_time(stopped) == everything_but_time(opened(cell, undisturbed, context))


def test_a_new_target_is_evaluated_without_training_again(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path / "out")
    run_cell(first_cell(tmp_path), store, context)
    monkeypatch.setattr(loop, "train", no_training)
    cell = first_cell(tmp_path, evaluate={"targets": ["rstpreid"]})
    assert run_cell(cell, store, context).state == "done"
    assert {row["target"] for row in opened(cell, store, context).results} == {"cuhk-pedes", "rstpreid"}


def test_a_target_whose_data_changed_is_evaluated_anew(
    tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    shutil.copytree(data_root, root)
    context = Context(Machine(data_root=root, device="cpu"))
    store, cell = RunStore(tmp_path / "out"), first_cell(tmp_path, evaluate={"targets": ["rstpreid"]})
    run_cell(cell, store, context)
    shutil.rmtree(root / "RSTPReid")
    write_rstp(root, {"train": 6, "val": 3, "test": 5})
    monkeypatch.setattr(loop, "train", no_training)
    later = Context(context.machine)
    assert run_cell(cell, store, later).state == "done"
    galleries = {
        row["target"]: row["gallery"]
        for row in opened(cell, store, later).results
        if row["direction"] == "t2i"
    }
    assert galleries == {"cuhk-pedes": 6, "rstpreid": 10}


def test_a_damaged_model_is_made_again_from_the_checkpoint(tmp_path: Path, context: Context) -> None:
    store, cell = RunStore(tmp_path / "out"), first_cell(tmp_path)
    run_cell(cell, store, context)
    run = opened(cell, store, context)
    before = everything_but_time(run)
    run.model_path("val").write_bytes(b"nonsense")
    (run.directory / "results.json").unlink()
    assert run_cell(cell, store, context).state == "done"
    assert everything_but_time(run) == before


def test_a_search_may_end_a_cell_early(tmp_path: Path, context: Context) -> None:
    seen: list[int] = []

    def after_epoch(epoch: int, scores: Any) -> None:
        seen.append(epoch)
        assert 0 <= scores["R1"] <= 100
        if epoch == 2:
            raise Pruned(2)

    store, cell = RunStore(tmp_path / "out"), first_cell(tmp_path)
    with pytest.raises(Pruned):
        run_cell(cell, store, context, after_epoch=after_epoch)
    assert seen == [1, 2]
    status = opened(cell, store, context).status
    assert (status.state, status.detail, status.epoch) == ("pruned", "pruned after epoch 2", 2)


def test_a_cell_whose_search_loses_its_database_waits_with_what_it_has(
    tmp_path: Path, context: Context
) -> None:
    def after_epoch(epoch: int, scores: Any) -> None:
        if epoch == 2:
            raise ConnectionError("the database is gone")

    store, cell = RunStore(tmp_path / "out"), first_cell(tmp_path)
    with pytest.raises(ConnectionError):
        run_cell(cell, store, context, after_epoch=after_epoch)
    run = opened(cell, store, context)
    assert (run.status.state, run.status.detail) == ("queued", "the database is gone")
    assert [line["epoch"] for line in run.history] == [1, 2]
    seen: list[int] = []
    run_cell(cell, store, context, after_epoch=lambda epoch, _: seen.append(epoch))
    assert (run.status.state, seen[-1]) == ("done", 3)


def test_a_cell_that_another_process_trains_is_left_to_it(tmp_path: Path, context: Context) -> None:
    store, cell = RunStore(tmp_path / "out"), first_cell(tmp_path)
    run = opened(cell, store, context)
    with run.lock():
        run.set_status("running")
        assert run_cell(cell, store, context) == Status("running")
    assert run.history == []


def test_results_are_the_same_from_workers_as_from_one_process(tmp_path: Path, context: Context) -> None:
    cells = study_of(tmp_path, seeds=2).cells()
    tables = []
    for name, workers in (("one", 1), ("two", 2)):
        store = RunStore(tmp_path / name)
        runs = run_cells(cells, store, context, LaunchOptions(context.machine, workers=workers))
        assert all(run.status.state == "done" for _, run in runs)
        tables.append((store.directory / "results.csv").read_text())
    assert tables[0] == tables[1]


class OneAfterTheOther:
    """A launcher of several slots whose units run in this process when they are submitted.

    The worker of the cells in `dies` is killed when it begins them for the first time.
    """

    slots = 2

    def __init__(self, context: Context, dies: list[Cell]) -> None:
        self.context, self.dies, self.begun = context, list(dies), list[Cell]()

    def submit(
        self,
        _: Callable[..., Status],
        cell: Cell,
        identity: str,
        directory: Path,
        machine: Machine,
        pictures: bool,
    ) -> Future[Status]:
        assert (identity, machine) == (self.context.identity(cell), self.context.machine)
        self.begun.append(cell)
        future: Future[Status] = Future()
        if cell in self.dies:
            self.dies.remove(cell)
            future.set_exception(WorkerDied("killed"))
        else:
            future.set_result(run_cell(cell, RunStore(directory), self.context))
        return future

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        pass


def test_workers_begin_cells_in_the_order_of_the_study_and_one_whose_worker_died_before_new_ones(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = study_of(tmp_path, seeds=5, methods=["light"]).cells()
    launcher = OneAfterTheOther(context, dies=[planned[1]])
    monkeypatch.setattr(cells, "open_launcher", lambda *_: launcher)
    store = RunStore(tmp_path / "out")
    runs = run_cells(planned, store, context, LaunchOptions(context.machine, workers=2))
    assert [run.status.state for _, run in runs] == ["done"] * 5
    begun = [cell.seed for cell in launcher.begun]
    assert begun == [0, 1, 1, 2, 3, 4]


def test_what_is_to_be_done_while_workers_train_is_done_once_and_never_where_nothing_is_left(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = study_of(tmp_path, seeds=3, methods=["light"]).cells()
    launcher = OneAfterTheOther(context, dies=[])
    monkeypatch.setattr(cells, "open_launcher", lambda *_: launcher)
    begun_before: list[int] = []
    for _ in range(2):
        run_cells(
            planned,
            RunStore(tmp_path / "out"),
            context,
            LaunchOptions(context.machine, workers=2),
            meanwhile=lambda: begun_before.append(len(launcher.begun)),
        )
    assert begun_before == [2]


def test_a_cell_that_was_run_for_one_selection_is_finished_for_that_one_alone(
    tmp_path: Path, context: Context
) -> None:
    store, cell = RunStore(tmp_path / "out"), first_cell(tmp_path)
    assert run_cell(cell, store, context, selections=("val",)).state == "done"
    run = opened(cell, store, context)
    assert {row["selection"] for row in run.results} == {"val"}
    assert is_finished(run, cell, context, ("val",))
    assert not is_finished(run, cell, context)


def test_only_a_finished_cell_is_said_to_be_not_reused(tmp_path: Path, context: Context) -> None:
    store = RunStore(tmp_path / "out")
    before = opened(first_cell(tmp_path), store, context)
    before.fail("oom", "64 GiB wanted")
    recipe = {**SMALL["train"], "epochs": 2, "batch_size": 8, "lr": 0.01, "warmup_epochs": 0}
    other = opened(first_cell(tmp_path, train=recipe), store, context)
    assert before.name != other.name
    assert reasons_not_reused(store, [other]) == []
    before.finish()
    assert reasons_not_reused(store, [other]) == [f"not reused: {before.name}: setting epochs: was 3, is 2"]
    other.append_history({"epoch": 1})
    assert reasons_not_reused(store, [other]) == [], "it has begun"
