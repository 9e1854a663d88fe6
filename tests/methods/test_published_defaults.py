"""A study that sets nothing trains by the published recipes: the defaults, number by number.

Of UIT by its paper and code, of the rivals by theirs; where a paper and its code disagree, by the paper.
"""

from __future__ import annotations

from typing import Any

import pytest

from harness.registry import method
from harness.study.schema import TrainSettings

RECIPE = {
    "backbone": "ViT-B-16-quickgelu", "pretrained": "openai", "image_size": (384, 128), "text_length": None,
    "normalisation": "clip", "test_resize": "bilinear", "epochs": 60, "batch_size": 128,
    "lr": 1e-5, "bias_lr_factor": 2.0, "head_lr_factor": 5.0, "group_lr": {}, "optimiser": "adam",
    "weight_decay": 4e-5, "decay_of": "weights", "beta1": 0.9, "beta2": 0.999, "adam_eps": 1e-3,
    "warmup_epochs": 5, "warmup_factor": 0.1, "schedule": "epoch", "final_lr_factor": 0.0,
    "image_augmentation": "flip_crop_erase", "flip_probability": 0.5, "crop_padding": 10,
    "erase_probability": 0.5, "caption_cleaning": False, "text_dropout": 0.0, "word_deletion": 0.0,
}  # fmt: skip
OURS = {"precision": "bf16", "sampler": "pairs", "evaluate_every": 1}
"""Where the harness departs from the released code by choice; `preset: released` takes those back."""
METHODS: dict[str, dict[str, Any]] = {
    "uit": {
        "temperature": 0.02, "decoder_depth": 4, "mask_ratio": 0.7, "margin": 0.05,
        "augmentation_probability": 0.2, "sdm_weight": 1.0, "identity_weight": 1.0,
        "restoration_weight": 10.0, "cmt_weight": 10.0, "mlm_weight": 1.0, "itc_weight": 1.0,
        "cmpm_weight": 1.0, "cmt_mining": "triplet", "cmt_positive": "weakest",
        "text_augmentation": "pruning", "caption_corruption": "off", "loss_mask_off_by_one": False,
        "text_pass": "reused",
    },
    "rde": {
        "tal_margin": 0.1, "tal_temperature": 0.015, "selection_ratio": 0.3, "pair_loss": "tal",
        "token_selection": True, "division": "quick", "word_corruption": True,
    },
    "rde-no-ccd": {"division": "off", "token_selection": True},
    "rde-bge": {"token_selection": False},
    "vfe-mim": {
        "temperature": 0.02, "decoder_depth": 4, "masked_blocks": 0.6, "mim_weight": 10.0, "guide": "text",
        "sdm_weight": 1.0, "identity_weight": 1.0, "overwritten_captions": False,
    },
    "clip-lora": {"temperature": 0.02, "adapter_rank": 8, "adapter_scale": 2.0},
    "tbps-clip": {
        "second_view": True, "citc": True, "simclr": True, "learned_scale": True, "scale_cap": 100.0,
        "frozen_patch_embedding": True, "soft_label_share": 0.5, "ritc_floor": 0.01,
        "simclr_temperature": 0.1, "simclr_hidden": 128, "nitc_weight": 1.0, "ritc_weight": 1.0,
        "citc_weight": 0.1, "simclr_weight": 0.4,
    },
    "tbps-clip-simple": {"second_view": False, "citc": False, "simclr": False, "nitc_weight": 1.0},
}  # fmt: skip


def test_training_follows_the_recipe_of_the_published_code_where_a_study_says_nothing() -> None:
    settings = TrainSettings().model_dump()
    assert settings == {**RECIPE, **OURS}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_numbers_of_its_paper_where_a_study_says_nothing(name: str) -> None:
    settings = method(name).resolve().model_dump()
    assert {key: settings[key] for key in METHODS[name]} == METHODS[name]
