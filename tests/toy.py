"""A dual encoder small enough to be built in every test, and batches for it."""

from __future__ import annotations

from typing import Any, cast

import torch

from harness.registry import method as find_method
from methods.backbones import BackboneConfig, config_from_raw
from methods.base import Batch
from methods.build import build_method
from methods.clip import Backbone
from methods.uit import UIT

IMAGE_SIZE = (32, 16)
VOCAB_SIZE = 600
TOKENS = 12
PERSONS = 5


def toy_config() -> BackboneConfig:
    """Two layers a side, 8 patches in 4 rows."""
    vision = {"image_size": list(IMAGE_SIZE), "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
    text = {"context_length": TOKENS, "vocab_size": VOCAB_SIZE, "width": 32, "heads": 1, "layers": 2}
    raw = {"embed_dim": 64, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    return config_from_raw("toy", raw)


def toy_backbone(seed: int = 0) -> Backbone:
    """Random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Backbone(toy_config(), IMAGE_SIZE)


def toy_method(name: str = "uit", seed: int = 0, **overrides: Any) -> UIT:
    """A registered method on the toy backbone."""
    entry = find_method(name)
    shallow = {"decoder_depth": 1} if "decoder_depth" in entry.settings.model_fields else {}
    method = build_method(
        entry,
        entry.resolve({**shallow, **overrides} if entry.trains else {}),
        backbone=toy_backbone(seed),
        identities=PERSONS,
        image_size=IMAGE_SIZE,
        seed=seed,
    )
    return cast(UIT, method)


def toy_batch(size: int = 6, seed: int = 0) -> Batch:
    """Random images and captions of 4 to 8 words; persons come in pairs."""
    generator = torch.Generator().manual_seed(seed)
    captions = torch.zeros(size, TOKENS, dtype=torch.int64)
    pruned = torch.zeros_like(captions)
    for row in range(size):
        words = torch.randint(1, VOCAB_SIZE - 3, (4 + row % 5,), generator=generator)
        for target, kept in ((captions, words), (pruned, words[::2])):
            ids = torch.cat([torch.tensor([VOCAB_SIZE - 2]), kept, torch.tensor([VOCAB_SIZE - 1])])
            target[row, : len(ids)] = ids
    content = torch.rand(size, TOKENS, generator=generator) < 0.5
    images = torch.randn(size, 3, *IMAGE_SIZE, generator=generator)
    return Batch(images, captions, pruned, content, torch.arange(size) // 2 % PERSONS)


def toy_noise(method: UIT, size: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """The noise of one step."""
    return method.draw_noise(size, torch.Generator().manual_seed(seed), "cpu")
