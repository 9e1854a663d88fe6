"""A run killed at any moment and continued ends bit for bit like one that was never killed."""

import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import (
    TINY,
    MemoryRun,
    recipe,
    run_small,
    small_method,
    tiny_method,
    training_data,
    without_times,
)

from harness.store.cell_run import CellRun
from harness.train.best_epoch import TrainingProgress
from harness.train.checkpoint import CheckpointTimer, CheckpointWriter, pack
from harness.train.loop import TrainingOptions

pytestmark = pytest.mark.usefixtures("own_fork_server")

EVERY_STEP = TrainingOptions(report_seconds=0, checkpoint_minutes=0)
EPOCHS_ONLY = TrainingOptions(report_seconds=0, checkpoint_minutes=1e9)


class Killed(BaseException):
    pass


def killed_at(steps: int, data):
    """Let the data fail at its `steps`-th batch from now."""
    batch, left = data.train.batch, iter(range(steps, -1, -1))

    def dying(indices, draws=None):
        if next(left) == 0:
            raise Killed
        return batch(indices, draws)

    data.train.batch = dying
    return data


def assert_same(run: MemoryRun, expected: MemoryRun):
    assert without_times(run.history) == without_times(expected.history)
    assert run.models.keys() == expected.models.keys()
    for selection, (epoch, weights) in expected.models.items():
        assert run.models[selection][0] == epoch
        for name, weight in weights.items():
            assert torch.equal(run.models[selection][1][name], weight), (selection, name)


@pytest.mark.parametrize("options", [EVERY_STEP, EPOCHS_ONLY], ids=["every step", "epochs only"])
def test_stopped_at_any_step_and_continued_a_run_ends_the_same_bit_for_bit(options):
    settings = recipe()
    expected = run_small(settings=settings, options=EPOCHS_ONLY)[0]
    for steps in range(12):
        run = MemoryRun()
        with pytest.raises(Killed):
            run_small(run, settings=settings, options=options, data=killed_at(steps, training_data(settings)))
        # Another process has other random states; initial weights matter only before the first checkpoint.
        method = small_method(0 if run.checkpoint is None else 99)
        torch.manual_seed(steps)
        run_small(run, settings=settings, method=method, options=options)
        assert_same(run, expected)


def test_stopped_after_every_single_step_a_run_still_ends_the_same():
    settings = recipe()
    expected, run = run_small(settings=settings)[0], MemoryRun()
    for _ in range(11):
        with pytest.raises(Killed):
            run_small(run, settings=settings, options=EVERY_STEP, data=killed_at(1, training_data(settings)))
    run_small(run, settings=settings, options=EVERY_STEP)
    assert_same(run, expected)


def test_uit_stopped_within_an_epoch_and_continued_ends_the_same_bit_for_bit():
    settings = recipe(epochs=1, batch_size=2, lr=1e-3, warmup_epochs=0, image_size=TINY["size"])
    shape = {"persons": 2, **TINY}
    expected, run = MemoryRun(), MemoryRun()
    run_small(
        expected, settings=settings, method=tiny_method("uit", 2), data=training_data(settings, **shape)
    )
    data = killed_at(3, training_data(settings, **shape))
    with pytest.raises(Killed):
        run_small(run, settings=settings, method=tiny_method("uit", 2), data=data, options=EVERY_STEP)
    assert run.load_checkpoint()["step"] == 3
    run_small(run, settings=settings, method=tiny_method("uit", 2), data=training_data(settings, **shape))
    assert_same(run, expected)


def test_the_checkpoint_has_the_full_state_and_loads_without_running_code():
    run, settings = MemoryRun(), recipe()
    with pytest.raises(Killed):
        run_small(run, settings=settings, options=EVERY_STEP, data=killed_at(9, training_data(settings)))
    state = run.load_checkpoint()  # loaded with weights_only
    assert {
        "epoch",
        "step",
        "best",
        "kept",
        "model",
        "optimiser",
        "random",
        "epoch_stats",
        "pair_values",
    } <= state.keys()
    assert set(state["random"]) == {"torch", "cuda", "numpy", "python"}
    assert state["epoch"] == 2
    assert len(state["optimiser"]["state"]) > 0


def test_when_training_is_over_the_optimiser_is_not_kept():
    state = run_small()[0].load_checkpoint()
    assert state["epoch"] == 3
    assert state["optimiser"] is None


