"""Checkpoints as people have them: each is read, or named for what it is."""

from __future__ import annotations

import argparse
import gzip
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from harness.cli.verbs import app
from harness.data.augment import normalise
from harness.data.decoding import resized
from harness.launch.models import CheckpointError, export_checkpoint, open_model
from methods.clip import load_backbone, weights_problem
from methods.weight_files import read_state

State = dict[str, Tensor]


def clip_state(size: tuple[int, int] = (256, 128), patch: int = 16) -> State:
    """A small CLIP in IRRA's layout, with what IRRA keeps beside it."""
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=1, width=64, head_width=64, patch_size=patch, image_size=size)
    text = CLIPTextCfg(context_length=77, vocab_size=600, width=64, heads=1, layers=1)
    model = CLIP(64, vision, text, quick_gelu=True)
    state = {f"base_model.{k}": v.clone() for k, v in model.state_dict().items() if k != "attn_mask"}
    state |= {"classifier.weight": torch.randn(50, 64), "cross_attn.in_proj_weight": torch.randn(192, 64)}
    return {**state, "mlm_head.dense.weight": torch.randn(64, 64)}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 60, "optimizer": {"state": {}}},
    "state_dict": lambda state: {"state_dict": state},
    "state_dict.model": lambda state: {"state_dict": {"model": state}},
    "model_state_dict": lambda state: {"model_state_dict": state, "epoch": 3},
    "net": lambda state: {"net": state},
    "module.": lambda state: {"model": prefixed("module.", state)},
    "module.module.": lambda state: {"model": prefixed("module.module.", state)},
    "_orig_mod.": lambda state: {"model": prefixed("_orig_mod.", state)},
    "module._orig_mod.": lambda state: {"model": prefixed("module._orig_mod.", state)},
    "numpy scalar": lambda state: {"model": state, "best": np.float64(0.73), "n": np.int64(3)},
    "namespace": lambda state: {"model": state, "args": argparse.Namespace(lr=1e-5, size=(256, 128))},
    "ema": lambda state: {"ema": state, "epoch": 3},
    "state.model": lambda state: {"state": {"model": state}, "optimizer": {"state": {0: {"exp": state}}}},
    "model. of Lightning": lambda state: {"state_dict": prefixed("model.", state)},
    "sparse": lambda state: {"model": {k: v.to_sparse() if v.ndim == 2 else v for k, v in state.items()}},
    "half": lambda state: {"model": {name: value.half() for name, value in state.items()}},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_checkpoint_is_read_in_every_wrapping_that_people_have(wrapping: str, tmp_path: Path) -> None:
    file, state = tmp_path / "best.pth", clip_state()
    torch.save(WRAPPINGS[wrapping](state), file)
    model = open_model(file)
    assert model.image_size == (256, 128)
    assert model.origin.startswith("released IRRA checkpoint")
    expected = state["base_model.visual.proj"]
    assert torch.allclose(model.backbone.visual.proj, expected, atol=0 if wrapping != "half" else 1e-3)


@pytest.mark.parametrize(("first", "second"), [("model", "ema"), ("student", "teacher")])
def test_of_two_sets_of_weights_none_is_chosen_silently(first: str, second: str, tmp_path: Path) -> None:
    torch.save({first: clip_state(), second: clip_state(), "epoch": 3}, tmp_path / "two.pth")
    with pytest.raises(CheckpointError, match=f"several sets of weights, '{first}', '{second}'"):
        open_model(tmp_path / "two.pth")


def test_weights_in_eight_bits_are_read_and_their_nans_seen(tmp_path: Path) -> None:
    state, file = clip_state(), tmp_path / "fp8.pth"
    small = {k: v.to(torch.float8_e4m3fn) if v.ndim == 2 else v for k, v in state.items()}
    torch.save({"model": small}, file)
    assert read_state(file).keys() == state.keys()
    state["base_model.visual.proj"][0, 0] = torch.nan
    torch.save({k: v.to(torch.float8_e4m3fn) if v.ndim == 2 else v for k, v in state.items()}, file)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        open_model(file)


@pytest.mark.parametrize(
    ("name", "as_safetensors"),
    [("st.pth", True), ("UPPER.SAFETENSORS", True), ("irra.safetensors", True), ("irra.safetensors", False)],
)
def test_what_a_file_is_follows_from_its_content_and_not_its_name(
    name: str, as_safetensors: bool, tmp_path: Path
) -> None:
    state = clip_state()
    if as_safetensors:
        save_file(state, tmp_path / name)
    else:
        torch.save(state, tmp_path / name)
    assert read_state(tmp_path / name).keys() == state.keys()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"
