"""Checkpoints of the authors' codes: the released layouts of UIT (there: SEN), IRRA, RDE and VFE-TPS."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.registry.settings import NoSettings
from methods.backbones import BackboneConfig, config_from_raw
from methods.blocks import heads_of
from methods.clip import Backbone, DualEncoder, encoder_weights, load_weights
from methods.released_rde import NEVER_USED as _RDE_NEVER_USED
from methods.released_rde import PARTS as _RDE_PARTS
from methods.released_rde import is_rde, with_selection
from methods.restoration import sincos_positions
from methods.uit import ZeroShot
from methods.weight_files import read_state

# Built by the released code, in its checkpoints, and used by nothing; positions are fixed and computed anew.
_NEVER_USED = ("cross_attn_TextImage.", "cross_attn_Image.", "norm_3.", "norm_5.", "decoder_pos_embed")
_UIT_PARTS = (
    *("classifier.", "mask_token", "decoder_embed.", "decoder_pred.", "cross_attn_Text."),
    *("cross_modal_transformer_mae.", "norm_1.", "norm_2.", "norm_4.", "norm_6.", "norm_7."),
    *("cross_attn_mlm.", "cross_modal_transformer_mlm.", "ln_pre_t.", "ln_pre_i.", "ln_post.", "mlm_head."),
    *_NEVER_USED,
)
_IRRA_PARTS = (
    *("classifier.", "cross_attn.", "cross_modal_transformer.", "cross_attn_mlm."),
    *("cross_modal_transformer_mlm.", "ln_pre_t.", "ln_pre_i.", "ln_post.", "mlm_head."),
)
_VFE_PARTS = (
    *("classifier.", "mask_token", "cross_attention_image.", "cross_modal_transformer_image."),
    *("image_ln_pre_t.", "image_ln_pre_i.", "image_ln_post.", "decoder.0."),
)
"""What the released codes keep beside both encoders, for training only."""
_ALL_PARTS = (*_UIT_PARTS, *_IRRA_PARTS, *_VFE_PARTS, *_RDE_PARTS)
_ENCODERS = (
    *("visual.conv1.weight", "visual.class_embedding", "visual.positional_embedding", "visual.proj"),
    *("positional_embedding", "text_projection", "token_embedding.weight", "ln_final.weight"),
)
"""Tensors of which the sizes of both encoders follow."""
_ASPECT = (1.0, 3.5)
"""Height over width of an image that a size may be guessed to have: people are upright."""
_LONGEST_SIDE = 448
"""Pixels of the longest side of a guessed image size."""


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """What a released checkpoint holds that evaluation needs, and what was left out."""

    encoder: DualEncoder
    """The model as it encodes images and captions, ready to evaluate."""
    layout: str
    """What it is, as far as its names tell: `released UIT checkpoint`, `released IRRA checkpoint`, …"""
    image_size: tuple[int, int]
    """Height and width the model was trained at."""
    skipped: tuple[str, ...]
    """One line for each part of the file that was not loaded."""
    test_resize: str = "bilinear"
    """The filter by which its code resizes images for a test."""
    caption_cleaning: bool = False
    """Whether its code reads cleaned captions."""


def is_released(state: Mapping[str, Tensor]) -> bool:
    """Whether weights by name follow the released codes' layout: all of them name the encoders as IRRA."""
    return "base_model.visual.conv1.weight" in state


def infer_sizes(
    state: Mapping[str, Tensor], image_size: tuple[int, int] | None = None
) -> tuple[BackboneConfig, tuple[int, int]]:
    """Sizes of the backbone and the image size (height, width) that the weights by name of a checkpoint have.

    The shape of the grid of patches comes from TIR's positions where there are any; else it is guessed where
    one upright size alone has so many patches. `image_size` is taken instead of a guess. Raises ValueError
    for other encoders than CLIP's vision transformer, and where no size or several fit.
    """
    base = dict(encoder_weights(state))
    _require_transformers(base)
    vision_width, _, _, patch = base["visual.conv1.weight"].shape
    embed_dim, text_width = base["text_projection"].shape[1], base["text_projection"].shape[0]
    if image_size is None:
        patches = len(base["visual.positional_embedding"]) - 1
        rows, columns = _infer_grid(patches, patch, embed_dim, state.get("decoder_pos_embed"))
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
    matches = (re.match(re.escape(prefix) + r"(\d+)\.", name) for name in state)
    return 1 + max(int(match[1]) for match in matches if match)


def _require_transformers(base: Mapping[str, Tensor]) -> None:
    if any(name.startswith(("visual.attnpool.", "visual.layer1.")) for name in base):
        raise ValueError("its image encoder is a ResNet; only vision transformers are supported")
    missing = [name for name in _ENCODERS if name not in base]
    if missing:
        raise ValueError(f"no CLIP encoders: {', '.join(missing)} missing")
    if not any(name.startswith("visual.transformer.resblocks.") for name in base):
        raise ValueError("no CLIP encoders: its image encoder has no transformer blocks")


