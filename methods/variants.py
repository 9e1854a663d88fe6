"""Every method under comparison, in one table: its switches and what it ablates.

Torch is not imported here, so listing and validating methods is instant.
"""

from __future__ import annotations

from typing import Any

from harness.registry import register_method
from methods.rival_settings import LowRankSettings, MaskedImageSettings, RDESettings
from methods.settings import UITSettings
from methods.tbps_settings import TBPSSettings

_SDM_AND_IDENTITY = {"tir": False, "cmt": False, "text_pruning": False}

_PUBLISHED_BY_IRRA = ("irra", "baseline", "clip-itc")
"""Trained by IRRA's authors, with IRRA's recipe; the others of the table by UIT's."""

# name, what it is, the switches that make it, how it differs from UIT.
_VARIANTS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("uit", "UIT: SDM, identity, text-guided restoration, triplets, text pruning", {}, ""),
    ("uit-no-tir", "UIT without text-guided image restoration", {"tir": False}, "no TIR"),
    ("uit-no-tir-by-loss", "UIT without TIR's loss, its corruption of captions kept",
     {"tir": False, "caption_corruption": "by_tag"}, "no TIR, but its corruption of captions"),
    ("uit-no-cmt", "UIT without the cross-modal triplet loss", {"cmt": False}, "no CMT"),
    ("uit-no-aug", "UIT without the text augmentation", {"text_pruning": False}, "no text pruning"),
    ("uit-mlm", "UIT with masked language modelling in place of restoration", {"tir": False, "mlm": True},
     "MLM in place of TIR; the released code has no counterpart"),
    ("baseline", "SDM and identity alone", _SDM_AND_IDENTITY, "no TIR, no CMT, no text pruning"),
    ("irra", "IRRA: SDM, identity, masked language modelling", {**_SDM_AND_IDENTITY, "mlm": True},
     "no TIR, no CMT, no text pruning; MLM"),
    ("clip-itc", "CLIP fine-tuned with its own contrastive loss",
     {**_SDM_AND_IDENTITY, "sdm": False, "identity": False, "itc": True}, "ITC alone"),
)  # fmt: skip

for _name, _summary, _switches, _ablates in _VARIANTS:
    register_method(
        _name,
        summary=_summary,
        settings=UITSettings,
        fixed=_switches,
        build="methods.uit:UIT",
        ablates=_ablates,
        recipe="irra" if _name in _PUBLISHED_BY_IRRA else "uit",
    )
register_method(
    "clip-zero-shot",
    summary="the pretrained backbone as it is, not trained",
    build="methods.uit:ZeroShot",
    trains=False,
    ablates="no training",
)

# The rivals: name, what it is, its settings, the switches that make it, its class, how it differs.
_RIVALS: tuple[tuple[str, str, Any, dict[str, Any], str, str], ...] = (
    ("rde", "RDE: global and token-selection embeddings, TAL, consensus division of pairs", RDESettings, {},
     "methods.rde:RDE", "two embeddings, TAL over trusted pairs; no part of UIT"),
    ("rde-no-ccd", "RDE that trusts every pair", RDESettings, {"division": "off"},
     "methods.rde:RDE", "RDE without its division of pairs"),
    ("rde-bge", "RDE with the global embedding alone", RDESettings, {"token_selection": False},
     "methods.rde:RDE", "RDE without its token selection"),
    ("vfe-mim", "VFE-TPS: SDM, identity of images, masked image modelling with a guide",
     MaskedImageSettings, {}, "methods.masked_image:MaskedImage",
     "masked image modelling in place of TIR; no CMT, no text pruning"),
    ("clip-lora", "CLIP frozen, low-rank adapters on keys and values trained by SDM", LowRankSettings, {},
     "methods.lora:LowRank", "SDM alone; adapters instead of the encoders' weights"),
)  # fmt: skip

for _name, _summary, _settings, _switches, _build, _ablates in _RIVALS:
    register_method(
        _name,
        summary=_summary,
        settings=_settings,
        fixed=_switches,
        build=_build,
        ablates=_ablates,
        recipe={"rde": "rde", "vfe": "vfe-tps"}.get(_name.split("-")[0], ""),
    )

for _name, _summary, _switches, _ablates in (
    ("tbps-clip", "TBPS-CLIP: N-ITC, R-ITC, C-ITC, contrast between strong views of the image", {}, ""),
    ("tbps-clip-simple", "TBPS-CLIP simplified: N-ITC and R-ITC",
     {"second_view": False, "citc": False, "simclr": False}, " without further views, C-ITC and SS-I"),
):  # fmt: skip
    register_method(
        _name,
        summary=_summary,
        settings=TBPSSettings,
        fixed=_switches,
        build="methods.tbps_clip:TBPSCLIP",
        ablates=f"no part of UIT; the losses of TBPS-CLIP{_ablates}",
        recipe="tbps-clip",
    )
