"""The switches and hyper-parameters of UIT, and what the two presets set them to.

Torch is not imported here, so listing and validating methods is instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Preset = Literal["clean", "released"]
"""The experiment as papers describe it, or as the authors' code computes it."""
Mining = Literal[
    "triplet", "batch_hard", "semi_hard", "max_hinge", "all_negatives", "all_negatives_own_pair", "info_nce"
]
Positive = Literal["weakest", "own_pair"]
Reduction = Literal["mean", "sum"]
Augmentation = Literal["pruning", "deletion", "swap", "masking"]
Masking = Literal["uniform", "by_tag"]
AtLeastOne = Literal["likeliest", "first_word"]


class MethodSettings(BaseModel):
    """Settings of a method: typed, documented, unknown names refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TemperatureSettings(MethodSettings):
    """The temperature of losses between features, one meaning for every method."""

    temperature: float = Field(0.02, gt=0)
    """Divides cosine similarities in SDM, ITC and the soft mining losses; fixed, never learned."""


class MatchingSettings(TemperatureSettings):
    """What methods with SDM, identities and a decoder have in common."""

    decoder_depth: int = Field(4, ge=1)
    """Self-attention blocks behind the cross-attention of TIR, of MLM and of masked image modelling."""
    sdm_weight: float = Field(1.0, ge=0)
    """Weight of the SDM loss."""
    identity_weight: float = Field(1.0, ge=0)
    """Weight of the identity loss."""


class TALSettings(MethodSettings):
    """The numbers of TAL, wherever it is a loss."""

    tal_margin: float = Field(0.1, ge=0)
    """Margin of TAL, as published."""
    tal_temperature: float = Field(0.015, gt=0)
    """Temperature of TAL, as published."""


class UITSettings(MatchingSettings, TALSettings):
    """Switches and hyper-parameters of UIT and of everything built from its parts."""

    rate_groups: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            "classifier": ("classifier.",),
            "restoration": ("restoration.",),
            "masked_language": ("masked_language.",),
        }
    )
    """Groups of weights that a recipe may give a rate of their own: parts of parameter names, by group."""

    sdm: bool = True
    """Similarity distribution matching between images and captions."""
    identity: bool = True
    """Person identity classification with one classifier for both modalities."""
    tir: bool = True
    """Text-guided image restoration: masked patches are restored with the help of the caption."""
    cmt: bool = True
    """Cross-modal triplet loss with hard mining."""
    text_pruning: bool = True
    """Text augmentation: a caption is sometimes cut down (see `text_augmentation`)."""
    mlm: bool = False
    """Masked language modelling with the help of the image (IRRA's auxiliary task)."""
    itc: bool = False
    """InfoNCE between the pairs of a batch, as CLIP was trained."""
    cmpm: bool = False
    """Cross-modal projection matching."""

    margin: float = Field(0.05, ge=0)
    """Margin of the triplet losses, in cosine distance."""
    mask_ratio: float = Field(0.7, gt=0, lt=1)
    """Share of image patches hidden from TIR."""
    augmentation_probability: float = Field(0.2, ge=0, le=1)
    """Probability that a training caption is augmented."""

    restoration_weight: float = Field(10.0, ge=0)
    """Weight of the TIR loss."""
    cmt_weight: float = Field(10.0, ge=0)
    """Weight of the triplet loss, or of the mining loss that stands in for it."""
    mlm_weight: float = Field(1.0, ge=0)
    """Weight of the MLM loss."""
    itc_weight: float = Field(1.0, ge=0)
    """Weight of the ITC loss."""
    cmpm_weight: float = Field(1.0, ge=0)
    """Weight of the CMPM loss."""

    cmt_mining: Mining = "triplet"
    """Hard mining: the paper's triplet, or an alternative to compare it with (`all_negatives`: TAL)."""
    tal_reduction: Reduction = "mean"
    """TAL over the pairs of a batch: their mean, or their sum as its authors have it."""
    cmt_positive: Positive = "weakest"
    """Positive of the triplet: the least similar item of the same person, or the anchor's own pair
    (released)."""
    text_augmentation: Augmentation = "pruning"
    """What augmenting a caption does: keep pronouns, nouns and adjectives; or drop, swap or mask random
    tokens."""
    mlm_masking: Masking = "uniform"
    """Which tokens MLM hides: 15 % of all, or 30 % of nouns and adjectives and 5 % of the rest."""
    mask_at_least_one: AtLeastOne = "likeliest"
    """What is masked in a caption where chance chose nothing: the word nearest to being chosen, or the first
    word by the mask token (released)."""
    caption_corruption: Literal["off", "uniform", "by_tag"] = "off"
    """Released bug: masked captions overwrite the originals, so every loss sees them."""
    loss_mask_off_by_one: bool = False
    """Released bug: one hidden patch is missing from the TIR loss and one fewer is visible."""
    text_pass: Literal["reused", "twice"] = "reused"
    """Whether TIR reuses the encoded caption or encodes it again (released; same numbers, more compute)."""

    def active(self) -> frozenset[str]:
        """Names of the settings that can change a number of this variant; switches always can."""
        names = {name for name, field in type(self).model_fields.items() if field.annotation is bool}
        names |= {"caption_corruption"}
        for switch, dependents in DEPENDENTS.items():
            if getattr(self, switch):
                names |= set(dependents)
        soft_mining = self.cmt and self.cmt_mining in ("all_negatives_own_pair", "info_nce")
        if self.sdm or self.itc or soft_mining:
            names.add("temperature")
        if self.mlm or self.caption_corruption != "off":
            names.add("mask_at_least_one")
        if self.cmt and self.cmt_mining == "all_negatives":
            names |= {"tal_margin", "tal_temperature", "tal_reduction"}
        if self.cmt and self.cmt_mining in ("info_nce", "all_negatives"):
            names.discard("margin")
        if self.cmt and self.cmt_mining != "triplet":
            names.discard("cmt_positive")
        if not self.tir:
            names.discard("loss_mask_off_by_one")
        return frozenset(names)


DEPENDENTS: Mapping[str, tuple[str, ...]] = {
    "sdm": ("sdm_weight",),
    "identity": ("identity_weight",),
    "tir": ("mask_ratio", "restoration_weight", "decoder_depth", "loss_mask_off_by_one", "text_pass"),
    "cmt": ("cmt_weight", "margin", "cmt_mining", "cmt_positive"),
    "text_pruning": ("augmentation_probability", "text_augmentation"),
    "mlm": ("mlm_weight", "mlm_masking", "decoder_depth"),
    "itc": ("itc_weight",),
    "cmpm": ("cmpm_weight",),
}

CLEAN: Mapping[str, Any] = MappingProxyType(
    {
        "caption_corruption": "off",
        "loss_mask_off_by_one": False,
        "cmt_positive": "weakest",
        "text_pass": "reused",
        "mask_at_least_one": "likeliest",
    }
)
"""Method-side switches of the clean experiment."""

RELEASED: Mapping[str, Any] = MappingProxyType(
    {
        "caption_corruption": "by_tag",
        "loss_mask_off_by_one": True,
        "cmt_positive": "own_pair",
        "text_pass": "twice",
        "mask_at_least_one": "first_word",
    }
)
"""Method-side switches of the authors' code, bugs included."""


def preset_settings(preset: Preset, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Method-side switches of a preset for a variant whose own switches are `fixed`; those stay.

    The released UIT code corrupts captions exactly when its TIR flag is on, IRRA's always.
    """
    switches = dict(RELEASED if preset == "released" else CLEAN)
    if preset == "released" and not {"tir": True, **fixed}["tir"]:
        switches["caption_corruption"] = "uniform" if is_irra(fixed) else "off"
    return {name: value for name, value in switches.items() if name not in fixed}


def released_recipe(fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe of the released code of a variant, where it differs from the published one of UIT."""
    sampler = {"sampler": "shuffle", "batch_size": 64} if is_irra(fixed) else {"sampler": "released"}
    return {"precision": "released", **sampler}


def is_irra(fixed: Mapping[str, Any]) -> bool:
    """Whether the switches are those of IRRA: MLM, without any part of UIT."""
    parts = {"tir": True, "cmt": True, "text_pruning": True, "mlm": False, **fixed}
    return bool(parts["mlm"]) and not (parts["tir"] or parts["cmt"] or parts["text_pruning"])
