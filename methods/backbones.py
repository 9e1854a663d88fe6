"""Which backbones there are and how large they are, read from JSON without importing torch or open_clip."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.registry import UnknownNameError

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
OWN_CONFIGS = Path(__file__).with_name("configs")


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of a dual encoder, and the open_clip configuration they come from."""

    name: str
    embed_dim: int
    """Width of the joint embedding."""
    patch_size: int
    """Pixels along the side of a patch."""
    image_size: tuple[int, int]
    """Height and width the pretrained weights were made for."""
    vision_width: int
    text_width: int
    context_length: int
    """Tokens of a caption, start and end included."""
    vocab_size: int
    raw: dict[str, Any]
    """The configuration in open_clip's own form."""
    mean: tuple[float, float, float] = OPENAI_MEAN
    """Per channel, what pixels are normalised by; the weights decide."""
    std: tuple[float, float, float] = OPENAI_STD
    """Likewise, divided by."""


@cache
def _config_files() -> dict[str, Path]:
    spec = find_spec("open_clip")
    folders = [Path(folder) / "model_configs" for folder in (spec and spec.submodule_search_locations) or []]
    files = [file for folder in [*folders, OWN_CONFIGS] for file in sorted(folder.glob("*.json"))]
    return {file.stem: file for file in files}


def _is_supported(raw: dict[str, Any]) -> bool:
    """Only plain CLIP: a vision transformer with a class token and CLIP's own text transformer."""
    vision, text = raw.get("vision_cfg", {}), raw.get("text_cfg", {})
    return (
        not raw.get("custom_text")
        and "multimodal_cfg" not in raw
        and not {"timm_model_name", "attentional_pool"} & vision.keys()
        and isinstance(vision.get("layers"), int)
        and vision.get("pool_type", "tok") == "tok"
        and not {"hf_model_name", "hf_tokenizer_name", "embed_cls", "no_causal_mask"} & text.keys()
        and text.get("vocab_size", 0) >= 8
    )


def backbone_names() -> tuple[str, ...]:
    """Names `backbone:` may take: open_clip's plain CLIP models, and our `tiny`."""
    return tuple(
        name for name, file in _config_files().items() if _is_supported(json.loads(file.read_text("utf-8")))
    )


def backbone_config(name: str) -> BackboneConfig:
    """Sizes of the backbone called `name`; raises `UnknownNameError` with the nearest name that exists."""
    file = _config_files().get(name)
    raw = json.loads(file.read_text("utf-8")) if file else {}
    if not _is_supported(raw):
        raise UnknownNameError("backbone", name, backbone_names())
    return config_from_raw(name, raw)


def config_from_raw(name: str, raw: dict[str, Any]) -> BackboneConfig:
    """The sizes stated by an open_clip configuration."""
    vision, text = raw["vision_cfg"], raw["text_cfg"]
    size = vision["image_size"]
    return BackboneConfig(
        name=name,
        embed_dim=raw["embed_dim"],
        patch_size=vision["patch_size"],
        image_size=(size, size) if isinstance(size, int) else (size[0], size[1]),
        vision_width=vision["width"],
        text_width=text["width"],
        context_length=text["context_length"],
        vocab_size=text["vocab_size"],
        raw=raw,
    )


def adapt_to_recipe(
    config: BackboneConfig, text_length: int | None = None, normalisation: str = "clip"
) -> BackboneConfig:
    """`config` with the text length of a recipe (None: its own) and its normalisation of pixels."""
    if text_length is not None and text_length != config.context_length:
        text = {**config.raw["text_cfg"], "context_length": text_length}
        config = replace(config, context_length=text_length, raw={**config.raw, "text_cfg": text})
    if normalisation == "imagenet":
        config = replace(config, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return config


@cache
def _tag_list() -> str:
    """The text of open_clip's list of pretrained tags; empty where there is none to read."""
    spec = find_spec("open_clip")
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or []]
    files = [folder / "pretrained.py" for folder in folders]
    return "".join(file.read_text("utf-8") for file in files if file.is_file())


def why_no_weights(backbone: str, pretrained: str) -> str:
    """Why `pretrained:` cannot name weights of a backbone; empty when it may. Nothing is opened.

    A name that open_clip lists for another backbone passes: `methods.pretrained.find_weights` knows more.
    """
    if pretrained == "none" or Path(pretrained).expanduser().is_file():
        return ""
    if pretrained == "rendered":
        shipped = Path(__file__).with_name("weights") / f"{backbone}-rendered.safetensors"
        return "" if shipped.is_file() else f"no weights `rendered` are shipped for {backbone}"
    listed = _tag_list()
    if not listed or re.search(rf"(?<![\w-]){re.escape(pretrained)}(?![\w-])", listed):
        return ""
    return f"{pretrained!r} is neither a file nor a tag of open_clip (`rendered` and `none` also exist)"
