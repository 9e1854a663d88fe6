"""A folder of golden numbers from the released code, as a model, a batch and its noise."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from methods.base import Batch
from methods.clip import Backbone
from methods.released import infer_sizes
from methods.settings import RELEASED, UITSettings
from methods.uit import UIT

# The released name of each of our parameters starts with what stands on the left.
_PREFIXES = {
    "base_model.": "clip.",
    "classifier.": "classifier.",
    "mask_token": "restoration.mask_token",
    "decoder_embed.": "restoration.embed.",
    "decoder_pred.": "restoration.pixels.",
    "cross_attn_Text.": "restoration.cross_attention.",
    "cross_modal_transformer_mae.resblocks.": "restoration.cross_blocks.",
    "norm_1.": "restoration.norm_image.",
    "norm_2.": "restoration.norm_text.",
    "norm_4.": "restoration.norm_slots.",
    "norm_6.": "restoration.norm_blocks.",
    "norm_7.": "restoration.norm_pixels.",
    "cross_attn_mlm.": "masked_language.cross_attention.",
    "cross_modal_transformer_mlm.resblocks.": "masked_language.cross_blocks.",
    "ln_pre_t.": "masked_language.norm_text.",
    "ln_pre_i.": "masked_language.norm_image.",
    "ln_post.": "masked_language.norm_words.",
    "mlm_head.": "masked_language.mlm_head.",
}

DEFAULT = Path(__file__).parent / "golden" / "sen_small"


def our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a released checkpoint under the names of `methods.uit.UIT`, without those never used."""
    renamed = {}
    for name, value in state.items():
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
        if prefix is not None:
            renamed[_PREFIXES[prefix] + name.removeprefix(prefix)] = value
    return renamed


def released_name(name: str) -> str:
    """The released name of one of our parameters; raises KeyError for one that it does not have."""
    for released, ours in _PREFIXES.items():
        if name.startswith(ours):
            return released + name.removeprefix(ours)
    raise KeyError(name)


def golden_dir() -> Path:
    """`GOLDEN_DIR`, or the copy kept with the tests."""
    return Path(os.environ.get("GOLDEN_DIR") or DEFAULT)


@dataclass
class GoldenCase:
    """Everything one golden folder holds."""

    expected: dict[str, Any]
    evaluation: dict[str, Any]
    state: dict[str, Tensor]
    tensors: dict[str, Tensor]
    later_noise: Tensor
    retrieval: dict[str, Tensor]

    @classmethod
    def read(cls, folder: Path) -> GoldenCase:
        return cls(
            json.loads((folder / "expected.json").read_text()),
            json.loads((folder / "expected_eval.json").read_text()),
            load_file(folder / "sen_state.safetensors"),
            load_file(folder / "tensors.safetensors"),
            load_file(folder / "trajectory.safetensors")["masking_noise"],
            load_file(folder / "retrieval.safetensors"),
        )

    @property
    def config(self) -> dict[str, Any]:
        return self.expected["config"]

    def settings(self, **overrides: Any) -> UITSettings:
        """The released preset with all seven losses on, and the numbers of the folder.

        Captions are given as they are, so nothing is augmented or overwritten here.
        """
        config = self.config
        numbers = {
            "mask_ratio": config["mask_ratio"],
            "temperature": config["temperature"],
            "decoder_depth": config["decoder_depth"],
            "restoration_weight": config["restoration_weight"],
            "cmt_weight": config["triplet_weight"],
            "margin": config["triplet_margin"],
        }
        parts = {"mlm": True, "itc": True, "cmpm": True, "text_pruning": False, "mlm_masking": "by_tag"}
        return UITSettings(**{**RELEASED, "caption_corruption": "off", **parts, **numbers, **overrides})

    def method(self, **overrides: Any) -> UIT:
        """UIT with the folder's weights, which must fill it completely."""
        size = (self.config["image_size"][0], self.config["image_size"][1])
        backbone = Backbone(infer_sizes(self.state, size)[0], size)
        method = UIT(
            self.settings(**overrides),
            backbone=backbone,
            identities=self.config["num_classes"],
            image_size=size,
        )
        missing, unexpected = method.load_state_dict(our_names(self.state), strict=False)
        assert (missing, unexpected) == (["clip.logit_scale"], [])
        return method

    def batch(self) -> Batch:
        captions = self.tensors["caption_ids"]
        content = torch.zeros_like(captions, dtype=torch.bool)
        return Batch(self.tensors["images"], captions, captions, content, self.tensors["person_ids"])

    def noise(self, masking_noise: Tensor | None = None) -> dict[str, Tensor]:
        """Noise for which our own masking gives exactly the folder's masked captions and hidden patches."""
        captions, masked = self.tensors["caption_ids"], self.tensors["mlm_ids"]
        chosen = self.tensors["mlm_labels"] != 0
        kind = torch.where(masked == captions, 0.95, 0.85)
        kind[masked == self.config["vocab_size"] - 3] = 0.0
        patches = self.tensors["masking_noise"] if masking_noise is None else masking_noise
        return {
            "mask_choice": torch.where(chosen, 0.0, 1.0),
            "mask_kind": kind,
            "mask_word": (masked.double() - 0.5) / (self.config["vocab_size"] - 4),
            "patches": patches[:, 1:],
        }
