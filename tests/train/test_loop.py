"""The training loop: recipe, selection of epochs, history, divergence, precision."""

import json
import logging
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import (
    TINY,
    Linear,
    MemoryRun,
    recipe,
    run_small,
    small_method,
    tiny_method,
    training_data,
    without_times,
)

from harness.evaluate.features import scores
from harness.machine.devices import make_fabric, use_deterministic_algorithms
from harness.machine.seeds import seed_for
from harness.train.best_epoch import BestEpoch, TrainingProgress
from harness.train.loop import Trainer, TrainingDiverged, TrainingOptions, train
from harness.train.optimiser import make_optimiser, rate_factor, schedule, set_rates
from harness.train.step_inputs import StepInputs
from methods.base import Method
from methods.uit import UIT

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[1] / "golden" / "sen_small"))


def test_the_schedule_is_the_released_one_for_every_epoch():
    expected = json.loads((GOLDEN / "expected_eval.json").read_text())["lr_schedule"]
    factors = schedule(expected["total_epochs"], expected["warmup_epochs"], expected["warmup_factor"])
    assert [expected["base_lr"] * factor for factor in factors] == pytest.approx(
        expected["per_epoch"], rel=1e-9
    )


def test_a_run_without_warm_up_starts_at_the_full_rate_and_one_shorter_than_its_warm_up_never_leaves_it():
    assert schedule(4, 0)[0] == 1.0
    assert schedule(2, 5, 0.1) == pytest.approx([0.1, 0.28])


def test_groups_of_the_optimiser_learn_at_their_own_multiple_of_the_rate():
    settings = recipe(lr=1e-3, weight_decay=0.1)
    optimiser = make_optimiser(small_method(), settings)
    set_rates(optimiser, 0.5)
    rates = {round(group["lr"] / 5e-4, 6): group["weight_decay"] for group in optimiser.param_groups}
    assert set(rates) == {1.0, 2.0, 5.0}
    assert rates[1.0] == 0.1
    assert rates[2.0] == 0.0
    assert optimiser.defaults["eps"] == settings.adam_eps


def test_a_named_group_learns_at_the_recipes_absolute_rate_and_is_scheduled_like_the_rest():
    method = small_method()
    method.rate_groups = {"encoder": ("image.",)}
    inside = {id(p) for name, p in method.named_parameters() if name.startswith("image.")}
    assert inside
    optimiser = make_optimiser(method, recipe(lr=1e-5, weight_decay=0.1, group_lr={"encoder": 1e-3}))
    set_rates(optimiser, 0.5)
    for group in optimiser.param_groups:
        named = {id(p) in inside for p in group["params"]}
        assert len(named) == 1
        assert (group["lr"] == pytest.approx(5e-4)) == named.pop()
    assert {g["weight_decay"] for g in optimiser.param_groups if g["lr"] == 5e-4} == {0.1, 0.0}
    assert sum(len(g["params"]) for g in optimiser.param_groups) == len(
        [p for p in method.parameters() if p.requires_grad]
    )


def test_adamw_decays_weights_beside_the_gradient_and_matrices_alone_where_asked():
    torch.manual_seed(0)
    method = Linear().double()
    with torch.no_grad():
        method.image.bias.fill_(1.0)
    settings = recipe(lr=0.01, weight_decay=0.3, optimiser="adamw", decay_of="matrices", bias_lr_factor=1.0)
    optimiser = make_optimiser(method, settings)
    assert isinstance(optimiser, torch.optim.AdamW)
    weight, bias = method.image.weight.detach().clone(), method.image.bias.detach().clone()
    (method.image.weight.sum() * 2 + method.image.bias.sum() * 2).backward()
    optimiser.step()
    step = 0.01 * 2 / (2 + settings.adam_eps)
    assert torch.allclose(method.image.weight, weight * (1 - 0.01 * 0.3) - step)
    assert torch.allclose(method.image.bias, bias - step)


