"""Every method's step at full size on fake CUDA tensors: one device, no waiting, one graph, its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness import registry
from harness.launch.context import Context
from harness.machine.environment import Machine
from harness.speed.bench import StepBench
from harness.speed.candidates import Candidate
from harness.speed.fake_backward import RecordedHooks, backward
from harness.speed.rehearsal import DEVICE, NotForDeviceError, Rehearsal
from harness.study.schema import TrainSettings
from harness.train import step_inputs

PRECISIONS = ("bf16", "fp32", "released")
TRAINED = [entry.name for entry in registry.methods().values() if entry.trains]


def rehearsal(name: str, precision: str = "bf16", backbone: str = "ViT-B-16", **options: Any) -> Rehearsal:
    size = (96, 32) if backbone == "tiny" else (384, 128)
    train = TrainSettings(
        backbone=backbone, pretrained="none", image_size=size, batch_size=128, precision=precision
    )
    return Rehearsal(registry.method(name), train, **options)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", TRAINED)
def test_every_step_of_full_size_stays_on_the_device_and_never_waits_for_it(
    name: str, precision: str
) -> None:
    found = rehearsal(name, precision)
    step = found.step()
    assert step.losses
    assert all(loss.device == DEVICE and loss.shape == () for loss in step.losses.values())
    assert found.held_dtypes() == {torch.float16 if precision == "released" else torch.float32}
    assert 1e9 < step.peak < 80e9


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_every_step_of_full_size_is_one_graph(name: str) -> None:
    torch.compiler.reset()
    # Two encoders of twelve blocks are several hundred operations: the graph is of the whole step.
    assert rehearsal(name).capture() > 500
    torch.compiler.reset()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", TRAINED)
def test_backward_pass_and_optimiser_stay_on_the_device_and_reach_every_weight(
    name: str, precision: str
) -> None:
    found = rehearsal(name, precision, backbone="tiny")
    trained = [weight for weight in found.method.parameters() if weight.requires_grad]
    assert found.update() == len(trained)
    assert all(weight.grad is not None and weight.grad.device == DEVICE for weight in trained)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_backward_pass_and_optimiser_of_full_size_stay_on_the_device(name: str) -> None:
    assert rehearsal(name).update() > 0


def test_gradients_of_the_rehearsed_backward_pass_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    layer, norm = torch.nn.Linear(6, 6), torch.nn.LayerNorm(6)

    def total(hooks: RecordedHooks) -> torch.Tensor:
        with hooks:
            first, second = norm(layer(torch.linspace(0, 1, 24).view(4, 6))).relu().split(3, dim=1)
            first.register_hook(lambda gradient: 2 * gradient)
            return (Doubled.apply(first) * second + layer.weight.mean() + layer.bias[:3]).sum()  # type: ignore[no-untyped-call]

    weights = [*layer.parameters(), *norm.parameters()]
    expected = torch.autograd.grad(total(RecordedHooks()), weights)
    hooks = RecordedHooks()
    backward(total(hooks), hooks)
    for weight, gradient in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


class Doubled(torch.autograd.Function):
    """Twice its input."""

    fault: Callable[[torch.Tensor], object] | None = None

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return 2 * value

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        if Doubled.fault is not None:
            Doubled.fault(gradient)
        return 2 * gradient


@pytest.mark.parametrize("name", list(registry.methods()))
def test_features_are_computed_on_the_device(name: str) -> None:
    image, text = rehearsal(name, backbone="tiny").features()
    assert image.device == text.device == DEVICE
    assert image.shape == text.shape


def test_images_that_do_not_fit_on_the_device_arrive_there_without_waiting() -> None:
    assert rehearsal("uit", backbone="tiny", resident=False).step().losses


def waits_for_a_number(losses: dict[str, torch.Tensor]) -> None:
    next(iter(losses.values())).item()


def waits_for_a_copy(losses: dict[str, torch.Tensor]) -> None:
    torch.stack(list(losses.values())).cpu()


def waits_for_a_size(losses: dict[str, torch.Tensor]) -> None:
    torch.stack(list(losses.values())).nonzero()


def reads_a_cpu_tensor(losses: dict[str, torch.Tensor]) -> None:
    losses["mixed"] = (torch.stack(list(losses.values())) * torch.ones(len(losses))).sum()


def breaks_the_graph(losses: dict[str, torch.Tensor]) -> None:
    torch._dynamo.graph_break()


def planted(name: str, fault: Callable[[dict[str, torch.Tensor]], None]) -> Rehearsal:
    found = rehearsal(name, backbone="tiny")
    whole = found.method.forward

    def forward(batch: Any, noise: Any) -> dict[str, torch.Tensor]:
        losses = whole(batch, noise)
        fault(losses)
        return losses

    found.method.forward = forward  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize(
    "fault", [waits_for_a_number, waits_for_a_copy, waits_for_a_size, reads_a_cpu_tensor]
)
def test_a_step_that_waits_or_mixes_devices_is_refused(name: str, fault: Callable[..., None]) -> None:
    with pytest.raises(NotForDeviceError):
        planted(name, fault).step()


DEVICE_FAULTS: dict[str, Callable[[torch.Tensor], object]] = {
    "a number": lambda gradient: gradient.sum().item(),
    "a copy": lambda gradient: gradient[None].cpu(),
    "a CPU tensor": lambda gradient: gradient[None] * torch.ones(1, device="cpu"),
}


@pytest.mark.parametrize("fault", DEVICE_FAULTS)
@pytest.mark.parametrize("place", ["hook of a loss", "hook of a weight", "backward of a function"])
@pytest.mark.parametrize("name", ["uit", "irra", "rde"])
def test_a_backward_pass_that_waits_or_mixes_devices_is_refused(
    name: str, place: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hook(gradient: torch.Tensor) -> None:
        DEVICE_FAULTS[fault](gradient)

    def plant(losses: dict[str, torch.Tensor]) -> None:
        first = next(iter(losses))
        if place == "hook of a loss":
            losses[first].register_hook(hook)
        elif place == "backward of a function":
            losses[first] = Doubled.apply(losses[first])  # type: ignore[no-untyped-call]

    monkeypatch.setattr(Doubled, "fault", hook)
    found = planted(name, plant)
    if place == "hook of a weight":
        next(weight for weight in found.method.parameters() if weight.requires_grad).register_hook(hook)
    found.step()  # the forward pass alone does not see it
    with pytest.raises(NotForDeviceError):
        found.update()


@pytest.mark.parametrize("name", ["uit", "irra", "rde"])
@pytest.mark.parametrize("fault", DEVICE_FAULTS)
def test_an_augmentation_that_waits_or_mixes_devices_is_refused(
    name: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = step_inputs.draw_augmentation

    def drawn(*arguments: Any, **keywords: Any) -> Any:
        DEVICE_FAULTS[fault](torch.ones(4, device=DEVICE))
        return whole(*arguments, **keywords)

    monkeypatch.setattr(step_inputs, "draw_augmentation", drawn)
    with pytest.raises(NotForDeviceError):
        rehearsal(name, backbone="tiny").step()


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_that_breaks_the_graph_is_refused(name: str) -> None:
    torch.compiler.reset()
    with pytest.raises(NotForDeviceError, match="one graph"):
        planted(name, breaks_the_graph).capture()
    torch.compiler.reset()


@pytest.mark.parametrize("name", ["uit", "uit-mlm", "baseline"])
def test_the_estimate_of_memory_agrees_with_what_a_step_takes(name: str) -> None:
    """Measured as the tensors alive in a whole step (forward, backward, update) on a CPU, in float32."""
    cell = StepBench(method=name, subset=100, batch_size=128, precision="fp32").cell(torch.device("cpu"))
    context = Context(Machine(device="cpu"))
    measured = Candidate(cell, context).costs()["peak memory"]
    persons = len(context.dataset(cell.dataset, cell.subset).splits["train"].persons)
    estimate = Rehearsal(registry.method(name), cell.train, cell.overrides, persons=persons).step().peak / 1e9
    assert estimate == pytest.approx(measured, rel=0.15)
