"""What methods cost beside each other: fair turns, ratios with intervals, and a file the report reads."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import factories
import pytest
import torch
from small_runs import run_small, tiny_method
from torch import nn

from harness.launch.context import Context
from harness.machine.environment import Machine
from harness.machine.memory import held_bytes, keep_freed_memory, peak_bytes
from harness.speed import candidates, overhead, timing
from harness.store.runs import RunStore
from harness.study.study import Study, load_study
from reports.sections.overhead import measurements

CPU = torch.device("cpu")
STUDY = """
name: small
methods: [uit, baseline, clip-zero-shot]
datasets: [cuhk-pedes]
seeds: 1
train: {backbone: tiny, pretrained: none, image_size: [96, 32], epochs: 1, batch_size: 4, precision: fp32}
overhead: {against: baseline, steps: 2, warmup: 0, repeats: 2}
"""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("data")
    factories.write_cuhk(root)
    return Context(Machine(data_root=root, device="cpu"))


def study(folder: Path, *overrides: str) -> Study:
    path = folder / "small.yaml"
    path.write_text(STUDY)
    return load_study(path, overrides)


# -- fair turns -----------------------------------------------------------------------------------


def test_a_steady_drift_of_the_machine_cancels_within_a_block() -> None:
    now = 0.0

    def leg(cost: float) -> dict[str, float]:
        nonlocal now
        now += 1
        return {"step": cost + 0.25 * now}  # every leg slower than the one before

    found = timing.interleaved({"a": lambda: leg(1.0), "b": lambda: leg(3.0), "c": lambda: leg(1.0)}, 4)
    for a, b, c in zip(found["a"], found["b"], found["c"], strict=True):
        assert b["step"] - a["step"] == pytest.approx(2.0)
        assert c["step"] == pytest.approx(a["step"])


def test_turns_go_forth_and_back_and_everyone_begins_once() -> None:
    assert timing.turns(["a", "b"], 0) == ["a", "b", "b", "a"]
    assert timing.turns(["a", "b"], 1) == ["b", "a", "a", "b"]
    assert [timing.turns(["a", "b", "c"], block)[0] for block in range(4)] == ["a", "b", "c", "a"]


def test_the_interval_of_a_ratio_covers_the_truth_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(400):
        noise = torch.randn(2, 6, generator=generator).mul(0.1).exp()
        found = timing.ratio((1.39 * noise[0]).tolist(), noise[1].tolist())
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.39 <= found.high
    assert 0.92 < covered / 400 < 0.98


def test_one_block_gives_a_ratio_without_an_interval() -> None:
    assert timing.ratio([3.0], [2.0]) == timing.Ratio(pytest.approx(1.5), None, None)
    with pytest.raises(ValueError, match="positive"):
        timing.ratio([1.0, 0.0], [1.0, 1.0])


# -- memory ---------------------------------------------------------------------------------------


def test_peak_memory_counts_tensors_while_they_live() -> None:
    def one_after_the_other() -> None:
        for _ in range(5):
            torch.zeros(250_000).add_(1).view(500, 500)

    def together() -> None:
        kept = [torch.zeros(250_000) for _ in range(5)]
        del kept

    assert peak_bytes(one_after_the_other, CPU) == 1_000_000
    assert peak_bytes(together, CPU) == 5_000_000


def test_peak_memory_of_a_step_holds_activations_and_gradients() -> None:
    layer, inputs = nn.Linear(1000, 500, bias=False), torch.ones(200, 1000)

    def step() -> None:
        layer.zero_grad()
        layer(inputs).relu().sum().backward()

    activations, gradients = 2 * 200 * 500 * 4, 1000 * 500 * 4
    assert activations / 2 + gradients <= peak_bytes(step, CPU) <= activations + gradients + 10_000


def test_what_a_model_holds_between_steps_is_weights_and_both_moments() -> None:
    layer = nn.Linear(100, 50, bias=False)
    adam = torch.optim.Adam(layer.parameters())
    assert held_bytes(layer, adam) == 20_000
    layer(torch.ones(1, 100)).sum().backward()
    adam.step()
    assert held_bytes(layer, adam) == pytest.approx(3 * 20_000, abs=16)


def test_keeping_freed_memory_changes_no_weight_of_a_training_run() -> None:
    def weights() -> dict[str, torch.Tensor]:
        return run_small(epochs=1)[1].state_dict()

    before = weights()
    took_effect = keep_freed_memory()
    after = weights()
    assert isinstance(took_effect, bool)
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


# -- a study's overhead ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, context: Context) -> Path:
    folder = tmp_path_factory.mktemp("run")
    overhead.measure_study(study(folder), RunStore(folder), context)
    return folder


@pytest.mark.slow
def test_the_report_reads_time_parts_memory_parameters_compute_and_inference(measured: Path) -> None:
    found = {one.quantity: one for one in measurements(measured / "overhead.json") if one.method == "uit"}
    for quantity in ("training step", "data", "forward", "backward", "optimiser", "image encoding"):
        one = found[quantity]
        assert one.unit == "ms"
        assert one.value is not None
        assert one.value > 0
        assert one.ratio is not None
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.ratio <= one.high
    for quantity in ("peak memory", "parameters built", "parameters used", "compute per pair"):
        ratio = found[quantity].ratio
        assert ratio is not None
        assert ratio > 1
        exact = None if quantity == "peak memory" else ratio  # a peak is measured, once
        assert found[quantity].low == found[quantity].high == exact
    assert {one.against for one in found.values()} == {"baseline"}
    assert all(one.device for one in found.values())


@pytest.mark.slow
def test_tir_costs_nothing_at_inference(measured: Path) -> None:
    found = {one.quantity: one for one in measurements(measured / "overhead.json") if one.method == "uit"}
    assert found["inference compute per pair"].ratio == 1
    assert found["largest difference of features"].value == 0
    assert "bit for bit" in found["largest difference of features"].note


@pytest.mark.slow
def test_counts_are_those_of_the_method_that_trains(measured: Path) -> None:
    found = {one.quantity: one for one in measurements(measured / "overhead.json") if one.method == "uit"}
    method = tiny_method("uit", identities=6)
    trained = sum(weight.numel() for weight in method.parameters() if weight.requires_grad)
    assert found["parameters built"].value == pytest.approx(trained / 1e6)
    assert found["parameters used"].value == pytest.approx(trained / 1e6)


@pytest.mark.slow
def test_a_method_that_does_not_train_is_measured_at_inference_only(measured: Path) -> None:
    quantities = {
        one.quantity for one in measurements(measured / "overhead.json") if one.method == "clip-zero-shot"
    }
    assert {"image encoding", "text encoding"} <= quantities
    assert not quantities & {"training step", "forward", "peak memory"}


@pytest.mark.slow
def test_a_study_that_is_run_again_is_not_measured_again(
    measured: Path, tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (measured / "overhead.json").read_bytes()

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(overhead, "measure", refuse)
    overhead.measure_study(study(tmp_path), RunStore(measured), context)
    assert (measured / "overhead.json").read_bytes() == before


def test_a_measurement_that_fails_is_written_down_with_its_reason_and_tried_again(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(overhead, "measure", fail)
    overhead.measure_study(study(tmp_path), RunStore(tmp_path), context)
    found = measurements(tmp_path / "overhead.json")
    assert {one.method for one in found} == {"uit", "clip-zero-shot"}
    assert all(one.value is None and "CUDA out of memory" in one.note for one in found)
    done = [{"method": "uit", "against": "baseline", "quantity": "training step", "value": 1.0}]
    monkeypatch.setattr(overhead, "measure", lambda *_: done)
    overhead.measure_study(study(tmp_path), RunStore(tmp_path), context)
    assert json.loads((tmp_path / "overhead.json").read_text())[0]["value"] == 1.0


@pytest.mark.slow
def test_the_step_that_is_measured_is_the_one_that_trains(tmp_path: Path, context: Context) -> None:
    cell = study(tmp_path).cells()[0]
    one, parts = candidates.Candidate(cell, context), candidates.Candidate(cell, context)
    first = next(one.method.parameters()).detach().clone()
    one.run(2)
    seconds = parts.run_in_parts(2)
    assert set(seconds) == set(candidates.PARTS)
    assert all(map(math.isfinite, seconds.values()))
    trained = one.method.state_dict()
    for name, weight in parts.method.state_dict().items():
        assert torch.equal(weight, trained[name]), name
    assert not torch.equal(next(one.method.parameters()), first)


@pytest.mark.slow
def test_methods_too_large_to_take_turns_together_are_compared_two_at_a_time_with_the_same_rows(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = study(tmp_path, "overhead.against=[baseline, uit]")
    cells, asked = plan.cells(), plan.file.overhead
    assert asked is not None
    built = []
    plain = candidates.Candidate.__init__

    def counted(self: candidates.Candidate, cell: Any, *rest: Any, **options: Any) -> None:
        built.append(cell.method)
        plain(self, cell, *rest, **options)

    monkeypatch.setattr(candidates.Candidate, "__init__", counted)
    together = overhead.measure(cells, asked, context)
    assert built == ["uit", "baseline"]
    built.clear()
    monkeypatch.setattr(overhead, "TOGETHER", 0)
    in_pairs = overhead.measure(cells, asked, context)
    assert built == ["uit", "baseline", "baseline", "uit"], (
        "one that does not train needs no step of the other"
    )

    def rows(entries: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
        return {(one["method"], one["against"], one["quantity"]) for one in entries}

    assert rows(together) >= rows(in_pairs)
    assert {row for row in rows(together) - rows(in_pairs) if row[0] != "clip-zero-shot"} == set()