def test_by_iteration_the_rate_changes_every_step_and_a_killed_run_finds_its_place_again():
    settings = recipe(epochs=3, warmup_epochs=1, schedule="iteration", final_lr_factor=0.1)
    rates = [rate_factor(settings, epoch, step, 4) for epoch in range(3) for step in range(4)]
    assert rates[0] == settings.warmup_factor
    assert rates[3] == rates[4] == 1.0
    assert len(set(rates)) == len(rates) - 1
    assert rates[-1] > 0.1
    run, _, _ = run_small(epochs=3, warmup_epochs=1, schedule="iteration", final_lr_factor=0.1)
    assert [line["lr"] for line in run.history] == pytest.approx([1e-2 * rate for rate in rates[3::4]])


def test_one_step_of_adam_is_the_textbook_step_with_coupled_weight_decay():
    torch.manual_seed(0)

    class One(Method):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(5, dtype=torch.float64))

    method = One()
    before = method.weight.detach().clone()
    optimiser = make_optimiser(method, recipe(lr=0.01, weight_decay=0.3))
    (method.weight**3).sum().backward()
    optimiser.step()
    gradient = 3 * before**2 + 0.3 * before
    expected = before - 0.01 * gradient / (gradient.abs() + 1e-3)
    assert torch.allclose(method.weight.detach(), expected, rtol=1e-12)


def test_training_lowers_every_loss_and_leaves_a_line_per_epoch():
    run, _, _ = run_small(epochs=6)
    first, last = run.history[0]["losses"], run.history[-1]["losses"]
    assert set(first) == {"match", "identity"}
    assert all(last[name] < first[name] for name in first)
    assert [line["epoch"] for line in run.history] == [1, 2, 3, 4, 5, 6]
    assert [line["lr"] for line in run.history] == pytest.approx([1e-2 * factor for factor in schedule(6, 1)])
    for line in run.history:
        assert line["pairs_per_second"] == pytest.approx(32 / line["seconds"])
        assert 0 < line["data_seconds"] < line["seconds"]
        assert line["peak_memory"] > 0


def test_the_mean_losses_of_the_history_are_those_of_its_steps():
    seen = []

    class Telling(Linear):
        def forward(self, batch, noise):
            losses = super().forward(batch, noise)
            seen.append({name: loss.item() for name, loss in losses.items()})
            return losses

    torch.manual_seed(0)
    run, _, _ = run_small(method=Telling(), epochs=1)
    for name, mean in run.history[0]["losses"].items():
        assert mean == pytest.approx(np.mean([losses[name] for losses in seen]), rel=1e-9)


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    same, other = [run_small(seed=3) for _ in range(2)], run_small(seed=4)
    assert without_times(same[0][0].history) == without_times(same[1][0].history)
    assert without_times(same[0][0].history) != without_times(other[0].history)
    for name, weight in same[0][1].state_dict().items():
        assert torch.equal(weight, same[1][1].state_dict()[name])


def scripted(monkeypatch, val, test=None):
    """Let evaluation return these R1 in turn."""
    values = iter([score for pair in zip(val, test or val, strict=True) for score in pair])
    monkeypatch.setattr("harness.train.loop.scores", lambda *_, **__: {"R1": next(values)})


def test_the_best_epoch_on_validation_is_chosen_the_earliest_on_ties(monkeypatch):
    scripted(monkeypatch, val=[10.0, 30.0, 20.0, 30.0], test=[4.0, 3.0, 2.0, 1.0])
    run, _, chosen = run_small(epochs=4)
    assert chosen == {"val": 2, "test": 1, "last": 4}
    assert {selection: epoch for selection, (epoch, _) in run.models.items()} == chosen


def test_the_models_left_are_those_of_the_chosen_epochs(monkeypatch):
    snapshots = {}
    method = small_method()

    def watch(epoch, _):
        snapshots[epoch] = {name: weight.clone() for name, weight in method.state_dict().items()}

    scripted(monkeypatch, val=[1.0, 3.0, 2.0], test=[5.0, 4.0, 4.0])
    run, _, _ = run_small(method=method, options=TrainingOptions(after_epoch=watch))
    for selection, epoch in (("val", 2), ("test", 1), ("last", 3)):
        for name, weight in run.models[selection][1].items():
            assert torch.equal(weight, snapshots[epoch][name]), (selection, name)
    assert not torch.equal(snapshots[2]["image.weight"], snapshots[3]["image.weight"])


