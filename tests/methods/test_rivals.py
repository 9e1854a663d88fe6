"""The rivals as methods of ours: exported, opened as released, few trained weights, costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from golden_rde import golden_rde, released_state
from test_golden_rivals import VFE_NAMES, read
from torch.nn import functional as F
from toy import PERSONS, toy_batch, toy_method, toy_noise

from harness.registry import method as find_method
from methods.cost import cost_table, parameters
from methods.lora import AdaptedAttention, LowRank
from methods.open_clip_export import export_open_clip
from methods.program_export import GLOBAL, export_programs
from methods.rde import RDE
from methods.released import from_state

FULL = ("ViT-B-16-quickgelu", (384, 128))
RIVALS = ("rde", "rde-no-ccd", "rde-bge", "vfe-mim", "clip-lora")


def rival(name: str, **settings: Any) -> Any:
    return toy_method(name, **settings)


# --- RDE


def test_rdes_exported_vector_has_the_mean_of_its_two_cosines() -> None:
    method, batch = rival("rde").eval(), toy_batch()
    with torch.no_grad():
        image, text = method.encode_image(batch.images), method.encode_text(batch.captions)
        pairs = zip(
            method.image_embeddings(batch.images), method.text_embeddings(batch.captions), strict=True
        )
        cosines = [F.normalize(one, dim=-1) @ F.normalize(other, dim=-1).T for one, other in pairs]
    assert image.shape == (6, method.embed_dim) == (6, 64 + 128)
    both = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    assert torch.allclose(both, sum(cosines) / 2, atol=1e-6)


def test_rde_is_exported_as_programs_that_need_no_code_of_ours(tmp_path: Path) -> None:
    method, batch = rival("rde").eval(), toy_batch()
    assert method.plain_backbone() is None
    folder = export_programs(method, tmp_path / "rde")
    encode_image = torch.export.load(folder / "encode_image.pt2").module()
    encode_text = torch.export.load(folder / "encode_text.pt2").module()
    with torch.no_grad():
        for count in (1, 5):
            ours = method.encode_image(batch.images[:count]), method.encode_text(batch.captions[:count])
            assert torch.allclose(encode_image(batch.images[:count]), ours[0], atol=1e-6)
            assert torch.allclose(encode_text(batch.captions[:count]), ours[1], atol=1e-6)
        plain = open_clip.create_model(f"local-dir:{folder / GLOBAL}").eval()
        assert torch.allclose(
            F.normalize(plain.encode_image(batch.images), dim=-1),
            method.encode_image(batch.images)[:, :64],
            atol=1e-5,
        )


def test_a_pair_that_is_not_trusted_has_no_loss_of_its_own() -> None:
    method, batch = rival("rde", word_corruption=False), toy_batch()
    noise = toy_noise(method)
    per_pair = {name: losses.detach() for name, losses in method.examine(batch, noise).items()}
    noise["trust"] = torch.tensor([1.0, 0, 1, 0, 0, 1])
    losses = method(batch, noise)
    for name in ("bge", "tse"):
        assert losses[name].item() == pytest.approx(per_pair[name][[0, 2, 5]].sum().item(), rel=1e-5)


def test_the_division_trusts_the_pairs_of_low_loss_and_none_is_divided_without_it() -> None:
    low = torch.cat([torch.full((60,), 0.1), torch.full((40,), 3.0)]) + torch.rand(100) * 0.05
    for name, embeddings in (("rde", ("bge", "tse")), ("rde-bge", ("bge",))):
        method = rival(name)
        assert method.examines_pairs
        trust = method.before_epoch(0, dict.fromkeys(embeddings, low), torch.Generator())["trust"]
        assert torch.equal(trust, torch.cat([torch.ones(60), torch.zeros(40)]))
    without = rival("rde-no-ccd")
    assert not without.examines_pairs
    assert without.before_epoch(0, {}, torch.Generator()) == {}


def test_where_losses_tell_pairs_apart_in_nothing_all_are_trusted() -> None:
    method, same = rival("rde"), torch.full((50,), 0.3)
    trust = method.before_epoch(0, {"bge": same, "tse": same}, torch.Generator())["trust"]
    assert torch.equal(trust, torch.ones(50))


def test_an_rde_checkpoint_in_the_released_layout_gives_its_features() -> None:
    expected, tensors = read("rde")
    state, size = released_state(tensors), tuple(tensors["model/images"].shape[2:])
    released = from_state(state, size)
    assert released.layout == "released RDE checkpoint"
    assert isinstance(released.encoder, RDE)
    ours = golden_rde(expected, tensors).eval()
    images, captions = tensors["model/images"], tensors["model/caption_ids"]
    with torch.no_grad():
        assert torch.equal(released.encoder.encode_image(images), ours.encode_image(images))
        assert torch.equal(released.encoder.encode_text(captions), ours.encode_text(captions))
    skipped = "\n".join(released.skipped)
    assert "visul_emb_layer (" in skipped
    assert "never used by the released code" in skipped
    assert "training only" not in skipped


def test_a_vfe_checkpoint_in_the_released_layout_is_read_without_its_head() -> None:
    _, tensors = read("vfe-mim")
    state = {name.removeprefix("state/"): t for name, t in tensors.items() if name.startswith("state/")}
    released = from_state(state, tuple(tensors["images"].shape[2:]))
    assert released.layout == "released VFE-TPS checkpoint"
    with torch.no_grad():
        image = released.encoder.encode_image(tensors["images"])
    assert torch.allclose(image, tensors["image_features"], atol=1e-4)
    parts = {name.split(".")[0] for name in VFE_NAMES} - {"base_model"}
    assert {line.split(" (")[0] for line in released.skipped} == parts


# --- adapters


def trained_adapters() -> LowRank:
    method = rival("clip-lora", adapter_rank=2)
    with torch.no_grad():
        for part in method.modules():
            if isinstance(part, AdaptedAttention):
                part.adapter_up.normal_(std=0.3)
    return method.eval()


def test_adapters_start_from_the_pretrained_model_and_alone_are_trained() -> None:
    method, plain, batch = rival("clip-lora"), rival("clip-itc"), toy_batch()
    with torch.no_grad():
        assert torch.equal(method.encode_image(batch.images), plain.encode_image(batch.images))
    assert {name for name, weight in method.named_parameters() if weight.requires_grad} == {
        name for name, _ in method.named_parameters() if "adapter_" in name
    }
    method(batch, {})["sdm"].backward()
    for name, weight in method.named_parameters():
        assert (weight.grad is not None) == ("adapter_" in name), name


def test_an_adapter_adds_a_matrix_of_low_rank_to_keys_and_values_only() -> None:
    method = trained_adapters()
    merged = method.plain_backbone()
    changed = dict(merged.state_dict())
    for name, weight in method.clip.state_dict().items():
        if "adapter_" in name:
            continue
        difference = changed[name] - weight
        if name.endswith("attn.in_proj_weight"):
            width = weight.shape[1]
            assert not difference[:width].any()
            for part in difference[width:].split(width):
                assert torch.linalg.matrix_rank(part, tol=1e-4) == 2
        else:
            assert not difference.any(), name


def test_adapters_are_exported_as_a_plain_clip_with_the_same_features(tmp_path: Path) -> None:
    method, batch = trained_adapters(), toy_batch()
    backbone = method.plain_backbone()
    assert backbone is not None
    model = open_clip.create_model(f"local-dir:{export_open_clip(backbone, tmp_path / 'lora')}").eval()
    with torch.no_grad():
        assert torch.allclose(model.encode_image(batch.images), method.encode_image(batch.images), atol=1e-5)
        assert torch.allclose(
            model.encode_text(batch.captions), method.encode_text(batch.captions), atol=1e-5
        )


# --- masked image modelling


def test_overwritten_captions_reach_every_loss_and_the_guide_of_the_preset_is_the_released_one() -> None:
    batch = toy_batch()
    clean, overwritten = (rival("vfe-mim", overwritten_captions=flag) for flag in (False, True))
    noise = toy_noise(clean)
    assert clean(batch, noise)["sdm"].item() != overwritten(batch, noise)["sdm"].item()
    assert dict(find_method("vfe-mim").settings.released) == {"guide": "self", "overwritten_captions": True}


def test_masked_pixels_alone_are_scored() -> None:
    method, batch = rival("vfe-mim"), toy_batch()
    noise = toy_noise(method)
    noise["blocks"] = torch.linspace(0, 1, noise["blocks"].shape[1]).expand_as(noise["blocks"])
    before = method(batch, noise)["mim"].item()
    rows, columns = method.clip.grid
    batch.images[:, :, -1, -1] += 5  # of the last block, which is not masked: seen by the encoder, not scored
    assert method(batch, noise)["mim"].item() != pytest.approx(before, rel=1e-7)
    assert method.classifier.out_features == PERSONS
    assert rows * columns == method.clip.patches


# --- costs


def test_costs_of_the_rivals_at_the_published_size() -> None:
    rows = {row["method"]: row for row in cost_table([*RIVALS, "clip-itc"], *FULL)}
    clip = rows["clip-itc"]
    assert rows["rde"]["parameters_m"] - clip["parameters_m"] == pytest.approx(2 * 1.314304, abs=1e-3)
    assert rows["rde"]["inference_gflop"] > 1.01 * clip["inference_gflop"]
    # The pass before an epoch is a forward pass of every pair.
    assert rows["rde"]["training_gflop"] == pytest.approx(2 * rows["rde-no-ccd"]["training_gflop"], rel=0.01)
    assert rows["rde-bge"]["parameters_m"] == clip["parameters_m"]
    assert rows["rde-bge"]["inference_gflop"] == clip["inference_gflop"]
    head = 1_050_624 + 4 * 3_152_384 + 3_072 + 393_984
    assert rows["vfe-mim"]["parts_m"]["head"] == pytest.approx(head / 1e6)
    assert rows["vfe-mim"]["training_gflop"] > 1.9 * clip["training_gflop"]
    # 24 blocks, keys and values, rank 8: 8 * (width + width) each.
    adapters = 12 * 2 * 8 * 2 * (768 + 512)
    assert rows["clip-lora"]["parameters_m"] == pytest.approx(adapters / 1e6)
    assert parameters(rival("clip-lora")) < 0.2 * parameters(rival("clip-itc"))
