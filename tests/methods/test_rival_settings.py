"""Every setting of a rival changes a loss: a search over a setting is never without effect."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy import toy_batch, toy_method, toy_noise

from harness.registry import method as find_method

CHANGED: dict[str, dict[str, tuple[dict[str, Any], Any]]] = {
    "rde": {
        "token_selection": ({}, False),
        "word_corruption": ({}, False),
        "pair_loss": ({}, "sdm"),
        "tal_margin": ({}, 0.7),
        "tal_temperature": ({}, 0.2),
        "temperature": ({"pair_loss": "info_nce"}, 0.5),
        "trl_floor": ({"pair_loss": "trl"}, False),
        "selection_ratio": ({}, 0.8),
        "selection_width": ({}, 32),
        "selection_norm": ({}, "train"),
    },
    "vfe-mim": {
        "guide": ({}, "self"),
        "decoder_depth": ({}, 2),
        "masked_blocks": ({}, 0.2),
        "mim_weight": ({}, 3.0),
        "overwritten_captions": ({}, True),
        "temperature": ({}, 0.5),
        "sdm_weight": ({}, 3.0),
        "identity_weight": ({}, 3.0),
    },
    "clip-lora": {"adapter_rank": ({}, 3), "adapter_scale": ({}, 0.5), "temperature": ({}, 0.5)},
}
"""By method and setting: the settings beside it, and a value that is not its own."""
ELSEWHERE = {"division": "before an epoch, not in a step: tests/methods/test_rivals.py"}


def step_losses(name: str, **settings: Any) -> dict[str, float]:
    """The losses of a step, with weights that are zero at the start drawn anew."""
    method = toy_method(name, **settings)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for weight in method.parameters():
            if not weight.any():
                weight.copy_(torch.randn_like(weight))
    found = method(toy_batch(), toy_noise(method))
    return {name: loss.item() for name, loss in found.items()}


@pytest.mark.parametrize("name", CHANGED)
def test_every_setting_that_a_rival_can_use_is_tried(name: str) -> None:
    entry = find_method(name)
    used = set(entry.parameters({}))
    for beside, _ in CHANGED[name].values():
        used |= set(entry.parameters(beside))
    assert used - ELSEWHERE.keys() == CHANGED[name].keys()


@pytest.mark.parametrize(("name", "setting"), [(name, each) for name in CHANGED for each in CHANGED[name]])
def test_a_setting_of_a_rival_changed_from_its_default_changes_a_loss(name: str, setting: str) -> None:
    beside, value = CHANGED[name][setting]
    assert step_losses(name, **beside) != step_losses(name, **beside, **{setting: value})
    assert step_losses(name, **beside) == step_losses(name, **beside)


def test_the_share_of_selected_tokens_reaches_the_features_of_images_and_of_captions() -> None:
    batch = toy_batch()
    few, many = (toy_method("rde", selection_ratio=share).eval() for share in (0.3, 0.9))
    with torch.no_grad():
        for one, other in (
            (few.encode_image(batch.images), many.encode_image(batch.images)),
            (few.encode_text(batch.captions), many.encode_text(batch.captions)),
        ):
            assert torch.equal(one[:, :64], other[:, :64])
            assert not torch.allclose(one[:, 64:], other[:, 64:])
