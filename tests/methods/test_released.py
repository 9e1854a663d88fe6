"""Checkpoints in the released layouts, and open_clip checkpoints made from them."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from golden_case import GoldenCase, golden_dir
from safetensors.torch import save_file

from methods.open_clip_export import export_open_clip
from methods.released import from_state, infer_sizes, is_released, load_released


@pytest.fixture(scope="module")
def golden() -> GoldenCase:
    return GoldenCase.read(golden_dir())


def irra_state(golden: GoldenCase) -> dict[str, torch.Tensor]:
    """The same model as IRRA would store it: no TIR, and its own names for MLM's parts."""
    renamed = {}
    for name, value in golden.state.items():
        if name.startswith(("base_model.", "classifier.", "mlm_head.", "ln_p")):
            renamed[name] = value
        elif name.startswith(("cross_attn_mlm.", "cross_modal_transformer_mlm.")):
            renamed[name.replace("_mlm.", ".", 1).replace("cross_attn.", "cross_attn.")] = value
    return renamed


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("layout", ["UIT", "IRRA"])
def test_a_released_checkpoint_gives_its_features(
    golden: GoldenCase, tmp_path: Path, layout: str, suffix: str
) -> None:
    state = golden.state if layout == "UIT" else irra_state(golden)
    file = tmp_path / f"best{suffix}"
    if suffix == ".pth":
        torch.save({"model": state, "epoch": 60, "optimizer": {"state": {}, "param_groups": []}}, file)
    else:
        save_file(state, file)
    size = (golden.config["image_size"][0], golden.config["image_size"][1])
    released = load_released(file, None if layout == "UIT" else size)
    assert released.layout == f"released {layout} checkpoint"
    assert released.image_size == size
    batch = golden.batch()
    with torch.no_grad():
        image = released.encoder.encode_image(batch.images)
        text = released.encoder.encode_text(batch.captions)
    assert torch.allclose(image, golden.tensors["image_features"], rtol=1e-4, atol=1e-5)
    assert torch.allclose(text, golden.tensors["text_features"], rtol=1e-4, atol=1e-5)


def test_what_was_skipped_is_stated_with_its_reason(golden: GoldenCase) -> None:
    skipped = from_state(golden.state).skipped
    weights = golden.state["classifier.weight"].numel() + golden.state["classifier.bias"].numel()
    assert f"classifier ({weights} weights): training only" in skipped
    assert any(line.startswith("cross_attn_Image (") and "never used" in line for line in skipped)
    assert not any(line.startswith("base_model") for line in skipped)


def test_half_precision_weights_are_read(golden: GoldenCase) -> None:
    released = from_state({name: value.half() for name, value in golden.state.items()})
    with torch.no_grad():
        image = released.encoder.encode_image(golden.batch().images)
    assert image.dtype == torch.float32
    assert torch.allclose(image, golden.tensors["image_features"], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("grid", [(18, 9), (7, 7), (16, 8), (13, 4)])
def test_without_fixed_positions_the_only_upright_size_is_guessed(
    golden: GoldenCase, grid: tuple[int, int]
) -> None:
    state = irra_state(golden)
    width = golden.config["vision_width"]
    state["base_model.visual.positional_embedding"] = torch.zeros(1 + grid[0] * grid[1], width)
    patch = golden.config["patch_size"]
    assert infer_sizes(state)[1] == (grid[0] * patch, grid[1] * patch)


@pytest.mark.parametrize(("patches", "sizes"), [(192, ("24x8", "16x12")), (48, ("12x4", "8x6"))])
def test_where_several_image_sizes_fit_none_is_guessed_and_all_are_named(
    golden: GoldenCase, patches: int, sizes: tuple[str, str]
) -> None:
    state, patch = irra_state(golden), golden.config["patch_size"]
    state["base_model.visual.positional_embedding"] = torch.zeros(1 + patches, golden.config["vision_width"])
    with pytest.raises(ValueError, match="--image-size") as refused:
        infer_sizes(state)
    for size in sizes:
        height, width = (patch * int(side) for side in size.split("x"))
        assert f"{height}x{width}" in str(refused.value)


def test_a_grid_of_no_upright_shape_asks_for_the_image_size(golden: GoldenCase) -> None:
    state = irra_state(golden)
    state["base_model.visual.positional_embedding"] = torch.zeros(1 + 13, golden.config["vision_width"])
    with pytest.raises(ValueError, match="state the image size"):
        infer_sizes(state)


def test_other_weights_are_not_taken_for_a_released_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, file)
    assert not is_released({"weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="not in the released UIT/SEN, IRRA, RDE or VFE-TPS layout"):
        load_released(file)


def test_an_exported_model_has_the_same_features_in_open_clip(golden: GoldenCase, tmp_path: Path) -> None:
    encoder, batch = from_state(golden.state).encoder, golden.batch()
    folder = export_open_clip(encoder.clip, tmp_path / "exported")
    model = open_clip.create_model(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        image, text = model.encode_image(batch.images), model.encode_text(batch.captions)
    assert torch.allclose(image, golden.tensors["image_features"], rtol=1e-4, atol=1e-5)
    assert torch.allclose(text, golden.tensors["text_features"], rtol=1e-4, atol=1e-5)
