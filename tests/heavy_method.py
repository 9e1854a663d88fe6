"""A plugin for benchmarks: as many weights as UIT at full size, and next to nothing to compute with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.registry import register_method
from methods.base import Batch, Method, Noise
from methods.restoration import Restoration

PERSONS = 11_003  # of CUHK-PEDES


@register_method("heavy", summary="mean colours against mean words, carrying the weights of UIT along")
class Heavy(Method):
    """All of UIT's weights get a gradient of zeros, so that the optimiser's state is as large as UIT's."""

    def __init__(self, settings: Any, *, backbone: Any, identities: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.embed_dim, width = 8, backbone.embed_dim
        self.image = nn.Linear(3, self.embed_dim)
        self.text = nn.Embedding(backbone.config.vocab_size, self.embed_dim)
        self.burden = nn.ModuleList(
            [backbone, Restoration(width, backbone.grid, 16, 4), nn.Linear(width, PERSONS)]
        )

    def encode_image(self, images: Tensor) -> Tensor:
        return self.image(images.mean((2, 3)))

    def encode_text(self, captions: Tensor) -> Tensor:
        return self.text(captions).mean(1)

    def draw_noise(self, size: int, generator: torch.Generator, device: torch.device | str) -> Noise:
        return {}

    def forward(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        apart = 1 - F.cosine_similarity(self.encode_image(batch.images), self.encode_text(batch.captions))
        carried = torch.stack([weight.sum() for weight in self.burden.parameters() if weight.requires_grad])
        return {"apart": apart.mean(), "carried": 0 * carried.sum()}
