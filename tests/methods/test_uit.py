"""UIT as a whole: its switches, its precision, and one batch shared by several processes."""

from __future__ import annotations

import threading
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from toy import IMAGE_SIZE, PERSONS, toy_backbone, toy_batch, toy_method, toy_noise

from harness.registry import MethodEntry, methods
from harness.registry.settings import NoSettings
from methods.base import Batch, Noise, learning_rate_factor
from methods.build import build_method
from methods.clip import DualEncoder
from methods.masked_language import mask_captions
from methods.settings import CLEAN, RELEASED, UITSettings
from methods.uit import UIT

TRAINED = [name for name, entry in methods().items() if entry.trains]
VARIANTS = [name for name in TRAINED if methods()[name].settings is UITSettings]
"""UIT and what differs from it by switches alone."""
LOSSES_OF_RIVALS = {
    "rde": {"bge", "tse"},
    "rde-no-ccd": {"bge", "tse"},
    "rde-bge": {"bge"},
    "vfe-mim": {"sdm", "identity", "mim"},
    "clip-lora": {"sdm"},
    "tbps-clip": {"nitc", "ritc", "citc", "simclr"},
    "tbps-clip-simple": {"nitc", "ritc"},
}


def losses(method: UIT, batch: Batch | None = None, noise: Noise | None = None) -> dict[str, float]:
    found = method(batch or toy_batch(), noise or toy_noise(method))
    return {name: loss.item() for name, loss in found.items()}


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_has_exactly_the_losses_of_its_switches_and_trains_every_weight(name: str) -> None:
    method = toy_method(name)
    found = method(toy_batch(), toy_noise(method))
    parts = ("sdm", "identity", "cmt", "tir", "mlm", "itc", "cmpm")
    switched_on = LOSSES_OF_RIVALS.get(name) or {part for part in parts if getattr(method.settings, part)}
    assert set(found) == switched_on
    torch.stack(list(found.values())).sum().backward()
    without = [n for n, weight in method.named_parameters() if weight.requires_grad and weight.grad is None]
    assert without == []


@pytest.mark.parametrize("name", ["uit", "uit-mlm"])
def test_a_step_is_a_function_of_weights_batch_and_noise_alone(name: str) -> None:
    method = toy_method(name)
    torch.manual_seed(1)
    first = losses(method)
    torch.manual_seed(2)
    assert losses(method) == first
    assert losses(method, noise=toy_noise(method, seed=1)) != first


def test_all_variants_see_the_same_noise_for_the_same_seed() -> None:
    reference = toy_noise(toy_method("uit"))
    for name in VARIANTS:
        noise = toy_noise(toy_method(name))
        assert noise.keys() == reference.keys()
        assert all(torch.equal(noise[key], reference[key]) for key in noise)
    assert all(len(tensor) == 6 for tensor in reference.values())


def test_switching_a_part_off_leaves_the_other_losses_as_they_were() -> None:
    uit = losses(toy_method("uit"))
    for name, gone in (("uit-no-tir", "tir"), ("uit-no-cmt", "cmt")):
        rest = losses(toy_method(name))
        assert rest.keys() == uit.keys() - {gone}
        shared = rest.keys() - {"identity"}  # the classifier's initial weights are drawn beside TIR's
        assert {key: rest[key] for key in shared} == pytest.approx({key: uit[key] for key in shared})


@pytest.mark.parametrize(
    "weight",
    [
        "sdm_weight",
        "identity_weight",
        "cmt_weight",
        "restoration_weight",
        "mlm_weight",
        "itc_weight",
        "cmpm_weight",
    ],
)
def test_a_weight_scales_its_own_loss(weight: str) -> None:
    part = {"restoration_weight": "tir"}.get(weight, weight.removesuffix("_weight"))
    once, thrice = (
        losses(toy_method("uit", mlm=True, itc=True, cmpm=True, **{weight: factor})) for factor in (1.0, 3.0)
    )
    assert thrice.pop(part) == pytest.approx(3 * once.pop(part), rel=1e-5)
    assert thrice == once


