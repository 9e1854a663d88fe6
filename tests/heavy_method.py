"""A plugin for benchmarks: as many weights as UIT at full size, and next to nothing to compute with them."""

from __future__ import annotations

from typing import Any

import torch
from light_method import Light
from torch import Tensor, nn

from harness.registry import register_method
from methods.base import Batch, Noise
from methods.restoration import Restoration

PERSONS = 11_003  # of CUHK-PEDES


@register_method("heavy", summary="the light method, carrying the weights of UIT along")
class Heavy(Light):
    """All of UIT's weights get a gradient of zeros, so that the optimiser's state is as large as UIT's."""

    def __init__(self, settings: Any, *, backbone: Any, identities: int, image_size: tuple[int, int]) -> None:
        super().__init__(settings, backbone=backbone, identities=identities, image_size=image_size)
        width = backbone.embed_dim
        self.burden = nn.ModuleList(
            [backbone, Restoration(width, backbone.grid, 16, 4), nn.Linear(width, PERSONS)]
        )

    def forward(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """The light method's loss, and zero times every weight."""
        carried = torch.stack([weight.sum() for weight in self.burden.parameters() if weight.requires_grad])
        return {**super().forward(batch, noise), "carried": 0 * carried.sum()}
