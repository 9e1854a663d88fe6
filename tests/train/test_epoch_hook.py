"""The hook before an epoch: every pair is examined once, its values reach its step, kills change nothing."""

import multiprocessing
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import Linear, MemoryRun, recipe, run_small, small_data, training_data, without_times
from torch import nn

from harness.data.sampler import SAMPLING_RULES
from harness.machine import devices
from harness.machine.seeds import seed_for
from harness.store.cell_run import CellRun
from harness.train import epoch_hook, step_inputs
from harness.train.epoch_hook import pair_statistics
from harness.train.loop import TrainingData, TrainingOptions

pytestmark = pytest.mark.usefixtures("own_fork_server")

EVERY_STEP = TrainingOptions(report_seconds=0, checkpoint_minutes=0)


class Killed(BaseException):
    pass


class Weighing(Linear):
    """Weighs pairs by what a pass over them says, by chance, and by what it remembers of earlier epochs."""

    examines_pairs = True
    dies_at: tuple[int, int] | None = None
    slow = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("remembered", torch.zeros(()))
        self.seen: list[tuple[bool, bool, torch.Tensor]] = []
        self.hooks: list[int] = []
        self.calls = 0

    def draw_noise(self, size, generator, device):
        return {**super().draw_noise(size, generator, device), "weight": torch.ones(size, device=device)}

    def examine(self, batch, noise):
        self.calls += 1
        if self.dies_at == (len(self.hooks), self.calls):
            raise Killed
        time.sleep(self.slow)
        self.seen.append((self.training, torch.is_grad_enabled(), batch.person_ids))
        image, text = self.encode_image(batch.images), self.encode_text(batch.captions)
        return {"cosine": nn.functional.cosine_similarity(self.gather(image), self.gather(text)).float()}

    def before_epoch(self, epoch, examined, generator):
        self.hooks.append(epoch)
        self.calls = 0
        self.remembered += examined["cosine"].mean().to(self.remembered.device)
        chance = torch.rand(len(examined["cosine"]), generator=generator)
        return {"weight": (examined["cosine"] > self.remembered.cpu()).float() + chance}

    def forward(self, batch, noise):
        losses = super().forward(batch, noise)
        return {name: loss * noise["weight"].mean() for name, loss in losses.items()}


def weighing(seed: int = 0) -> Weighing:
    torch.manual_seed(seed)
    return Weighing()


def assert_same(run: MemoryRun, expected: MemoryRun) -> None:
    assert without_times(run.history) == without_times(expected.history)
    for selection, (epoch, weights) in expected.models.items():
        assert run.models[selection][0] == epoch
        for name, weight in weights.items():
            assert torch.equal(run.models[selection][1][name], weight), (selection, name)


@pytest.mark.parametrize("rule", SAMPLING_RULES)
def test_the_hook_examines_every_training_pair_once_in_evaluation_mode_without_gradients(rule):
    settings = recipe(epochs=2, sampler=rule)
    data, method = training_data(settings, persons=12), weighing()
    run_small(settings=settings, method=method, data=data)
    assert method.hooks == [0, 1]
    assert {(training, grad) for training, grad, _ in method.seen} == {(False, False)}
    persons = torch.cat([persons for _, _, persons in method.seen])
    assert torch.equal(persons.sort().values, torch.arange(12).repeat_interleave(4).repeat(2).sort().values)


class Numbering(Linear):
    """Gives every pair the number that its caption has; a step checks that it got its own."""

    def draw_noise(self, size, generator, device):
        return {**super().draw_noise(size, generator, device), "number": torch.full((size,), -1)}

    def before_epoch(self, epoch, examined, generator):
        assert examined == {}
        return {"number": torch.arange(len(self.plain))}

    def forward(self, batch, noise):
        if noise["number"][0] >= 0:
            assert torch.equal(self.plain[noise["number"]].long(), batch.captions)
            self.checked += len(batch.captions)
        return super().forward(batch, noise)


def test_a_step_finds_the_values_of_its_own_pairs_in_its_noise():
    settings = recipe(epochs=2)
    data, method = training_data(settings), Numbering()
    method.plain, method.checked = data.train._plain, 0
    run_small(settings=settings, method=method, data=data)
    assert method.checked == 2 * len(method.plain)


def test_values_of_another_number_of_pairs_are_refused():
    method = Numbering()
    method.plain = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"'number' has shape \[3\]; wanted one row for each of the 32"):
        run_small(method=method)


