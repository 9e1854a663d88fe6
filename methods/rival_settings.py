"""Switches and hyper-parameters of the rivals: RDE, VFE-TPS' masked image modelling, and low-rank adapters.

Torch is not imported here, so listing and validating methods is instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import Field

from methods.settings import MatchingSettings, TALSettings, TemperatureSettings

PairLoss = Literal["tal", "trl", "sdm", "info_nce"]


class RDESettings(TemperatureSettings, TALSettings):
    """Settings of RDE and its ablations (`methods.rde`)."""

    rate_groups: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"token_selection": ("image_selection.", "text_selection.")}
    )
    released: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """What the preset `released` sets: nothing, since the defaults are the published ones."""

    token_selection: bool = True
    """The second embedding, of selected tokens (TSE), beside the global one (BGE)."""
    division: Literal["off", "quick", "thorough"] = "quick"
    """Confident consensus division before every epoch; `thorough` is published for noise above 40 %, and for
    RSTPReid."""
    word_corruption: bool = True
    """Text augmentation: every word may be masked, replaced or removed."""
    pair_loss: PairLoss = "tal"
    """The loss of a pair; all but TAL are the paper's ablations."""
    trl_floor: bool = True
    """TRL's hardest negative is never below 0 (released)."""
    selection_ratio: float = Field(0.3, gt=0, le=1)
    """Share of an image's or caption's tokens that TSE selects."""
    selection_width: int | None = Field(None, ge=2)
    """Width of TSE's embedding; null is twice the joint space, as published (1024 for 512)."""
    selection_norm: Literal["eval", "train"] = "eval"
    """BatchNorm of TSE: it never sees a batch (published), or learns from every batch (released since)."""

    def active(self) -> frozenset[str]:
        """Names of the settings that can change a number of this variant."""
        names = {"token_selection", "division", "word_corruption", "pair_loss"}
        if self.token_selection:
            names |= {"selection_ratio", "selection_width", "selection_norm"}
        if self.pair_loss in ("tal", "trl"):
            names |= {"tal_margin", "tal_temperature"}
        else:
            names.add("temperature")
        return frozenset(names | ({"trl_floor"} if self.pair_loss == "trl" else set()))

    def pair_temperature(self) -> float:
        """What divides cosines in the loss in use."""
        return self.tal_temperature if self.pair_loss in ("tal", "trl") else self.temperature


class MaskedImageSettings(MatchingSettings):
    """Settings of masked image modelling as in VFE-TPS (`methods.masked_image`)."""

    rate_groups: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"classifier": ("classifier.",), "masked_image": ("head.", "mask_token")}
    )

    guide: Literal["text", "self"] = "text"
    """What restores the image: the caption's tokens (the paper), or the masked image's own (released)."""
    masked_blocks: float = Field(0.6, gt=0, le=1)
    """Share of an image's blocks of 2×2 patches that are masked, rounded up."""
    mim_weight: float = Field(10.0, ge=0)
    """Weight of masked image modelling."""
    overwritten_captions: bool = False
    """Released bug: every loss sees captions masked for a language model that is not trained."""

    released: ClassVar[Mapping[str, Any]] = MappingProxyType({"guide": "self", "overwritten_captions": True})
    """What the preset `released` sets."""


class LowRankSettings(TemperatureSettings):
    """Settings of CLIP with low-rank adapters (`methods.lora`)."""

    rate_groups: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({"adapters": ("adapter_",)})

    adapter_rank: int = Field(8, ge=1)
    """Rank of the matrix that is added to each projection of keys and of values."""
    adapter_scale: float = Field(2.0, gt=0)
    """Factor on that matrix (alpha divided by the rank, in the terms of LoRA's paper)."""
