"""Checkpoints of the authors' code, in and out: the released UIT (there: SEN) and IRRA layouts, and
open_clip's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import save_file
from torch import Tensor

from harness.registry import NoSettings
from methods.backbones import BackboneConfig, config_from_raw
from methods.blocks import heads_of
from methods.clip import Backbone, DualEncoder, load_weights
from methods.pretrained import read_state
from methods.restoration import sincos_positions
from methods.uit import ZeroShot

# Built by the released code, in its checkpoints, and used by nothing; positions are fixed and computed anew.
_NEVER_USED = ("cross_attn_TextImage.", "cross_attn_Image.", "norm_3.", "norm_5.", "decoder_pos_embed")
# Shapes of a grid of patches worth trying, rows per column; people are upright, three to one as published.
_ASPECTS = (3.0, 2.0, 1.0, 4.0, 2.5)


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """What a released checkpoint holds that evaluation needs, and what was left out."""

    encoder: DualEncoder
    """Both encoders, ready to evaluate."""
    layout: str
    """`UIT` (the authors' SEN code) or `IRRA`."""
    image_size: tuple[int, int]
    """Height and width the model was trained at."""
    skipped: tuple[str, ...]
    """One line for each part of the file that was not loaded."""


def is_released(state: Mapping[str, Tensor]) -> bool:
    """Whether weights by name follow the released UIT/SEN or IRRA layout."""
    return "base_model.visual.conv1.weight" in state


def infer_sizes(
    state: Mapping[str, Tensor], image_size: tuple[int, int] | None = None
) -> tuple[BackboneConfig, tuple[int, int]]:
    """Sizes of the backbone of a released checkpoint and its image size (height, width), from its tensors.

    The shape of the grid of patches comes from TIR's positions where there are any, else it is taken to be
    three times as high as wide (or another upright shape, where that cannot be); `image_size` overrules the
    guess. Raises ValueError when no shape fits.
    """
    base = {name.removeprefix("base_model."): value for name, value in state.items()}
    vision_width, _, _, patch = base["visual.conv1.weight"].shape
    embed_dim, text_width = base["text_projection"].shape[1], base["text_projection"].shape[0]
    if image_size is None:
        patches = len(base["visual.positional_embedding"]) - 1
        rows, columns = _infer_grid(patches, embed_dim, state.get("decoder_pos_embed"))
        image_size = rows * patch, columns * patch
    raw: dict[str, Any] = {
        "embed_dim": embed_dim,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": list(image_size),
            "layers": _depth(base, "visual.transformer.resblocks."),
            "width": vision_width,
            "head_width": vision_width // heads_of(vision_width),
            "patch_size": patch,
        },
        "text_cfg": {
            "context_length": len(base["positional_embedding"]),
            "vocab_size": len(base["token_embedding.weight"]),
            "width": text_width,
            "heads": heads_of(text_width),
            "layers": _depth(base, "transformer.resblocks."),
        },
    }
    return config_from_raw("released", raw), image_size


def _depth(state: Mapping[str, Tensor], prefix: str) -> int:
    found = (re.match(re.escape(prefix) + r"(\d+)\.", name) for name in state)
    return 1 + max(int(match[1]) for match in found if match)


def _infer_grid(patches: int, width: int, positions: Tensor | None) -> tuple[int, int]:
    shapes = [(rows, patches // rows) for rows in range(1, patches + 1) if patches % rows == 0]
    if positions is not None:
        for shape in shapes:
            if torch.allclose(sincos_positions(width, shape), positions[0].float(), atol=1e-3):
                return shape
    for aspect in _ASPECTS:
        for rows, columns in shapes:
            if rows == aspect * columns:
                return rows, columns
    raise ValueError(f"cannot tell the shape of a grid of {patches} patches; state the image size")


def load_released(file: Path, image_size: tuple[int, int] | None = None) -> ReleasedCheckpoint:
    """Both encoders of a released UIT/SEN or IRRA checkpoint, ready to evaluate on any dataset.

    Heads are left out, so the number of training persons does not matter.  No code of the file is run.
    Raises ValueError when the file is not such a checkpoint.
    """
    return from_state(read_state(file), image_size, source=str(file))


def from_state(
    state: Mapping[str, Tensor], image_size: tuple[int, int] | None = None, source: str = "checkpoint"
) -> ReleasedCheckpoint:
    """`load_released` for weights already read."""
    if not is_released(state):
        raise ValueError(f"{source}: not in the released UIT/SEN or IRRA layout (no base_model.visual)")
    config, size = infer_sizes(state, image_size)
    backbone = Backbone(config, size)
    load_weights(
        backbone,
        {
            name.removeprefix("base_model."): value.float()
            for name, value in state.items()
            if name.startswith("base_model.")
        },
    )
    encoder = ZeroShot(NoSettings(), backbone=backbone, identities=0, image_size=size)
    layout = "UIT" if "decoder_pred.weight" in state else "IRRA"
    return ReleasedCheckpoint(encoder.eval(), layout, size, _skipped(state))


def _skipped(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """What evaluation does without, one line per part: its name, why, and how many weights."""
    parts: dict[str, int] = {}
    for name, value in state.items():
        if not name.startswith("base_model."):
            part = name.split(".")[0]
            parts[part] = parts.get(part, 0) + value.numel()
    unused = tuple(name.removesuffix(".") for name in _NEVER_USED)
    why = {part: "never used by the released code" if part in unused else "training only" for part in parts}
    return tuple(f"{part} ({count:,} weights): {why[part]}" for part, count in parts.items())


def export_open_clip(backbone: Backbone, folder: Path) -> Path:
    """Write `backbone` as an open_clip model: `open_clip.create_model("local-dir:FOLDER")` gives its
    features.

    The folder holds `open_clip_config.json` (all sizes) and `open_clip_model.safetensors`, which for a
    standard model also serves as `pretrained=` together with `force_image_size`.  Returns the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = json.loads(json.dumps(backbone.config.raw))
    preprocess = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = {name: value.detach().cpu().contiguous() for name, value in backbone.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    return folder
