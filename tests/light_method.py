"""A plugin for tests: a method that trains in milliseconds and fails in whatever way LIGHT_TROUBLE says."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.registry import register_method
from methods.base import Batch, Method, Noise


@register_method("light", summary="mean colours against mean words")
class Light(Method):
    """Two linear maps that learn to agree; the backbone is not used."""

    def __init__(self, settings: Any, *, backbone: Any, identities: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.embed_dim = 8
        self.image = nn.Linear(3, self.embed_dim)
        self.text = nn.Embedding(backbone.config.vocab_size, self.embed_dim)
        self.steps = 0

    def encode_image(self, images: Tensor) -> Tensor:
        return self.image(images.mean((2, 3)))

    def encode_text(self, captions: Tensor) -> Tensor:
        return self.text(captions).mean(1)

    def draw_noise(self, size: int, generator: torch.Generator, device: torch.device | str) -> Noise:
        return {"weight": torch.rand(size, generator=generator).to(device)}

    def forward(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        self.steps += 1
        trouble, _, step = os.environ.get("LIGHT_TROUBLE", "").partition("@")
        if trouble and self.steps == int(step or 1):
            self.fail(trouble)
        apart = 1 - F.cosine_similarity(self.encode_image(batch.images), self.encode_text(batch.captions))
        loss = (noise["weight"] * apart).mean()
        return {"apart": loss * float("nan") if trouble == "nan" else loss}

    def fail(self, trouble: str) -> None:
        if trouble == "oom":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")
        if trouble == "error":
            raise RuntimeError("a bug of the method")
        if trouble == "stop":
            raise KeyboardInterrupt
        if trouble == "slow":
            time.sleep(1.2)
