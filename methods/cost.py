"""What a method costs: parameters it trains, and floating-point operations for one pair, counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.registry import method as find_method
from methods.backbones import adapt_to_recipe, backbone_config
from methods.base import Batch, Method, Noise
from methods.build import build_method
from methods.clip import Backbone, DualEncoder

TRAINING_PERSONS = 11_003
"""Of CUHK-PEDES; only the classifier's size depends on it."""
PAIRS = 128
"""Counted together and divided, because MLM scores a number of words that is set per batch."""


def parameters(module: nn.Module) -> int:
    """Number of weights that are trained."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)


def gflop(run: Callable[[], Any]) -> float:
    """Billions of floating-point operations of a call; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / 1e9


def build_on_meta(
    name: str,
    backbone: str,
    image_size: tuple[int, int],
    overrides: dict[str, Any] | None = None,
    text_length: int | None = None,
    identities: int = TRAINING_PERSONS,
) -> DualEncoder:
    """The method `name` with its sizes but no numbers in it: nothing is computed or stored."""
    entry = find_method(name)
    config = adapt_to_recipe(backbone_config(backbone), text_length)
    with torch.device("meta"):
        method = build_method(
            entry,
            entry.resolve(overrides),
            backbone=Backbone(config, image_size),
            identities=identities,
            image_size=image_size,
            seed=0,
        )
    return cast(DualEncoder, method)


def pairs_on_meta(method: Method, pairs: int, context_length: int, image_size: tuple[int, int]) -> Batch:
    """A batch of so many pairs on the meta device, images [pairs, 3, height, width]."""
    with torch.device("meta"):
        tokens = torch.zeros(pairs, context_length, dtype=torch.int64)
        images, persons = torch.zeros(pairs, 3, *image_size), torch.zeros(pairs, dtype=torch.int64)
        views = dict.fromkeys(method.views, images)
        return Batch(images, tokens, tokens, tokens.bool(), persons, views=views)


def noise_on_meta(method: Method, pairs: int) -> Noise:
    """The randomness of a step of so many pairs, each tensor [pairs, …], on the meta device."""
    drawn = method.draw_noise(pairs, torch.Generator(), "cpu")
    return {name: tensor.to("meta") for name, tensor in drawn.items()}


def pass_gflop(
    name: str,
    backbone: str,
    image_size: tuple[int, int],
    overrides: Mapping[str, Any] | None = None,
    *,
    pairs: int = PAIRS,
    backward: bool = False,
    text_length: int | None = None,
) -> float:
    """GFLOP per pair of a training step of `pairs` pairs, forward and backward; or of both encoders alone."""
    method = build_on_meta(name, backbone, image_size, dict(overrides or {}), text_length)
    context_length = adapt_to_recipe(backbone_config(backbone), text_length).context_length
    batch = pairs_on_meta(method, pairs, context_length, image_size)
    if not backward:
        return gflop(lambda: (method.encode_image(batch.images), method.encode_text(batch.captions))) / pairs
    noise = noise_on_meta(method, pairs)

    def step() -> None:
        # Added one by one: a constant loss may lie on the CPU, which training on a CPU permits.
        total = sum(method(batch, noise).values(), torch.zeros((), device="meta"))
        total.backward()

    return gflop(step) / pairs


def cost(name: str, backbone: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """One row of `cost_table`."""
    method = build_on_meta(name, backbone, image_size)
    batch = pairs_on_meta(method, PAIRS, method.clip.config.context_length, image_size)
    parts = dict(method.named_children())
    inference = gflop(lambda: (method.encode_image(batch.images), method.encode_text(batch.captions)))
    noise = noise_on_meta(method, PAIRS)
    training = gflop(lambda: method(batch, noise)) if method.trains else 0.0
    if method.examines_pairs:  # once an epoch, as often as a step sees it
        training += gflop(lambda: method.examine(batch, noise))
    millions = {part: parameters(module) / 1e6 for part, module in parts.items()}
    return {
        "method": name,
        "parameters_m": sum(millions.values()) if method.trains else 0.0,
        "parts_m": {"backbone": millions.pop("clip"), **millions},
        "training_gflop": training / PAIRS,
        "inference_gflop": inference / PAIRS,
    }


def cost_table(names: Iterable[str], backbone: str, image_size: tuple[int, int]) -> list[dict[str, Any]]:
    """Cost of each method: trained parameters in millions, whole and by part, and forward GFLOP per pair.

    `training_gflop` is the forward pass of a training step (its backward pass costs about twice as much), and
    of the pass before an epoch where the method has one; `inference_gflop` both encoders.  The losses between
    features, which grow with the batch, are negligible.
    """
    return [cost(name, backbone, image_size) for name in names]