@pytest.mark.parametrize("options", [EVERY_STEP, TrainingOptions(report_seconds=0)], ids=["steps", "epochs"])
@pytest.mark.parametrize("dies_at", [(0, 1), (1, 1), (1, 3), (2, 4)])
def test_stopped_inside_the_hook_and_continued_a_run_ends_the_same_bit_for_bit(dies_at, options):
    settings = recipe()
    expected, run, dying = run_small(settings=settings, method=weighing())[0], MemoryRun(), weighing()
    dying.dies_at = dies_at
    with pytest.raises(Killed):
        run_small(run, settings=settings, method=dying, options=options)
    resumed = weighing(0 if run.checkpoint is None else 99)
    run_small(run, settings=settings, method=resumed, options=options)
    assert_same(run, expected)


def test_a_run_that_resumes_within_an_epoch_keeps_its_values_and_does_not_run_the_hook_again():
    settings = recipe()
    expected, run = run_small(settings=settings, method=weighing())[0], MemoryRun()
    data = training_data(settings)
    batch, left = data.train.batch, iter(range(4 + 2, -1, -1))  # a pass of four batches, then two steps

    def dying(indices, draws=None):
        if next(left) == 0:
            raise Killed
        return batch(indices, draws)

    data.train.batch = dying
    with pytest.raises(Killed):
        run_small(run, settings=settings, method=weighing(), data=data, options=EVERY_STEP)
    state = run.load_checkpoint()
    assert (state["epoch"], state["step"], state["pair_values"].keys()) == (0, 2, {"weight"})
    resumed = weighing(99)
    run_small(run, settings=settings, method=resumed, options=EVERY_STEP)
    assert resumed.hooks == [1, 2]
    assert_same(run, expected)


def long_pass(directory: str) -> None:
    """What a process does until it is killed: nearly all of its time passes inside the hook."""
    torch.set_num_threads(1)
    method, settings = weighing(), recipe(epochs=3)
    method.slow = 0.05
    data = TrainingData(small_data(8), training_data(settings).batches, small_data(6), small_data(6, seed=2))
    run_small(CellRun(Path(directory)), settings=settings, method=method, data=data, options=EVERY_STEP)


def test_killed_with_sigkill_inside_the_hook_a_run_in_the_store_ends_the_same_bit_for_bit(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["small_runs", "harness.store.runs"])

    def start(name: str) -> multiprocessing.Process:
        process = context.Process(target=long_pass, args=(str(tmp_path / name),))
        process.start()
        return process

    undisturbed = start("undisturbed")
    undisturbed.join()
    kills, process = 0, None
    for wait in (0.15, 0.3, 0.45, 0.6):
        process = start("killed")
        time.sleep(wait)
        process.kill()  # it may have ended before
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 2
    process = start("killed")
    process.join()
    assert (undisturbed.exitcode, process.exitcode) == (0, 0)
    expected, run = CellRun(tmp_path / "undisturbed"), CellRun(tmp_path / "killed")
    assert without_times(run.history) == without_times(expected.history)
    for selection in ("val", "test", "last"):
        weights = load_file(run.model_path(selection))
        for name, weight in load_file(expected.model_path(selection)).items():
            assert torch.equal(weights[name], weight), (selection, name)


def test_neither_the_hook_nor_its_pass_draws_by_a_seed_of_a_training_step(monkeypatch):
    drawn = []

    def telling(*axes):
        drawn.append(seed_for(*axes))
        return drawn[-1]

    for module in (step_inputs, epoch_hook, devices):
        monkeypatch.setattr(module, "seed_for", telling)
    run_small(method=weighing(), epochs=2)
    assert len(drawn) == 2 * (1 + 2 * 4 * 3)  # epochs; the hook, then pass and training: steps, purposes
    assert len(set(drawn)) == len(drawn)


def test_the_hook_draws_anew_before_every_epoch():
    drawn = []

    class Drawing(Numbering):
        def before_epoch(self, epoch, examined, generator):
            drawn.append(torch.rand((), generator=generator).item())
            return {}

    torch.manual_seed(0)
    run_small(method=Drawing(), epochs=3)
    assert len(set(drawn)) == 3


def test_the_history_tells_values_of_moved_captions_from_those_in_place():
    values = {"trust": torch.tensor([1.0, 0.0, 0.5, 1.0])}
    moved = np.array([False, True, True, False])
    assert pair_statistics(values, moved) == {"trust": {"all": 0.625, "moved": 0.25, "in_place": 1.0}}
