"""Checkpoints in the layout of TBPS-CLIP's released code, read for evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from harness.registry.settings import NoSettings
from methods.backbones import adapt_to_recipe
from methods.clip import Backbone, load_weights
from methods.released import ReleasedCheckpoint, infer_sizes
from methods.uit import ZeroShot

TEXT = "encode_text."
"""Before the names of the text encoder's weights."""
TRAINING_ONLY = ("simclr_mlp.", "mlm_head.", "classifier.")


def is_released_tbps(state: Mapping[str, Tensor]) -> bool:
    """Whether weights by name follow the released layout of TBPS-CLIP."""
    return f"{TEXT}token_embedding.weight" in state and "visual.conv1.weight" in state


def from_tbps_state(
    state: Mapping[str, Tensor], image_size: tuple[int, int] | None = None, source: str = "checkpoint"
) -> ReleasedCheckpoint:
    """The encoders of a released TBPS-CLIP checkpoint, from its weights by name.

    They can be evaluated on any dataset. Its images are square unless `image_size` (height, width) says
    otherwise, normalised by ImageNet's mean and deviation and resized bicubically; its captions are cleaned.
    Raises ValueError for other weights.
    """
    beside = {name.split(".")[0] for name in state if name.startswith(TRAINING_ONLY)}
    encoders = {
        name.removeprefix(TEXT): value.float()
        for name, value in state.items()
        if not name.startswith(TRAINING_ONLY)
    }
    try:
        config, size = infer_sizes(encoders, image_size or _square(encoders))
        backbone = Backbone(adapt_to_recipe(config, normalisation="imagenet"), size)
        load_weights(backbone, encoders)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{source}: {error}") from error
    encoder = ZeroShot(NoSettings(), backbone=backbone, identities=0, image_size=size)
    skipped = tuple(f"{part}: training only" for part in sorted(beside))
    found = ReleasedCheckpoint(encoder.eval(), "released TBPS-CLIP checkpoint", size, skipped)
    return replace(found, test_resize="bicubic", caption_cleaning=True)


def _square(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Height and width of the square image that has as many patches as there are positions."""
    patches, patch = len(state["visual.positional_embedding"]) - 1, state["visual.conv1.weight"].shape[-1]
    side = math.isqrt(patches)
    if side * side != patches:
        raise ValueError(f"{patches} patches are no square; state the image size: --image-size HEIGHTxWIDTH")
    return side * patch, side * patch
