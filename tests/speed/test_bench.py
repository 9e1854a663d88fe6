"""`bench step` beside a plain step, and the table of what was kept."""

from __future__ import annotations

import json
from pathlib import Path

import factories
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from harness.cli import verbs
from harness.launch.context import Context, InputSpec
from harness.machine.devices import to_precision
from harness.machine.environment import Machine
from harness.registry import UnknownNameError
from harness.speed import bench
from harness.speed.candidates import Candidate
from harness.speed.reference_step import ReferencePairs, ReferenceStep, on_device, plain_loader
from methods.attention import Attention
from methods.backbones import OPENAI_MEAN
from methods.tokenizer import Tokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    factories.write_cuhk(folder)
    return folder


@pytest.fixture(scope="module")
def context(root: Path) -> Context:
    return Context(Machine(data_root=root, device="cpu"))


def wanted(**changes: object) -> bench.StepBench:
    small = {"dataset": "cuhk-pedes", "subset": None, "batch_size": 4, "steps": 1, "blocks": 2}
    return bench.StepBench(**{**small, **changes})  # type: ignore[arg-type]


@pytest.mark.slow
def test_bench_step_prints_pairs_per_second_and_the_ratio_to_the_plain_step(
    root: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept" / "step.json"
    arguments = "bench step --method baseline --dataset cuhk-pedes --subset 6 --batch-size 4 --steps 1"
    more = f"--blocks 2 --device cpu --json --data-root {root} --out {kept}"
    done = CliRunner().invoke(verbs.app, f"{arguments} {more}".split())
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["pairs_per_second"] > 0
    assert found["ratio_low"] <= found["ratio"] <= found["ratio_high"]
    assert found["reference"]["pairs_per_second"] > 0
    assert found["peak_memory_gb"] > 0
    assert 0 < found["data_share"] < 1
    assert found["tflops"] == pytest.approx(found["matrix_fraction"] * found["matrix_tflops"])
    expected = found["pairs_per_second"] * found["gflop_per_pair"] / 1e3
    assert found["tflops"] == pytest.approx(expected)
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["device"]
    assert found["date"]
    assert json.loads(kept.read_text()) == found
    table = CliRunner().invoke(verbs.app, ["bench", "table", str(kept.parent)])
    assert table.exit_code == 0
    assert f"{found['pairs_per_second']:.1f}" in table.output


def test_a_method_that_does_not_train_has_no_step() -> None:
    with pytest.raises(UnknownNameError, match="clip-zero-shot"):
        wanted(method="clip-zero-shot").cell(CPU)


def test_bad_choices_are_refused() -> None:
    done = CliRunner().invoke(verbs.app, ["bench", "step", "--precision", "fp8"])
    assert done.exit_code == 2
    assert "bf16, fp32, released" in done.output
    assert CliRunner().invoke(verbs.app, ["bench", "step", "--size", "tall"]).exit_code == 2
    assert CliRunner().invoke(verbs.app, ["bench", "table", "/nowhere"]).exit_code == 2


def test_the_plain_loader_makes_the_batches_that_training_has(context: Context) -> None:
    cell = wanted().cell(CPU)
    settings = cell.train.model_copy(
        update={"flip_probability": 0.0, "crop_padding": 0, "erase_probability": 0.0}
    )
    spec, data = InputSpec.of(cell), context.training_data(cell, CPU)
    split = context.images("cuhk-pedes", spec, "train").split
    pairs = ReferencePairs(split, settings, Tokenizer(spec.vocab_size, spec.context_length), context.tagger)
    indices = np.array([5, 0, 7])
    (sample,) = plain_loader(pairs, [indices], 0)
    plain, ours = on_device(sample, CPU), data.train.batch(indices)
    torch.testing.assert_close(plain.images, ours.images, atol=1e-6, rtol=0)
    for name in ("captions", "pruned", "content", "person_ids"):
        assert torch.equal(getattr(plain, name), getattr(ours, name)), name


def test_the_plain_loader_erases_with_the_recipes_value(context: Context) -> None:
    cell = wanted().cell(CPU)
    settings = cell.train.model_copy(update={"erase_probability": 1.0})
    spec = InputSpec.of(cell)
    split = context.images("cuhk-pedes", spec, "train").split
    pairs = ReferencePairs(split, settings, Tokenizer(spec.vocab_size, spec.context_length), context.tagger)
    value = torch.tensor(OPENAI_MEAN)[:, None, None]
    assert bool((pairs[0][0] == value).all(dim=0).any())


@pytest.mark.slow
def test_the_plain_step_encodes_the_text_twice_and_learns(context: Context) -> None:
    cell = wanted().cell(CPU)
    ours = Candidate(cell, context)
    plain = ReferenceStep(cell, context, ours.batches, workers=0)
    times = 0
    encode = plain.method.clip.text_tokens

    def counted(*arguments: torch.Tensor) -> torch.Tensor:
        nonlocal times
        times += 1
        return encode(*arguments)

    plain.method.clip.text_tokens = counted
    whole = plain.method.clip.encode_text
    plain.method.clip.encode_text = lambda words: (counted(words), whole(words))[1]
    before = next(plain.method.parameters()).detach().clone()
    seconds = plain.run(1)
    assert times == 2
    assert not any(isinstance(part, Attention) for part in plain.method.modules())
    assert 0 < seconds["without data"] < seconds["training step"]
    assert not torch.equal(before, next(plain.method.parameters()))


def test_the_plain_step_computes_the_same_losses(context: Context) -> None:
    cell = wanted().cell(CPU)
    ours = Candidate(cell, context)
    plain = ReferenceStep(cell, context, ours.batches, workers=0)
    batch, noise = ours.trainer.inputs(ours.batches[0], 0, 0)
    expected = ours.method(batch, noise)
    for precision, tolerance in (("fp32", 1e-4), ("released", 0.02)):  # released: float16, as on a GPU
        to_precision(plain.method, precision)
        found = plain.method(batch, noise)
        assert found.keys() == expected.keys()
        for name, loss in expected.items():
            assert torch.allclose(found[name].float(), loss, rtol=tolerance), (precision, name)


def test_the_table_shows_stored_steps_and_suites(tmp_path: Path) -> None:
    suite = {
        "machine_info": {
            "cpu": {"brand_raw": "A | CPU"},
            "machine": "x86_64",
            "cores": 2,
            "versions": {"torch": "2.11.0", "numpy": "2.4.6"},
        },
        "datetime": "2026-01-02T03:04:05",
        "benchmarks": [
            {
                "name": "test_ranking_is_quick",
                "stats": {"median": 0.25, "iqr": 0.01},
                "extra_info": {"ratio": 3.14159, "device": "cpu"},
            }
        ],
    }
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    text = bench.table(tmp_path)
    assert "| ranking is quick | 250 | 10 | ratio 3.142, device cpu |" in text
    assert "A | CPU, 2 cores, torch 2.11.0, 2026-01-02" in text


def test_stored_measurements_say_where_and_when_and_name_no_host() -> None:
    paths = sorted(bench.FOLDER.glob("*.json"))
    assert paths
    for path in paths:
        stored = json.loads(path.read_text())
        machine = stored.get("machine_info", stored)
        assert machine["versions"]["torch"]
        assert stored.get("date") or stored["datetime"]
        assert "node" not in machine


def test_memory_is_measured_with_no_gradient_left_from_the_step_before(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Candidate(wanted().cell(CPU), context)
    ours.run(1)
    held: list[bool] = []

    def peak(step: object, device: torch.device) -> int:
        held.append(any(weight.grad is not None for weight in ours.method.parameters()))
        return 0

    monkeypatch.setattr(bench, "peak_bytes", peak)
    bench._peak_memory(ours)
    assert held == [False]
