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
from harness.speed.rehearsal import DEVICE, NotForDeviceError, Rehearsal
from harness.study.schema import TrainSettings

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