PAGE = b"<!DOCTYPE html><html><head><title>Virus scan warning</title>"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (LFS, "pointer of Git LFS"),
        (PAGE, "web page"),
        (b"", "empty"),
        (b'{"message": "Not Found"}', "JSON text"),
        (gzip.compress(b"weights", mtime=0), "compressed by gzip"),
    ],
)
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_what_lies_in_the_place_of_weights_is_named(
    content: bytes, what: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=what):
        open_model(tmp_path / name)


def test_half_a_download_is_called_damaged(tmp_path: Path) -> None:
    for name, save in (("a.pth", torch.save), ("a.safetensors", save_file)):
        save(clip_state(), tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(CheckpointError, match="not a readable file of weights"):
            open_model(tmp_path / name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value: float, tmp_path: Path) -> None:
    state = clip_state()
    state["base_model.visual.proj"][0, 0] = value
    torch.save({"model": state}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"base_model\.visual\.proj.*NaN or infinite"):
        open_model(tmp_path / "bad.pth")


def test_a_resnet_and_a_missing_tensor_are_refused_for_what_they_are(tmp_path: Path) -> None:
    state = clip_state()
    resnet = {name: value for name, value in state.items() if not name.startswith("base_model.visual.")}
    resnet["base_model.visual.conv1.weight"] = torch.randn(32, 3, 3, 3)
    resnet["base_model.visual.layer1.0.conv1.weight"] = torch.randn(64, 64, 1, 1)
    torch.save({"model": resnet}, tmp_path / "rn50.pth")
    with pytest.raises(CheckpointError, match="ResNet"):
        open_model(tmp_path / "rn50.pth")
    for name in ("text_projection", "visual.proj", "ln_final.weight", "visual.ln_pre.weight"):
        lacking = {key: value for key, value in state.items() if key != f"base_model.{name}"}
        torch.save({"model": lacking}, tmp_path / "lacking.pth")
        with pytest.raises(CheckpointError, match=name):
            open_model(tmp_path / "lacking.pth")


def test_weights_of_another_code_are_refused_and_said_beside_the_number_when_ignored(tmp_path: Path) -> None:
    state = {name: v for name, v in clip_state().items() if name.startswith("base_model.")}
    state["region_layer.fc.weight"] = torch.randn(8, 64)
    torch.save({"model": state}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"no released code has: region_layer.*--ignore") as refused:
        open_model(tmp_path / "other.pth")
    assert "IRRA" not in str(refused.value)
    opened = open_model(tmp_path / "other.pth", ignore=["region_layer."])
    assert "IRRA" not in opened.origin
    assert any("region_layer" in note and "left out as asked" in note for note in opened.notes)


def test_a_token_selection_that_is_not_whole_is_refused_and_can_be_left_out(tmp_path: Path) -> None:
    state = {name: v for name, v in clip_state().items() if name.startswith("base_model.")}
    state["visul_emb_layer.fc.weight"] = torch.randn(8, 64)
    torch.save({"model": state}, tmp_path / "rde.pth")
    with pytest.raises(CheckpointError, match="its token selection is not RDE's"):
        open_model(tmp_path / "rde.pth")
    opened = open_model(tmp_path / "rde.pth", ignore=["visul_emb_layer."])
    assert "RDE" not in opened.origin
    assert any("visul_emb_layer" in note and "left out as asked" in note for note in opened.notes)


def test_bare_encoders_are_not_called_a_released_model(tmp_path: Path) -> None:
    torch.save({k: v for k, v in clip_state().items() if k.startswith("base_model.")}, tmp_path / "bare.pth")
    assert open_model(tmp_path / "bare.pth").origin.startswith("encoders in the layout of")


def test_the_image_size_is_asked_for_where_it_cannot_be_known_and_taken_where_it_fits(tmp_path: Path) -> None:
    file = tmp_path / "best.pth"
    for size in ((384, 128), (256, 192)):
        torch.save(clip_state(size), file)
        with pytest.raises(CheckpointError, match=r"256x192 or 384x128.*--image-size"):
            open_model(file)
        opened = open_model(file, image_size=size)
        assert opened.image_size == size
        assert f"{size[0]}x{size[1]}" in opened.origin
    with pytest.raises(CheckpointError, match="192 patches"):
        open_model(file, image_size=(256, 128))


def test_overlapping_patches_are_not_taken_for_a_larger_image(tmp_path: Path) -> None:
    state = clip_state()
    state["base_model.visual.positional_embedding"] = torch.randn(1 + 31 * 10, 64)
    torch.save(state, tmp_path / "stride.pth")
    with pytest.raises(CheckpointError, match="overlapping patches"):
        open_model(tmp_path / "stride.pth")


@pytest.mark.parametrize("text", ["384", "384x", "0x128", "tall"])
def test_an_image_size_that_is_none_is_bad_input(text: str, tmp_path: Path) -> None:
    words = ["export", "tiny:rendered", str(tmp_path / "out"), "--image-size", text]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "--image-size takes height×width in pixels, like 384x128" in done.stderr


def test_training_can_start_from_a_checkpoint_in_irras_layout(tmp_path: Path) -> None:
    backbone = load_backbone("tiny", "none", (96, 32), seed=5)
    file = tmp_path / "irra.pth"
    torch.save(
        {"model": {**prefixed("base_model.", backbone.state_dict()), "classifier.weight": torch.zeros(3, 2)}},
        file,
    )
    started = load_backbone("tiny", str(file), (96, 32), seed=0)
    for name, weight in backbone.state_dict().items():
        assert torch.equal(started.state_dict()[name], weight), name
    assert weights_problem("tiny", str(file), (96, 32)) == ""
    assert "do not fit ViT-B-32" in weights_problem("ViT-B-32", str(file), (384, 128))


def test_a_model_copied_out_of_its_cell_says_what_it_needs(tmp_path: Path) -> None:
    from harness.store.cell_run import CellRun

    run = CellRun(tmp_path / "cell")
    run.save_model("val", load_backbone("tiny", "none", (96, 32), seed=0).state_dict(), 3)
    copied = tmp_path / "model-val.safetensors"
    copied.write_bytes(run.model_path("val").read_bytes())
    with pytest.raises(CheckpointError, match=r"copied out of its folder.*cell\.json"):
        open_model(copied)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    previous = os.umask(0o077)
    try:
        export_checkpoint(Path("tiny:rendered"), folder)
    finally:
        os.umask(previous)
    return folder


def test_picture_files_and_sentences_through_open_clip_alone_have_our_features(
    exported: Path, tmp_path: Path
) -> None:
    rng, ours = np.random.default_rng(0), open_model(Path("tiny:rendered"))
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{exported}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{exported}")
    model.eval()
    encoder = ours.method.eval()
    files = []
    for number, size in enumerate(((61, 170), (300, 200), (32, 96))):
        coarse = rng.integers(0, 256, (8, 4, 3)).astype(np.uint8)
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(coarse).resize(size).save(files[-1])
    sentences = [
        "A man in a red coat & blue jeans, carrying a backpack.",
        "word " * 200,
        "Ünïcode, <mask> and <end_of_text>!",
    ]
    theirs = torch.stack([preprocess(Image.open(file)) for file in files])
    pixels = torch.stack([torch.from_numpy(resized(file.read_bytes(), ours.image_size)) for file in files])
    config = ours.backbone.config
    with torch.no_grad():
        image, expected = model.encode_image(theirs), encoder.encode_image(normalise(pixels))
        assert torch.allclose(image, expected, atol=1e-5)
        ids = tokenize(sentences)
        assert torch.equal(ids, ours.backbone.tokenizer(sentences))
        assert int(ids.max()) < config.vocab_size
        assert torch.allclose(model.encode_text(ids), encoder.encode_text(ids), atol=1e-5)


def test_an_exported_folder_that_was_moved_is_loaded_from_any_place_as_its_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_checkpoint(Path("tiny:rendered"), tmp_path / "first")
    sentences = ["A man in a red coat & blue jeans, carrying a backpack."]
    expected = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'first'}")(sentences)
    moved = (tmp_path / "first").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (code,) = re.findall(r"```python\n(.*?)```", (moved / "README.md").read_text("utf-8"), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code.replace("FOLDER", str(moved)), found)
    assert torch.equal(found["tokenize"](sentences), expected)
    picture = found["preprocess"](Image.new("RGB", (30, 80)))
    assert found["model"].encode_image(picture[None]).shape[0] == 1


def test_exported_files_can_be_read_by_everybody(exported: Path) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in exported.iterdir()} == {0o644}


def test_a_file_whose_path_has_a_colon_is_opened_as_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "2026-11-27 10:30"
    folder.mkdir()
    torch.save(clip_state(), folder / "best.pth")
    assert open_model(folder / "best.pth").origin.startswith("released IRRA checkpoint")


@pytest.mark.parametrize("backbone", [None, "ViT-B-32"])
def test_a_checkpoint_that_is_not_there_is_named_with_what_to_give(
    tmp_path: Path, backbone: str | None
) -> None:
    advice = "no such checkpoint; give a file, a cell's folder, or a name like tiny:rendered"
    for missing in (tmp_path / "nothing.pth", tmp_path):
        with pytest.raises(CheckpointError) as caught:
            open_model(missing, backbone=backbone)
        assert str(caught.value) == f"{missing}: {advice}"