# --- the switches between the clean experiment and the released code, one by one


def changed_by(switch: str, **overrides: Any) -> set[str]:
    """Which losses differ between the clean and the released value of a switch."""
    clean, released = (
        losses(toy_method("uit", **{switch: values[switch]}, **overrides)) for values in (CLEAN, RELEASED)
    )
    return {name for name in clean if clean[name] != pytest.approx(released[name], rel=1e-5)}


def test_caption_corruption_reaches_every_loss() -> None:
    assert changed_by("caption_corruption", text_pruning=False) == {"sdm", "identity", "cmt", "tir"}


def test_the_off_by_one_changes_restoration_alone() -> None:
    assert changed_by("loss_mask_off_by_one") == {"tir"}


def test_the_choice_of_positive_changes_the_triplets_alone() -> None:
    assert changed_by("cmt_positive") == {"cmt"}


def test_encoding_the_text_twice_changes_no_number_but_the_work() -> None:
    assert changed_by("text_pass") == set()
    calls = {}
    for text_pass in ("reused", "twice"):
        method = toy_method("uit", text_pass=text_pass)
        seen: list[int] = []
        method.clip.transformer.resblocks[0].register_forward_hook(lambda *_, seen=seen: seen.append(1))
        losses(method)
        calls[text_pass] = len(seen)
    assert calls == {"reused": 1, "twice": 2}


def test_corruption_without_tir_and_tir_without_corruption_are_different_experiments() -> None:
    found = [
        losses(toy_method("uit", tir=tir, caption_corruption=corruption))["sdm"]
        for tir, corruption in ((True, "off"), (False, "by_tag"), (True, "by_tag"))
    ]
    assert found[1] == pytest.approx(found[2])
    assert found[0] != pytest.approx(found[1])


def test_corrupted_captions_are_the_masked_captions() -> None:
    method, batch = toy_method("uit", caption_corruption="uniform", text_pruning=False), toy_batch()
    noise = toy_noise(method)
    masked, _ = mask_captions(batch.captions, batch.content, noise, method.vocab_size, "uniform")
    clean = toy_method("uit", text_pruning=False)
    expected = losses(clean, replace(batch, captions=masked), noise)
    assert losses(method, batch, noise) == pytest.approx(expected)


def test_mlm_masks_a_copy_of_the_caption() -> None:
    with_mlm, without = losses(toy_method("uit-mlm")), losses(toy_method("uit-no-tir"))
    assert with_mlm["sdm"] == pytest.approx(without["sdm"])


def test_rates_by_tag_and_uniform_rates_mask_differently() -> None:
    by_tag, uniform = (losses(toy_method("uit-mlm", mlm_masking=how))["mlm"] for how in ("by_tag", "uniform"))
    assert by_tag != pytest.approx(uniform)


@pytest.mark.parametrize("kind", ["pruning", "deletion", "swap", "masking"])
def test_every_text_augmentation_reaches_the_text_encoder(kind: str) -> None:
    plain = losses(toy_method("uit", text_pruning=False))["sdm"]
    always = toy_method("uit", text_augmentation=kind, augmentation_probability=1.0)
    assert losses(always)["sdm"] != pytest.approx(plain)


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "max_hinge", "all_negatives", "info_nce"])
def test_every_mining_stands_in_for_the_triplet_and_changes_nothing_else(mining: str) -> None:
    triplet, other = losses(toy_method("uit")), losses(toy_method("uit", cmt_mining=mining))
    assert other.pop("cmt") != pytest.approx(triplet.pop("cmt"))
    assert other == triplet


REACHES: dict[str, tuple[Any, set[str]]] = {
    "temperature": (0.2, {"sdm", "itc"}),
    "margin": (0.4, {"cmt"}),
    "mask_ratio": (0.4, {"tir"}),
    "augmentation_probability": (0.9, {"sdm", "cmt", "itc", "cmpm", "identity", "tir", "mlm"}),
    "decoder_depth": (2, {"tir", "mlm"}),
    "cmt_mining": ("semi_hard", {"cmt"}),
    "mlm_masking": ("by_tag", {"mlm"}),
    "loss_mask_off_by_one": (True, {"tir"}),
}