def test_without_any_valid_score_the_last_epoch_stands_in(monkeypatch):
    scripted(monkeypatch, val=[math.nan, math.nan, math.nan])
    assert run_small()[2] == {"val": 3, "test": 3, "last": 3}


def test_weights_of_a_best_epoch_are_kept_once_and_forgotten_when_beaten():
    progress = TrainingProgress()
    weights = {"w": torch.zeros(1)}
    progress.consider({"val": 1.0, "test": 1.0}, 1, weights)
    weights["w"] += 1
    progress.consider({"val": 2.0, "test": 0.5}, 2, weights)
    assert {epoch: float(model["w"]) for epoch, model in progress.kept.items()} == {1: 0.0, 2: 1.0}
    progress.consider({"val": 2.0, "test": 3.0}, 3, weights)
    assert sorted(progress.kept) == [2, 3]
    assert progress.best == {"val": BestEpoch(2, 2.0), "test": BestEpoch(3, 3.0)}


def test_history_has_the_scores_that_evaluating_the_model_gives():
    settings = recipe()
    data = training_data(settings)
    run, method, _ = run_small(settings=settings, data=data)
    for name, split in (("val", data.val), ("test", data.test)):
        assert run.history[-1][name] == scores(method, split, precision="fp32", tie_order="index")


def test_evaluation_happens_every_so_many_epochs_and_after_the_last():
    epochs = []
    run, _, chosen = run_small(
        epochs=5, evaluate_every=2, options=TrainingOptions(after_epoch=lambda epoch, _: epochs.append(epoch))
    )
    assert epochs == [2, 4, 5]
    assert ["val" in line for line in run.history] == [False, True, False, True, True]
    assert chosen["val"] in epochs


def test_what_after_epoch_raises_ends_the_run_with_its_epoch_on_record():
    class Pruned(Exception):
        pass

    def prune(epoch, val):
        assert val["queries"] == 24
        if epoch == 2:
            raise Pruned

    run = MemoryRun()
    with pytest.raises(Pruned):
        run_small(run, options=TrainingOptions(after_epoch=prune))
    assert [line["epoch"] for line in run.history] == [1, 2]
    assert run.models == {}


def test_a_method_that_does_not_train_keeps_its_initial_weights_as_epoch_0():
    class Untrained(Linear):
        trains = False

    torch.manual_seed(0)
    method = Untrained()
    before = {name: weight.clone() for name, weight in method.state_dict().items()}
    run, _, chosen = run_small(method=method)
    assert chosen == {"val": 0, "test": 0, "last": 0}
    assert run.history == []
    assert all(torch.equal(run.models["val"][1][name], weight) for name, weight in before.items())


class Poisoned(Linear):
    """Has a NaN loss at one step of the whole run."""

    def __init__(self, at):
        super().__init__()
        self.at, self.steps = at, 0

    def forward(self, batch, noise):
        self.steps += 1
        losses = super().forward(batch, noise)
        return {**losses, "match": losses["match"] * (torch.nan if self.steps == self.at else 1.0)}


@pytest.mark.parametrize("report_seconds", [0.0, 1e9])
def test_nan_in_a_loss_is_reported_with_its_exact_step_whenever_it_is_looked_for(report_seconds):
    run = MemoryRun()
    with pytest.raises(TrainingDiverged) as caught:
        run_small(
            run,
            method=Poisoned(at=6),
            options=TrainingOptions(report_seconds=report_seconds, checkpoint_minutes=0),
        )
    assert (caught.value.epoch, caught.value.step) == (2, 2)
    assert math.isnan(caught.value.losses["match"])
    assert "step 2 of epoch 2" in str(caught.value)
    assert [line["epoch"] for line in run.history] == [1]


def test_a_checkpoint_never_holds_the_state_after_a_nan():
    run = MemoryRun()
    with pytest.raises(TrainingDiverged):
        run_small(run, method=Poisoned(at=6), options=TrainingOptions(report_seconds=1e9))
    state = run.load_checkpoint()
    assert state["epoch"] == 1
    assert all(weight.isfinite().all() for weight in state["model"].values())


