"""Switches and hyper-parameters of TBPS-CLIP. Torch is not imported here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class TBPSSettings(BaseModel):
    """Settings of TBPS-CLIP and of its simplified form (`methods.tbps_clip`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    rate_groups: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"simclr_mlp": ("simclr_mlp.",), "scale": ("logit_scale",)}
    )

    second_view: bool = True
    """N-ITC also between a second view of the images and the captions."""
    citc: bool = True
    """C-ITC: similarities within images equal those within captions."""
    simclr: bool = True
    """SS-I: contrast between two strong views of the images."""
    learned_scale: bool = True
    """Whether the factor on cosines, 1 / temperature, is trained; it starts at that of the first weights."""
    scale_cap: float = Field(100.0, gt=0)
    """The factor on cosines is never larger."""
    frozen_patch_embedding: bool = True
    """Whether the weights that make tokens of patches keep their first values."""
    soft_label_share: float = Field(0.5, ge=0, lt=1)
    """Share of soft labels in N-ITC, reached at the end of the first epoch."""
    ritc_floor: float = Field(0.01, gt=0)
    """Added to the labels of R-ITC."""
    simclr_temperature: float = Field(0.1, gt=0)
    """Divides cosines in SS-I."""
    simclr_hidden: int = Field(128, ge=1)
    """Width of the hidden layer before SS-I."""
    nitc_weight: float = Field(1.0, ge=0)
    """Weight of N-ITC."""
    ritc_weight: float = Field(1.0, ge=0)
    """Weight of R-ITC."""
    citc_weight: float = Field(0.1, ge=0)
    """Weight of C-ITC."""
    simclr_weight: float = Field(0.4, ge=0)
    """Weight of SS-I."""

    def active(self) -> frozenset[str]:
        """Names of the settings that can change a number of this variant."""
        names = set(type(self).model_fields)
        if not self.simclr:
            names -= {"simclr_temperature", "simclr_hidden", "simclr_weight"}
        if not self.citc:
            names.discard("citc_weight")
        return frozenset(names)
