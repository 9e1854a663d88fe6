"""CLIP with low-rank adapters (LoRA: Hu et al., ICLR 2022): what few trained weights do.

Every weight of the pretrained encoders is frozen. To each projection W of keys and of values, in every
attention block of both encoders, a matrix s B A of rank r is added: A [r, width] starts at random, B
[width, r] at zero, so that training starts from the pretrained model. The loss is SDM. For inference s B A
is added into W once (`plain_backbone`), so the exported model is a plain CLIP.

Rank and scale are this project's choice (8 and 2); no paper of this field prescribes them. Adapters need a
higher rate than whole encoders: a recipe gives it as `group_lr: {adapters: …}`.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import losses
from methods.attention import Attention
from methods.base import Batch, Noise
from methods.clip import Backbone, DualEncoder
from methods.rival_settings import LowRankSettings

KEY_AND_VALUE = 2


class AdaptedAttention(Attention):
    """`Attention` with low-rank adapters on the projections of keys and of values."""

    adapter_down: nn.Parameter
    """[2, rank, width]: of keys, of values."""
    adapter_up: nn.Parameter
    """[2, width, rank]"""
    adapter_scale: float

    def _heads(self, tokens: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        projected = super()._heads(tokens, weight, bias)
        if len(projected) < KEY_AND_VALUE:  # the queries alone
            return projected
        down, up = self.adapter_down.flatten(0, 1), self.adapter_up
        of_keys, of_values = F.linear(tokens, down).chunk(KEY_AND_VALUE, dim=-1)
        *queries, keys, values = projected
        return (*queries, keys + self._added(of_keys, up[0]), values + self._added(of_values, up[1]))

    def _added(self, low: Tensor, up: Tensor) -> Tensor:
        """What is added to keys or values, [batch, heads, tokens, width per head]."""
        added = self.adapter_scale * F.linear(low, up)
        return added.view(*added.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def merge(self) -> None:
        """Add the adapters into the projections, and become a plain `Attention`."""
        with torch.no_grad():
            added = self.adapter_scale * torch.bmm(self.adapter_up, self.adapter_down).flatten(0, 1)
            self.in_proj_weight[-len(added) :] += added
        del self.adapter_down, self.adapter_up
        self.__class__ = Attention  # type: ignore[assignment]


def add_adapters(module: nn.Module, rank: int, scale: float) -> None:
    """Freeze `module`, and give every `Attention` in it adapters, the only weights that are trained."""
    for weight in module.parameters():
        weight.requires_grad_(False)
    for part in module.modules():
        if type(part) is Attention:
            part.__class__ = AdaptedAttention
            adapted, width = cast(AdaptedAttention, part), part.embed_dim
            bound = width**-0.5
            adapted.adapter_down = nn.Parameter(
                torch.empty(KEY_AND_VALUE, rank, width).uniform_(-bound, bound)
            )
            adapted.adapter_up = nn.Parameter(torch.zeros(KEY_AND_VALUE, width, rank))
            adapted.adapter_scale = scale


class LowRank(DualEncoder):
    """CLIP whose adapters alone are trained, by SDM (`clip-lora`)."""

    settings: LowRankSettings

    def __init__(
        self, settings: LowRankSettings, *, backbone: Backbone, identities: int, image_size: tuple[int, int]
    ) -> None:
        super().__init__(settings, backbone=backbone, identities=identities, image_size=image_size)
        add_adapters(self.clip, settings.adapter_rank, settings.adapter_scale)

    def losses(
        self, batch: Batch, image_features: Tensor, text_features: Tensor, noise: Noise
    ) -> dict[str, Tensor]:
        """SDM of features [global batch, embed_dim]."""
        temperature = self.settings.temperature
        return {"sdm": losses.sdm(image_features, text_features, batch.person_ids, temperature)}

    def plain_backbone(self) -> Backbone:
        """A copy of the encoders with the adapters added into their weights."""
        merged = copy.deepcopy(self.clip)
        for part in merged.modules():
            if isinstance(part, AdaptedAttention):
                part.merge()
        return merged