def _infer_grid(patches: int, patch: int, width: int, positions: Tensor | None) -> tuple[int, int]:
    """Rows and columns of a grid of `patches`; `positions` [1, 1 + patches, width] are TIR's."""
    shapes = [(rows, patches // rows) for rows in range(1, patches + 1) if patches % rows == 0]
    if positions is not None:
        for shape in shapes:
            if torch.allclose(sincos_positions(width, shape), positions[0].float(), atol=1e-3):
                return shape
    low, high = _ASPECT
    upright = [
        (rows, columns)
        for rows, columns in shapes
        if low <= rows / columns <= high and rows * patch <= _LONGEST_SIDE
    ]
    if len(upright) == 1:
        return upright[0]
    if not upright:
        raise ValueError(
            f"no usual image size has {patches} patches of {patch} pixels (overlapping patches are not "
            "supported); state the image size: --image-size HEIGHTxWIDTH"
        )
    sizes = " or ".join(f"{rows * patch}x{columns * patch}" for rows, columns in upright)
    raise ValueError(f"the image size may be {sizes}; state it: --image-size HEIGHTxWIDTH")


def load_released(
    file: Path, image_size: tuple[int, int] | None = None, ignore: Sequence[str] = ()
) -> ReleasedCheckpoint:
    """The model of a checkpoint in one of the released layouts, ready to evaluate on any dataset.

    Heads of training are left out, so the number of training persons does not matter. No code of the file is
    run.
    Raises ValueError when the file is not such a checkpoint.
    """
    return from_state(read_state(file), image_size, ignore, source=str(file))


def from_state(
    state: Mapping[str, Tensor],
    image_size: tuple[int, int] | None = None,
    ignore: Sequence[str] = (),
    source: str = "checkpoint",
) -> ReleasedCheckpoint:
    """`load_released` for weights by name that were already read.

    Weights that no released code has are refused, since what they did to the features is not known;
    `ignore` has the starts of names that may be left out all the same.
    """
    if not is_released(state):
        layouts = "UIT/SEN, IRRA, RDE or VFE-TPS"
        raise ValueError(f"{source}: not in the released {layouts} layout (no base_model.visual)")
    try:
        layout = _layout(state, ignore)
        config, size = infer_sizes(state, image_size)
        _check_size(state, config, size)
        backbone = Backbone(config, size)
        load_weights(backbone, {name: value.float() for name, value in encoder_weights(state).items()})
        encoder: DualEncoder = ZeroShot(NoSettings(), backbone=backbone, identities=0, image_size=size)
        if _selects_tokens(state, ignore):
            encoder = with_selection(backbone, state, size)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return ReleasedCheckpoint(encoder.eval(), layout, size, _skipped(state, ignore))


def _selects_tokens(state: Mapping[str, Tensor], ignore: Sequence[str]) -> bool:
    """Whether the features are RDE's two embeddings: its token selection is there, and not to be ignored."""
    asked = tuple(ignore)
    return is_rde(state) and not any(name.startswith(asked) for name in state if name.startswith(_RDE_PARTS))


def _layout(state: Mapping[str, Tensor], ignore: Sequence[str]) -> str:
    """What a checkpoint may be called."""
    beside = [name for name in state if not name.startswith("base_model.")]
    ignored = [name for name in beside if name.startswith(tuple(ignore))]
    known = [name for name in beside if name not in ignored]
    foreign = [name for name in known if not name.startswith(_ALL_PARTS)]
    if foreign:
        parts = dict.fromkeys(name.split(".")[0] for name in foreign)
        options = " ".join(f"--ignore {part}." for part in parts)
        raise ValueError(
            f"weights that no released code has: {', '.join(parts)}; without them the features may not "
            f"be the model's. To leave them out: {options}"
        )
    if ignored:
        return "encoders of another code in the released layout"
    if any(name.startswith(_RDE_PARTS) for name in known):
        return "released RDE checkpoint"
    if any(name.startswith("cross_attention_image.") for name in known):
        return "released VFE-TPS checkpoint"
    if any(name.startswith(("decoder_pred.", "decoder_embed.")) for name in known):
        return "released UIT checkpoint"
    if all(name.startswith(_IRRA_PARTS) for name in known) and any(
        name.startswith(("cross_attn", "mlm_head.")) for name in known
    ):
        return "released IRRA checkpoint"
    return "encoders in the layout of released checkpoints"


def _check_size(state: Mapping[str, Tensor], config: BackboneConfig, size: tuple[int, int]) -> None:
    patches = len(state["base_model.visual.positional_embedding"]) - 1
    patch = config.patch_size
    if size[0] % patch or size[1] % patch or size[0] // patch * (size[1] // patch) != patches:
        raise ValueError(
            f"it has positions of {patches} patches of {patch} pixels, which {size[0]}x{size[1]} has not"
        )


def _skipped(state: Mapping[str, Tensor], ignore: Sequence[str]) -> tuple[str, ...]:
    """What evaluation does without, one line per part: its name, why, and how many weights."""
    parts: dict[tuple[str, str], int] = {}
    for name, value in state.items():
        why = _why_skipped(name, ignore, _selects_tokens(state, ignore))
        if why:
            part = (name.split(".")[0], why)
            parts[part] = parts.get(part, 0) + value.numel()
    return tuple(f"{part} ({count:,} weights): {why}" for (part, why), count in parts.items())


def _why_skipped(name: str, ignore: Sequence[str], selects: bool) -> str:
    """Why a weight is not loaded, by whether the model `selects` tokens; empty for one that is."""
    if name.startswith("base_model."):
        return ""
    if name.startswith(tuple(ignore)):
        return "left out as asked; the features may not be the model's"
    if name.startswith((*_NEVER_USED, *_RDE_NEVER_USED)):
        return "never used by the released code"
    if name.startswith(_RDE_PARTS):
        return "" if selects else "left out with the rest of the token selection"
    return "training only"