def test_weights_that_become_infinite_in_the_last_step_of_an_epoch_are_noticed_there():
    class Bursting(Linear):
        def forward(self, batch, noise):
            losses = super().forward(batch, noise)
            # Finite (0) itself, with an infinite gradient.
            zero = (self.image.bias.sum() * 0).clamp(min=0)
            return {**losses, "burst": torch.sqrt(zero)}

    run = MemoryRun()
    torch.manual_seed(0)
    with pytest.raises(TrainingDiverged):
        run_small(
            run,
            method=Bursting(),
            settings=recipe(batch_size=32),
            options=TrainingOptions(report_seconds=1e9),
        )
    assert run.checkpoint is None


def test_progress_hears_of_every_step_with_the_means_so_far_and_of_every_epoch():
    heard, lines = [], []

    class Watch:
        def on_step(self, epoch, step, steps, losses, pairs_per_second):
            heard.append((epoch, step, steps, set(losses), pairs_per_second > 0))

        def on_epoch(self, line):
            lines.append(line)

    run, _, _ = run_small(epochs=2, options=TrainingOptions(report_seconds=0, progress=Watch()))
    assert heard == [
        (epoch, step, 4, {"match", "identity"}, True) for epoch in (1, 2) for step in (1, 2, 3, 4)
    ]
    assert lines == run.history


def test_an_epoch_without_any_batch_is_lived_through():
    run, _, _ = run_small(settings=recipe(sampler="released", batch_size=64))
    assert [line["losses"] for line in run.history] == [{}, {}, {}]
    assert run.history[0]["pairs_per_second"] == 0


def test_released_precision_has_float16_weights_and_adam_state():
    run, method, _ = run_small(precision="released", lr=1e-3)
    assert {weight.dtype for weight in method.parameters()} == {torch.float16}
    state = run.optimiser["state"]
    assert {entry["exp_avg"].dtype for entry in state.values()} == {torch.float16}
    assert run.history[-1]["losses"]["match"] < run.history[0]["losses"]["match"]


def test_bf16_computes_in_bfloat16_and_keeps_float32_weights():
    dtypes = set()

    class Telling(Linear):
        def encode_image(self, images):
            features = super().encode_image(images)
            dtypes.add(features.dtype)
            return features

    torch.manual_seed(0)
    _, method, _ = run_small(method=Telling(), precision="bf16")
    assert dtypes == {torch.bfloat16}
    assert {weight.dtype for weight in method.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16", "fp32", "released"])
def test_noise_and_images_reach_a_method_as_they_were_drawn_in_every_precision(precision):
    drawn, seen = [], []

    class Telling(Linear):
        def draw_noise(self, size, generator, device):
            drawn.append(super().draw_noise(size, generator, device))
            return drawn[-1]

        def forward(self, batch, noise):
            seen.append(noise["jitter"].clone())
            assert batch.images.dtype == torch.float32
            assert batch.person_ids.dtype == torch.int64
            return super().forward(batch, noise)

    torch.manual_seed(0)
    run_small(method=Telling(), epochs=1, precision=precision)
    assert len(seen) == 4
    assert all(torch.equal(noise["jitter"], arrived) for noise, arrived in zip(drawn, seen, strict=True))


def test_a_compiler_that_fails_is_named_and_training_goes_on_to_the_same_numbers(monkeypatch, caplog):
    plain = run_small()[0]

    def failing(self, **_):
        def broken(*_, **__):
            raise RuntimeError("no compiler here")

        self._compiled_call_impl = broken

    monkeypatch.setattr(torch.nn.Module, "compile", failing)
    with caplog.at_level(logging.WARNING):
        compiled = run_small(options=TrainingOptions(compile="on", report_seconds=0))[0]
    assert "no compiler here" in caplog.text
    assert without_times(compiled.history) == without_times(plain.history)


def test_on_a_cpu_nothing_is_compiled_unless_asked_for(monkeypatch):
    monkeypatch.setattr("harness.train.loop.COMPILED_FROM", 0)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: pytest.fail("compiled"))
    run_small(epochs=1)


@pytest.mark.parametrize("device", ["gpu", "cuda:1000" if torch.cuda.is_available() else "cuda"])
def test_a_device_that_is_not_there_is_refused_by_name(device):
    with pytest.raises(ValueError, match=device):
        make_fabric("fp32", device=device)


