"""RDE with the weights of a folder of golden numbers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from methods.base import Batch
from methods.clip import Backbone, load_weights
from methods.rde import RDE
from methods.released import encoder_weights, infer_sizes
from methods.released_rde import our_name, with_selection


def released_state(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix("model/state/"): t for n, t in tensors.items() if n.startswith("model/state/")}


def golden_rde(expected: dict[str, Any], tensors: dict[str, Tensor], **settings: Any) -> RDE:
    state, config = released_state(tensors), expected["model"]["config"]
    size = tuple(tensors["model/images"].shape[2:])
    backbone = Backbone(infer_sizes(state, size)[0], size)
    load_weights(backbone, encoder_weights(state))
    numbers = {"tal_temperature": config["tau"], "tal_margin": config["margin"]}
    ratio = {"selection_ratio": config["select_ratio"]}
    return with_selection(backbone, state, size, word_corruption=False, **numbers, **ratio, **settings)


def golden_batch(tensors: dict[str, Tensor]) -> Batch:
    captions = tensors["model/caption_ids"]
    persons = tensors["model/person_ids"]
    return Batch(tensors["model/images"], captions, captions, captions.bool(), persons)


def name_of(released: str) -> str | None:
    if released.startswith("base_model."):
        return "clip." + released.removeprefix("base_model.")
    return our_name(released)