@pytest.mark.parametrize("setting", REACHES)
def test_a_setting_reaches_its_losses_and_no_other(setting: str) -> None:
    value, reached = REACHES[setting]
    parts = {"mlm": True, "itc": True, "cmpm": True}
    before, after = losses(toy_method("uit", **parts)), losses(toy_method("uit", **parts, **{setting: value}))
    changed = {name for name in before if before[name] != pytest.approx(after[name], rel=1e-6)}
    assert changed == reached


@pytest.mark.parametrize("mining", ["all_negatives_own_pair", "info_nce"])
def test_the_temperature_reaches_soft_mining(mining: Any) -> None:
    cool, warm = (losses(toy_method("uit", cmt_mining=mining, temperature=t))["cmt"] for t in (0.02, 0.3))
    assert cool != pytest.approx(warm)


@pytest.mark.parametrize("setting", [{"tal_margin": 0.9}, {"tal_temperature": 0.2}, {"tal_reduction": "sum"}])
def test_the_numbers_of_tal_reach_it_and_those_of_the_triplet_do_not(setting: dict[str, Any]) -> None:
    published = losses(toy_method("uit", cmt_mining="all_negatives"))["cmt"]
    assert losses(toy_method("uit", cmt_mining="all_negatives", **setting))["cmt"] != pytest.approx(published)
    others = {"margin": 0.9, "temperature": 0.3}
    assert losses(toy_method("uit", cmt_mining="all_negatives", **others))["cmt"] == published


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "max_hinge", "all_negatives_own_pair"])
def test_the_margin_reaches_every_mining_that_has_one(mining: Any) -> None:
    narrow, wide = (losses(toy_method("uit", cmt_mining=mining, margin=m))["cmt"] for m in (0.05, 0.9))
    assert wide > narrow


# --- several processes, precision, weights


class Exchange:
    """Gathers as processes do, between threads: each hands in its share and gets the whole, with
    gradients."""

    def __init__(self, size: int) -> None:
        self.shares: list[torch.Tensor | None] = [None] * size
        self.barrier = threading.Barrier(size, timeout=30)

    def gather_for(self, rank: int) -> Any:
        def gather(tensor: torch.Tensor) -> torch.Tensor:
            self.shares[rank] = tensor
            self.barrier.wait()
            whole = torch.cat([share for share in self.shares if share is not None])
            self.barrier.wait()
            return whole

        return gather


def share(batch: Batch, rows: slice) -> Batch:
    given = {field.name: getattr(batch, field.name) for field in fields(Batch)}
    of_pairs = {name: value[rows] for name, value in given.items() if isinstance(value, torch.Tensor)}
    return replace(batch, **of_pairs)


