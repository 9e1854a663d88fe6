"""TBPS-CLIP trains, has what its released code has, and reads that code's checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from toy import toy_batch, toy_config, toy_method, toy_noise

from harness.launch.models import open_model
from methods.backbones import IMAGENET_MEAN, config_from_raw
from methods.clip import Backbone


@pytest.mark.parametrize("name", ["tbps-clip", "tbps-clip-simple"])
def test_the_patch_embedding_is_frozen_and_the_scale_is_learned(name: str) -> None:
    method = toy_method(name)
    torch.stack(list(method(toy_batch(), toy_noise(method)).values())).sum().backward()
    assert method.clip.visual.conv1.weight.grad is None
    assert method.clip.logit_scale.grad is not None
    assert all(parameter.grad is not None for parameter in method.parameters() if parameter.requires_grad)


def test_the_two_configurations_differ_in_their_losses_and_views() -> None:
    full, simple = toy_method("tbps-clip"), toy_method("tbps-clip-simple")
    assert full(toy_batch(), {}).keys() == {"nitc", "ritc", "citc", "simclr"}
    assert simple(toy_batch(), {}).keys() == {"nitc", "ritc"}
    assert dict(full.views) == {"second": "same", "strong_1": "strong", "strong_2": "strong"}
    assert not simple.views


def test_soft_labels_come_from_another_draw_of_the_texts_dropout() -> None:
    method = toy_method("tbps-clip-simple")
    plain = method(toy_batch(), {})["nitc"]
    again = method(toy_batch(), {})["nitc"]
    assert plain == again
    method.clip.drop_attention_of_text(0.5)
    seen = []
    for _ in range(2):
        torch.manual_seed(1)
        seen.append(method(toy_batch(), {})["nitc"].item())
    torch.manual_seed(2)
    assert seen[0] == seen[1] != method(toy_batch(), {})["nitc"].item()


def test_a_released_checkpoint_evaluates_with_its_own_inputs(tmp_path: Path) -> None:
    raw = {**toy_config().raw, "vision_cfg": {**toy_config().raw["vision_cfg"], "head_width": 64}}
    source = Backbone(config_from_raw("toy", raw), (32, 32))
    text = ("positional_embedding", "text_projection", "token_embedding", "ln_final", "transformer.")
    state = {
        (f"encode_text.{name}" if name.startswith(text) else name): value.clone().contiguous()
        for name, value in source.state_dict().items()
        if name != "attn_mask"
    }
    state["simclr_mlp.0.weight"] = torch.zeros(4, 64)
    file = tmp_path / "tbps.safetensors"
    save_file({"logit_scale": torch.tensor(4.6), **state}, file)
    model = open_model(file)
    assert model.image_size == (32, 32)
    assert model.origin.startswith("released TBPS-CLIP checkpoint")
    assert model.notes == ("simclr_mlp: training only",)
    spec = model.input_spec()
    assert (spec.mean, spec.test_resize, spec.caption_cleaning) == (IMAGENET_MEAN, "bicubic", True)
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(model.method.encode_image(images), source.encode_image(images), atol=1e-6)


def test_each_view_reaches_its_own_loss() -> None:
    method, batch = toy_method("tbps-clip"), toy_batch()
    views = {name: toy_batch(seed=seed).images for seed, name in enumerate(method.views, 1)}

    def losses(**changed: torch.Tensor) -> dict[str, float]:
        computed = method(replace(batch, views={**views, **changed}), {})
        return {name: value.item() for name, value in computed.items()}

    before, other = losses(), toy_batch(seed=9).images
    for name, reached in {"second": {"nitc"}, "strong_1": {"simclr"}, "strong_2": {"simclr"}}.items():
        after = losses(**{name: other})
        assert {loss for loss in before if before[loss] != after[loss]} == reached


def test_the_share_of_soft_labels_grows_over_the_first_epoch_and_then_stays() -> None:
    method = toy_method("tbps-clip-simple", soft_label_share=0.4)
    shares = [
        float(method.soft_share(replace(toy_batch(), epochs_done=torch.tensor(done))))
        for done in (0.0, 0.25, 1.0, 3.5)
    ]
    assert shares == pytest.approx([0.0, 0.1, 0.4, 0.4])
