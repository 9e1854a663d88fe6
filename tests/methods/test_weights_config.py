"""Activation and normalisation of every accepted pair of backbone and tag are open_clip's own."""

from __future__ import annotations

import copy
from typing import Any

import open_clip
import pytest
import torch
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from methods.backbones import OPENAI_MEAN, backbone_config, backbone_names, config_from_raw
from methods.clip import Backbone
from methods.pretrained import adapt_to_weights

PAIRS = [(name, tag) for name in backbone_names() for tag in list_pretrained_tags_by_model(name)]


def shrunk(raw: dict[str, Any]) -> dict[str, Any]:
    """The configuration with two narrow layers a side: everything but sizes is kept."""
    small = copy.deepcopy(raw)
    vision, text = small["vision_cfg"], small["text_cfg"]
    vision |= {"layers": 2, "width": 32, "head_width": 16, "image_size": 2 * vision["patch_size"]}
    text |= {"layers": 2, "width": 32, "heads": 2, "vocab_size": 64, "context_length": 8}
    return {**small, "embed_dim": 16}


@pytest.mark.parametrize(("name", "tag"), PAIRS)
def test_features_are_those_of_open_clip_with_the_settings_of_the_tag(name: str, tag: str) -> None:
    stated: Any = get_pretrained_cfg(name, tag)
    config = adapt_to_weights(backbone_config(name), tag)
    assert (config.mean, config.std) == (tuple(stated["mean"]), tuple(stated["std"]))

    raw = shrunk(open_clip.get_model_config(name))
    raw["quick_gelu"] = bool(stated.get("quick_gelu"))
    vision, text = open_clip.CLIPVisionCfg(**raw["vision_cfg"]), open_clip.CLIPTextCfg(**raw["text_cfg"])
    torch.manual_seed(0)
    theirs = open_clip.CLIP(raw["embed_dim"], vision, text, quick_gelu=raw["quick_gelu"]).eval()
    side = raw["vision_cfg"]["image_size"]
    ours = Backbone(config_from_raw(name, shrunk(config.raw)), (side, side))
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
        ours.load_state_dict(theirs.state_dict())
        images, captions = torch.randn(4, 3, side, side), torch.randint(1, 60, (4, 8))
        for found, expected in (
            (ours.encode_image(images), theirs.encode_image(images)),
            (ours.encode_text(captions), theirs.encode_text(captions)),
        ):
            assert torch.cosine_similarity(found, expected).min() > 0.9999


def test_the_activation_of_a_tag_is_not_that_of_the_backbones_name() -> None:
    assert not backbone_config("ViT-B-32").raw.get("quick_gelu")
    assert adapt_to_weights(backbone_config("ViT-B-32"), "openai").raw["quick_gelu"]
    assert not adapt_to_weights(backbone_config("ViT-B-32"), "laion2b_s34b_b79k").raw["quick_gelu"]
    assert adapt_to_weights(backbone_config("ViT-L-14"), "laion2b_s32b_b82k").mean == (0.5, 0.5, 0.5)
    assert adapt_to_weights(backbone_config("tiny"), "rendered").mean == OPENAI_MEAN