@pytest.mark.parametrize("overrides", [{}, {"mlm": True, "itc": True, "cmpm": True}])
def test_processes_that_share_a_batch_get_the_losses_and_gradients_of_the_whole(
    overrides: dict[str, Any],
) -> None:
    alone, batch = toy_method("uit", **overrides), toy_batch()
    noise = toy_noise(alone)
    expected = alone(batch, noise)
    torch.stack(list(expected.values())).sum().backward()

    ranks, exchange = [slice(0, 2), slice(2, 6)], Exchange(2)
    copies = [toy_method("uit", **overrides) for _ in ranks]
    found: dict[int, dict[str, torch.Tensor]] = {}

    def step(rank: int) -> None:
        copies[rank].gather = exchange.gather_for(rank)
        rows = ranks[rank]
        found[rank] = copies[rank](share(batch, rows), {key: value[rows] for key, value in noise.items()})

    threads = [threading.Thread(target=step, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank in range(2):
        assert {name: loss.item() for name, loss in found[rank].items()} == pytest.approx(
            {name: loss.item() for name, loss in expected.items()}, rel=1e-4
        )
    torch.stack([loss for losses in found.values() for loss in losses.values()]).sum().backward()
    for name, weight in alone.named_parameters():
        if weight.grad is not None:
            parts = [copy.get_parameter(name).grad for copy in copies]
            mean = sum(part for part in parts if part is not None) / len(ranks)
            assert torch.allclose(mean, weight.grad, atol=2e-4 * weight.grad.abs().max().item()), name


@pytest.mark.parametrize("name", ["uit", "uit-mlm", "clip-itc"])
def test_autocast_gives_losses_in_float32_near_those_of_full_precision(name: str) -> None:
    method = toy_method(name)
    full = losses(method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = method(toy_batch(), toy_noise(method))
    assert {loss.dtype for loss in found.values()} == {torch.float32}
    assert {key: loss.item() for key, loss in found.items()} == pytest.approx(full, rel=0.15)


@pytest.mark.parametrize("name", ["uit", "uit-mlm"])
def test_half_precision_weights_train_as_released(name: str) -> None:
    method = toy_method(name)
    full = losses(method)
    method.half()
    found = method(toy_batch(), toy_noise(method))
    assert {key: loss.item() for key, loss in found.items()} == pytest.approx(full, rel=0.1)
    torch.stack(list(found.values())).sum().backward()


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("clip.visual.conv1.weight", 1.0),
        ("clip.visual.ln_post.bias", 2.0),
        ("restoration.mask_token", 1.0),
        ("restoration.embed.bias", 2.0),
        ("restoration.norm_text.weight", 1.0),
        ("restoration.cross_attention.in_proj_weight", 5.0),
        ("restoration.cross_blocks.0.attn.in_proj_bias", 2.0),
        ("masked_language.mlm_head.dense.bias", 5.0),
        ("masked_language.norm_text.bias", 2.0),
        ("classifier.bias", 5.0),
    ],
)
def test_learning_rates_follow_the_released_recipe(name: str, factor: float) -> None:
    assert learning_rate_factor(name) == factor


def test_parameter_groups_hold_every_trained_weight_once() -> None:
    method = toy_method("uit-mlm")
    groups = method.parameter_groups(1e-3, 4e-5)
    held = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(held) == sorted(id(weight) for weight in method.parameters() if weight.requires_grad)
    assert all({"name", "lr", "weight_decay"} <= group.keys() for group in groups)


def test_a_seed_decides_a_methods_heads_and_leaves_the_random_state_alone() -> None:
    def build(seed: int) -> torch.Tensor:
        sizes = {"identities": PERSONS, "image_size": IMAGE_SIZE}
        entry = methods()["uit"]
        method = build_method(entry, entry.resolve(), backbone=toy_backbone(), seed=seed, **sizes)
        assert isinstance(method, UIT)
        return method.classifier.weight

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(build(1), build(1))
    assert not torch.equal(build(1), build(2))
    assert torch.equal(torch.rand(3), expected)


def test_a_method_of_ones_own_needs_only_its_losses() -> None:
    class Pull(DualEncoder):
        def losses(
            self, batch: Batch, image_features: torch.Tensor, text_features: torch.Tensor, noise: Noise
        ) -> dict[str, torch.Tensor]:
            return {"pull": 1 - torch.cosine_similarity(image_features, text_features).mean()}

    entry = MethodEntry("pull", "pulls pairs together", Pull, NoSettings)
    method = build_method(
        entry, NoSettings(), backbone=toy_backbone(), identities=PERSONS, image_size=IMAGE_SIZE, seed=0
    )
    optimiser = torch.optim.Adam(method.parameter_groups(1e-3, 0.0))
    totals = []
    for _ in range(5):
        loss = method(toy_batch(), method.draw_noise(6, torch.Generator(), "cpu"))["pull"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        totals.append(loss.item())
    assert totals[-1] < totals[0]


def test_zero_shot_encodes_with_the_backbone_as_it_is() -> None:
    method, batch = toy_method("clip-zero-shot"), toy_batch()
    assert torch.equal(method.encode_image(batch.images), toy_backbone().encode_image(batch.images))
    assert torch.equal(method.encode_text(batch.captions), toy_backbone().encode_text(batch.captions))
