"""Models by the names that open_clip gives them: pictures are read as open_clip reads them for the tag."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from toy import toy_backbone

from harness.data.augment import normalise
from harness.data.decoding import resized
from harness.launch.models import CheckpointError, OpenedModel, open_model
from methods import clip
from methods.backbones import backbone_config, backbone_names
from methods.clip import Backbone
from methods.pretrained import adapt_to_weights

PAIRS = [(name, tag) for name in backbone_names() for tag in list_pretrained_tags_by_model(name)]
SIDE = 48


def opened(monkeypatch: pytest.MonkeyPatch, name: str, tag: str) -> OpenedModel:
    """A model by its name, with small weights in place of a download."""

    def load(name: str, pretrained: str, size: tuple[int, int], seed: int) -> Backbone:
        backbone = toy_backbone()
        backbone.config = adapt_to_weights(backbone_config(name), pretrained)
        return backbone

    monkeypatch.setattr(clip, "load_backbone", load)
    return open_model(Path(f"{name}:{tag}"), image_size=(SIDE, SIDE))


def picture(width: int, height: int) -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("name", "tag"), PAIRS)
def test_a_square_picture_of_any_tag_becomes_the_pixels_that_open_clip_makes_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, tag: str
) -> None:
    stated: Any = get_pretrained_cfg(name, tag)
    keys = ("mean", "std", "interpolation", "resize_mode")
    own = image_transform_v2(PreprocessCfg(size=SIDE, **{key: stated[key] for key in keys}), is_train=False)
    content = picture(131, 131)
    spec = opened(monkeypatch, name, tag).input_spec()
    pixels = torch.from_numpy(resized(content, spec.image_size, resample=spec.test_resize))[None]
    assert torch.allclose(
        normalise(pixels, spec.mean, spec.std)[0], own(Image.open(io.BytesIO(content))), atol=1e-6
    )


def test_what_open_clip_does_otherwise_with_upright_pictures_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = opened(monkeypatch, "ViT-B-32", "openai").origin
    assert "pictures are squashed to the size, where open_clip cuts a square from their middle" in cut
    assert "squash" not in opened(monkeypatch, "ViT-H-14", "dfn5b").origin
    assert open_model(Path("tiny:rendered")).origin == "tiny with weights rendered, not trained here"


def test_a_size_that_was_assumed_and_does_not_fit_is_refused_with_the_option() -> None:
    with pytest.raises(CheckpointError, match=r"patch size 14; state another: --image-size HEIGHTxWIDTH"):
        open_model(Path("ViT-L-14:openai"))