@pytest.fixture
def deterministic():
    benchmark = torch.backends.cudnn.benchmark
    use_deterministic_algorithms()
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, benchmark


@pytest.mark.parametrize("name", ["uit", "uit-mlm"])
def test_methods_at_tiny_size_train_in_deterministic_mode(name, deterministic):
    settings = recipe(epochs=1, batch_size=4, lr=1e-4, image_size=TINY["size"])
    data = training_data(settings, persons=2, **TINY)
    run, _, _ = run_small(settings=settings, data=data, method=tiny_method(name, identities=2))
    assert torch.are_deterministic_algorithms_enabled()
    assert all(math.isfinite(loss) for loss in run.history[0]["losses"].values())


def test_uit_trains_in_released_precision_with_every_loss_finite():
    settings = recipe(epochs=1, batch_size=2, lr=1e-5, image_size=TINY["size"], precision="released")
    data = training_data(settings, persons=1, images=1, **TINY)
    run, method, _ = run_small(settings=settings, data=data, method=tiny_method("uit", identities=2))
    assert {weight.dtype for weight in method.parameters()} == {torch.float16}
    assert all(math.isfinite(loss) for loss in run.history[0]["losses"].values())


def draw_on_the_cpu(monkeypatch):
    """Every device gets the randomness that a CPU draws."""

    def generator(inputs, purpose, epoch, step):
        return torch.Generator().manual_seed(seed_for(inputs.seed, purpose, epoch, step))

    draw = UIT.draw_noise

    def drawn(method, size, generator, device):
        return {name: value.to(device) for name, value in draw(method, size, generator, "cpu").items()}

    monkeypatch.setattr(StepInputs, "generator", generator)
    monkeypatch.setattr(UIT, "draw_noise", drawn)


def uit_history(device, precision, compile="off"):
    settings = recipe(epochs=2, batch_size=8, lr=1e-4, image_size=TINY["size"], precision=precision)
    data = training_data(settings, device=device, **TINY)
    run, method = MemoryRun(), tiny_method("uit")
    fabric, options = make_fabric(precision, device=device), TrainingOptions(compile=compile)
    train(method, data, settings, run, seed=3, fabric=fabric, options=options)
    assert next(method.parameters()).device.type == device
    return run.history


def test_randomness_drawn_on_the_cpu_and_copied_trains_as_any_other(monkeypatch):
    expected = uit_history("cpu", "fp32")
    draw_on_the_cpu(monkeypatch)
    assert without_times(uit_history("cpu", "fp32")) == without_times(expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "apart"), [("fp32", 1e-3), ("bf16", 2e-2), ("released", 2e-2)])
@pytest.mark.parametrize("compile", ["off", "on"])
def test_uit_trains_on_cuda_as_on_the_cpu(precision, apart, compile, monkeypatch):
    draw_on_the_cpu(monkeypatch)
    on_cpu, on_cuda = uit_history("cpu", precision), uit_history("cuda", precision, compile)
    # Of the first epoch: what rounding adds to the weights grows with every step.
    for name, loss in on_cpu[0]["losses"].items():
        assert on_cuda[0]["losses"][name] == pytest.approx(loss, rel=apart), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["uit", "uit-mlm", "clip-itc"])
def test_a_step_on_cuda_never_makes_the_host_wait(name):
    settings = recipe(epochs=1, batch_size=8, lr=1e-4, image_size=TINY["size"], precision="bf16")
    data = training_data(settings, device="cuda", **TINY)
    fabric = make_fabric("bf16", device="cuda")
    trainer = Trainer(
        tiny_method(name), data, settings, MemoryRun(), 3, fabric, TrainingOptions(compile="off")
    )
    trainer.start_epoch(0)
    batches = list(trainer.remaining_batches(0))
    for number, (step, indices) in enumerate(batches[:3]):
        torch.cuda.set_sync_debug_mode("error" if number == 2 else "default")
        try:
            losses = trainer.training_step(*trainer.inputs(indices, 0, step))
            trainer.epoch_stats.add(losses, len(indices))
        finally:
            torch.cuda.set_sync_debug_mode("default")
