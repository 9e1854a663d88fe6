"""The table of methods: what each has, and how it differs from UIT."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from harness.registry import method, methods
from methods.settings import CLEAN, RELEASED, UITSettings, preset_settings, released_recipe

PARTS = ("sdm", "identity", "tir", "cmt", "text_pruning", "mlm", "itc", "cmpm")


def parts_of(name: str) -> set[str]:
    settings = method(name).resolve()
    return {part for part in PARTS if getattr(settings, part)}


def test_every_method_has_the_parts_of_the_published_table() -> None:
    uit = {"sdm", "identity", "tir", "cmt", "text_pruning"}
    assert {name: parts_of(name) for name, entry in methods().items() if entry.settings is UITSettings} == {
        "uit": uit,
        "uit-no-tir": uit - {"tir"},
        "uit-no-tir-by-loss": uit - {"tir"},
        "uit-no-cmt": uit - {"cmt"},
        "uit-no-aug": uit - {"text_pruning"},
        "uit-mlm": uit - {"tir"} | {"mlm"},
        "baseline": {"sdm", "identity"},
        "irra": {"sdm", "identity", "mlm"},
        "clip-itc": {"itc"},
    }


@pytest.mark.parametrize("name", ["uit-no-tir", "uit-no-cmt", "uit-no-aug"])
def test_an_ablation_differs_from_uit_in_one_switch(name: str) -> None:
    ours, theirs = method(name).resolve().model_dump(), method("uit").resolve().model_dump()
    assert len([key for key in ours if ours[key] != theirs[key]]) == 1


def test_zero_shot_does_not_train() -> None:
    assert [name for name, entry in methods().items() if not entry.trains] == ["clip-zero-shot"]


@pytest.mark.parametrize(
    ("name", "overrides", "absent", "present"),
    [
        ("uit", {}, {"mlm_weight", "mlm_masking", "itc_weight"}, {"mask_ratio", "margin", "temperature"}),
        ("uit-no-tir", {}, {"mask_ratio", "restoration_weight", "text_pass"}, {"margin"}),
        ("uit-no-cmt", {}, {"margin", "cmt_weight", "cmt_positive"}, {"mask_ratio"}),
        ("uit-no-aug", {}, {"augmentation_probability"}, {"mask_ratio"}),
        ("uit-mlm", {}, {"mask_ratio"}, {"mlm_weight", "decoder_depth"}),
        ("baseline", {}, {"margin", "decoder_depth"}, {"temperature", "sdm_weight"}),
        ("baseline", {"cmt": True}, {"mask_ratio"}, {"margin", "cmt_positive"}),
        ("uit", {"cmt_mining": "info_nce"}, {"margin", "cmt_positive"}, {"temperature"}),
        ("uit", {"sdm": False}, {"temperature", "sdm_weight"}, {"margin"}),
    ],
)
def test_a_variant_has_only_the_settings_that_matter_to_it(
    name: str, overrides: dict[str, Any], absent: set[str], present: set[str]
) -> None:
    names = method(name).parameters(overrides)
    assert not names & absent
    assert names >= present | set(PARTS) | {"caption_corruption"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"mask_ratio": 1.0},
        {"mask_ratio": 0.0},
        {"temperature": 0.0},
        {"augmentation_probability": 1.1},
        {"margin": -0.1},
        {"cmt_positive": "strongest"},
        {"maskratio": 0.5},
        {"decoder_depth": 0},
    ],
)
def test_settings_outside_their_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method("uit").resolve(wrong)


def test_clean_is_what_the_settings_are_by_default() -> None:
    defaults = UITSettings().model_dump()
    assert dict(CLEAN) == {name: defaults[name] for name in CLEAN}


def test_presets_decide_the_same_switches_and_agree_on_none() -> None:
    assert RELEASED.keys() == CLEAN.keys()
    assert all(RELEASED[name] != CLEAN[name] for name in CLEAN)
    UITSettings(**RELEASED)


def test_released_corrupts_captions_exactly_when_tir_is_on() -> None:
    assert preset_settings("released", method("uit").fixed)["caption_corruption"] == "by_tag"
    assert preset_settings("released", method("uit-no-tir").fixed)["caption_corruption"] == "off"
    assert preset_settings("clean", method("uit").fixed)["caption_corruption"] == "off"


def test_every_setting_is_documented() -> None:
    undocumented = [name for name, field in UITSettings.model_fields.items() if not field.description]
    assert undocumented == []


def test_listing_methods_does_not_import_torch() -> None:
    code = (
        "import sys, methods.variants, methods.backbones as b;"
        "b.backbone_config('tiny'); print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_released_presets_are_those_of_the_released_codes() -> None:
    irra = method("irra").fixed
    assert preset_settings("released", irra)["caption_corruption"] == "uniform"
    assert preset_settings("released", irra)["mask_at_least_one"] == "first_word"
    assert released_recipe(irra) == {"precision": "released", "sampler": "shuffle", "batch_size": 64}
    assert released_recipe(method("uit").fixed) == {"precision": "released", "sampler": "released"}
    # UIT's two ablations of TIR: by its flag, which stops the corruption too, and by the name of its loss.
    by_flag, by_loss = method("uit-no-tir"), method("uit-no-tir-by-loss")
    for entry, corruption in ((by_flag, "off"), (by_loss, "by_tag")):
        resolved = entry.resolve(preset_settings("released", entry.fixed)).model_dump()
        assert (resolved["tir"], resolved["caption_corruption"]) == (False, corruption)
    assert preset_settings("released", method("uit-mlm").fixed)["caption_corruption"] == "off"
    assert "no counterpart" in method("uit-mlm").ablates