def test_weights_that_are_both_present_and_best_are_written_once():
    run = run_small(epochs=1, options=EPOCHS_ONLY)[0]
    state = run.load_checkpoint()
    assert state["best"]["val"]["epoch"] == 1
    assert state["kept"] == {}


def test_a_history_line_written_after_the_last_checkpoint_is_not_kept_twice():
    settings = recipe()
    run = MemoryRun()
    with pytest.raises(Killed):
        run_small(run, settings=settings, data=killed_at(8, training_data(settings)))
    run.append_history({"epoch": 3, "losses": {}, "lr": -1.0})  # its checkpoint was never finished
    run_small(run, settings=settings)
    assert [line["epoch"] for line in run.history] == [1, 2, 3]
    assert run.history[2]["lr"] > 0


def test_training_a_finished_run_again_changes_nothing_and_trains_nothing():
    settings = recipe()
    run = run_small(settings=settings)[0]
    before = without_times(run.history)
    models, run.models = run.models, {}
    _, _, chosen = run_small(
        run, settings=settings, method=small_method(5), data=killed_at(0, training_data(settings))
    )
    assert without_times(run.history) == before
    assert chosen == {selection: epoch for selection, (epoch, _) in models.items()}
    for selection, (_, weights) in models.items():
        assert all(torch.equal(run.models[selection][1][name], weight) for name, weight in weights.items())


def test_checkpoints_that_would_cost_too_much_of_the_time_are_left_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("harness.train.checkpoint.time.monotonic", lambda: now[0])
    timer = CheckpointTimer(minutes=10)
    assert timer.due_after_epoch()
    now[0] = 4.0
    timer.written(since=1.0)  # training waited three seconds
    now[0] = 4.0 + 3.0 / 0.005 - 1
    assert not timer.due_after_epoch()
    assert not timer.due_within_epoch()
    now[0] += 1
    assert timer.due_after_epoch()
    assert timer.due_within_epoch()


def test_a_state_is_written_as_it_was_however_long_the_disk_takes_and_however_training_goes_on():
    def slow(state, epoch):
        time.sleep(0.2)
        written[epoch] = state["model"]["weight"].clone()

    written: dict[int, torch.Tensor] = {}
    model = torch.nn.Linear(2, 2, bias=False)
    adam = torch.optim.Adam(model.parameters(), lr=0.1)
    expected, writer = {}, CheckpointWriter(slow)
    for epoch in (1, 2):
        expected[epoch] = model.weight.detach().clone()
        writer.write(pack(TrainingProgress(epoch=epoch), model, adam), epoch)
        model.weight.grad = torch.ones(2, 2)
        adam.step()
    writer.close()
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[epoch], weight) for epoch, weight in expected.items())


def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_what_the_disk_said():
    class FullDisk(MemoryRun):
        def save_checkpoint(self, state, epoch):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run_small(FullDisk(), settings=recipe())


def long_run(directory: str) -> None:
    """What a process does until it is killed: training with the real store."""
    torch.set_num_threads(1)
    settings = recipe(epochs=6)
    data = training_data(settings, persons=24)
    run_small(
        CellRun(Path(directory)),
        settings=settings,
        data=data,
        options=TrainingOptions(checkpoint_minutes=0.0005),
    )


def start(directory: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["small_runs", "harness.store.runs"])
    process = context.Process(target=long_run, args=(str(directory),))
    process.start()
    return process


def test_killed_with_sigkill_at_random_moments_a_run_in_the_store_ends_the_same_bit_for_bit(tmp_path):
    start(tmp_path / "warm-up").join()
    began = time.monotonic()
    undisturbed = start(tmp_path / "undisturbed")
    undisturbed.join()
    duration = time.monotonic() - began
    assert undisturbed.exitcode == 0
    chance, kills, process = random.Random(4), 0, None
    while process is None or process.exitcode != 0:
        process = start(tmp_path / "killed")
        if kills < 8:
            time.sleep(chance.uniform(0, duration / 4))
            process.kill()  # it may have ended before
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 3
    expected, run = CellRun(tmp_path / "undisturbed"), CellRun(tmp_path / "killed")
    assert len(expected.history) == 6
    assert without_times(run.history) == without_times(expected.history)
    for selection in ("val", "test", "last"):
        assert run.model_epoch(selection) == expected.model_epoch(selection)
        weights = load_file(run.model_path(selection))
        for name, weight in load_file(expected.model_path(selection)).items():
            assert torch.equal(weights[name], weight), (selection, name)
