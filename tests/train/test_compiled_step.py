"""The compiled step: one graph per method, made once, whatever else the process has compiled."""

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
from torch._dynamo.utils import counters

from harness.train.loop import TrainingOptions

COMPILED = TrainingOptions(compile="on", report_seconds=0)


@pytest.fixture(autouse=True)
def graphs_are_only_captured(monkeypatch):
    """What the compiler sees, without the minutes that generating code for it takes; a break is an error."""
    compiled = torch.nn.Module.compile

    def captured(self, **options):
        compiled(self, **options, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch.nn.Module, "compile", captured)
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def captured_graphs() -> int:
    return counters["stats"]["unique_graphs"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("uit", "bf16"),
        ("uit-mlm", "fp32"),
        ("clip-itc", "bf16"),
        ("rde", "bf16"),
        ("vfe-mim", "fp32"),
        ("clip-lora", "fp32"),
    ],
)
def test_a_step_is_one_graph_and_a_second_cell_of_the_method_uses_it_again(name, precision, caplog):
    settings = recipe(epochs=1, batch_size=4, lr=1e-4, image_size=TINY["size"], precision=precision)
    for _ in range(2):
        data = training_data(settings, persons=2, **TINY)
        run_small(settings=settings, data=data, method=tiny_method(name, identities=2), options=COMPILED)
        assert captured_graphs() == 1
    assert "torch.compile failed" not in caplog.text


class Scaled(Linear):
    """A method with a number that the compiler takes for granted."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def encode_image(self, images):
        return self.scale * super().encode_image(images)


def test_trials_of_twelve_settings_are_all_compiled(caplog):
    for number in range(1, 13):
        run_small(method=Scaled(float(number)), epochs=1, options=COMPILED)
        assert captured_graphs() == number
    assert "torch.compile failed" not in caplog.text


def test_the_smaller_batch_at_the_end_of_an_epoch_is_not_compiled_for_and_counts_the_same():
    settings = recipe(epochs=2, batch_size=12)
    plain = run_small(settings=settings, method=small_method())[0]
    compiled = run_small(settings=settings, method=small_method(), options=COMPILED)[0]
    assert len(plain.history) == 2
    assert captured_graphs() == 1
    assert without_times(compiled.history) == without_times(plain.history)


def test_a_run_that_resumes_at_the_small_batch_of_an_epoch_still_compiles_the_full_one_alone():
    settings = recipe(epochs=2, batch_size=12)
    every_step = TrainingOptions(compile="on", report_seconds=0, checkpoint_minutes=0)
    run, data = MemoryRun(), training_data(settings)
    batch, left = data.train.batch, iter(range(3, -1, -1))  # one for the compile trial

    def dying(indices, draws=None):
        if next(left) == 0:
            raise KeyboardInterrupt
        return batch(indices, draws)

    data.train.batch = dying
    with pytest.raises(KeyboardInterrupt):
        run_small(run, settings=settings, data=data, method=small_method(), options=every_step)
    assert run.load_checkpoint()["step"] == 2  # what is left of the epoch is its last, small batch
    torch.compiler.reset()
    counters.clear()
    run_small(run, settings=settings, method=small_method(), options=every_step)
    assert captured_graphs() == 1
