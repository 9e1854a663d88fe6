"""The small pre-trained starting point: what it knows before any training on a shipped dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.evaluate.features import scores
from harness.launch.context import Context, InputSpec
from harness.machine.environment import Machine
from harness.study.study import load_study
from methods.pretrained import SHIPPED_WEIGHTS

STUDY = """
name: start
methods: [clip-zero-shot]
datasets: [rendered-plaza, rendered-station, rendered-campus]
train: {backbone: tiny, pretrained: rendered, image_size: [96, 32], precision: fp32}
"""


def test_the_weights_are_at_most_ten_megabytes() -> None:
    assert (SHIPPED_WEIGHTS / "tiny-rendered.safetensors").stat().st_size <= 10_000_000


@pytest.mark.parametrize("dataset", ["rendered-plaza", "rendered-station", "rendered-campus"])
def test_zero_shot_knows_the_words_but_not_the_cameras(dataset: str, tmp_path: Path) -> None:
    """R1 is between 20 and 80 times chance: something to start from, and much left to learn."""
    file = tmp_path / "start.yaml"
    file.write_text(STUDY)
    cell = load_study(file).cell("clip-zero-shot", dataset, 0)
    context = Context(Machine(device="cpu", threads=torch.get_num_threads()))
    test = context.split(dataset, InputSpec.of(cell), "test", torch.device("cpu"))
    found = scores(context.method(cell), test, precision="fp32", tie_order="index")
    chance = 100 * 4 / 1000  # every person has 4 of the 1,000 test images
    assert found["gallery"] == 1000
    assert 20 * chance <= found["R1"] <= 80 * chance
