"""The released code's own numbers, reproduced.  `GOLDEN_DIR` names another folder of the same layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_case import GoldenCase, golden_dir, released_name
from torch import Tensor

from harness.evaluate.metrics import query_records, ranks, summarise
from harness.train.optimiser import schedule
from methods.clip import at_end_of_text
from methods.masked_language import mask_captions
from methods.released import infer_sizes
from methods.restoration import sincos_positions
from methods.uit import UIT

LOSSES = {
    "sdm": "sdm_loss",
    "identity": "id_loss",
    "cmt": "tri_loss",
    "tir": "mae_loss",
    "mlm": "mlm_loss",
    "itc": "itc_loss",
    "cmpm": "cmpm_loss",
}
LR, WEIGHT_DECAY, EPS = 1e-3, 4e-5, 1e-3


@pytest.fixture(scope="module")
def golden() -> GoldenCase:
    return GoldenCase.read(golden_dir())


@pytest.fixture
def method(golden: GoldenCase) -> UIT:
    return golden.method()


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest deviation as a share of the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def adam(method: UIT) -> torch.optim.Adam:
    return torch.optim.Adam(method.parameter_groups(LR, WEIGHT_DECAY), eps=EPS)


def test_sizes_read_from_the_tensors_are_those_of_the_configuration(golden: GoldenCase) -> None:
    sizes, image_size = infer_sizes(golden.state)
    config = golden.config
    assert list(image_size) == config["image_size"]
    for name in ("embed_dim", "patch_size", "context_length", "vocab_size", "vision_width", "text_width"):
        assert getattr(sizes, name) == config[name]
    assert sizes.raw["vision_cfg"]["layers"] == sizes.raw["text_cfg"]["layers"] == config["layers"]


def test_fixed_positions_are_those_of_the_checkpoint(golden: GoldenCase, method: UIT) -> None:
    positions = sincos_positions(method.embed_dim, method.clip.grid)
    assert torch.allclose(positions, golden.state["decoder_pos_embed"][0], atol=1e-6)


def test_projected_tokens_and_features_agree(golden: GoldenCase, method: UIT) -> None:
    batch, theirs = golden.batch(), golden.tensors
    with torch.no_grad():
        image_tokens = method.clip.image_tokens(batch.images)
        text_tokens = method.clip.text_tokens(batch.captions)
        assert relative(image_tokens, theirs["image_tokens"]) < 1e-5
        assert relative(text_tokens, theirs["text_tokens"]) < 1e-5
        assert relative(method.encode_image(batch.images), theirs["image_features"]) < 1e-5
        assert relative(method.encode_text(batch.captions), theirs["text_features"]) < 1e-5
        assert relative(at_end_of_text(text_tokens, batch.captions), theirs["text_features"]) < 1e-5


def test_masked_captions_are_those_of_the_folder(golden: GoldenCase) -> None:
    batch, theirs = golden.batch(), golden.tensors
    ids, chosen = mask_captions(
        batch.captions, batch.content, golden.noise(), golden.config["vocab_size"], "by_tag"
    )
    assert torch.equal(ids, theirs["mlm_ids"])
    assert torch.equal(torch.where(chosen, batch.captions, 0), theirs["mlm_labels"])


def test_restoration_predicts_and_masks_the_same_patches(golden: GoldenCase, method: UIT) -> None:
    batch, theirs = golden.batch(), golden.tensors
    with torch.no_grad():
        predicted, plan = method.restore(
            batch.images, method.clip.text_tokens(batch.captions), golden.noise()
        )
    assert relative(predicted, theirs["restoration_prediction"]) < 1e-5
    assert torch.equal(plan.in_loss.float(), theirs["restoration_mask"])
    assert torch.equal(plan.order, theirs["restoration_restore_ids"])


def test_all_seven_losses_agree(golden: GoldenCase, method: UIT) -> None:
    losses = method(golden.batch(), golden.noise())
    expected = golden.expected
    assert losses.keys() == LOSSES.keys()
    for name, theirs in LOSSES.items():
        assert losses[name].item() == pytest.approx(expected["losses"][theirs], rel=1e-5), name
    assert sum(losses.values()).item() == pytest.approx(expected["total"], rel=1e-5)


def test_every_gradient_has_the_released_norm(golden: GoldenCase, method: UIT) -> None:
    sum(method(golden.batch(), golden.noise()).values()).backward()
    ours = {released_name(name): weight.grad for name, weight in trained(method)}
    used = {name: norm for name, norm in golden.expected["grad_norm"].items() if norm is not None}
    assert ours.keys() == used.keys()
    for name, norm in used.items():
        gradient = ours[name]
        assert gradient is not None, name
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-4), name


def test_every_learning_rate_factor_is_the_released_one(golden: GoldenCase, method: UIT) -> None:
    names = {weight: released_name(name) for name, weight in trained(method)}
    groups = method.parameter_groups(LR, WEIGHT_DECAY)
    factors = {names[weight]: group["lr"] / LR for group in groups for weight in group["params"]}
    decays = {names[weight]: group["weight_decay"] for group in groups for weight in group["params"]}
    theirs = golden.expected["lr_factor"]
    assert factors == pytest.approx({name: theirs[name] for name in names.values()})
    assert decays == {name: 0.0 if "bias" in name else WEIGHT_DECAY for name in names.values()}


def test_one_optimiser_step_moves_every_weight_as_far(golden: GoldenCase, method: UIT) -> None:
    before = {name: weight.detach().clone() for name, weight in trained(method)}
    optimiser = adam(method)
    sum(method(golden.batch(), golden.noise()).values()).backward()
    optimiser.step()
    for name, weight in trained(method):
        step = (weight.detach() - before[name]).norm().item()
        theirs = golden.expected["adam_step_norm"][released_name(name)]
        assert step == pytest.approx(theirs, rel=1e-4), name


def test_ten_steps_follow_the_released_trajectory(golden: GoldenCase, method: UIT) -> None:
    optimiser, totals = adam(method), []
    for patches in [None, *golden.later_noise]:
        total = sum(method(golden.batch(), golden.noise(patches)).values())
        totals.append(total.item())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert totals == pytest.approx(golden.expected["trajectory_total"], rel=1e-3)


def test_the_learning_rate_schedule_is_the_released_one(golden: GoldenCase) -> None:
    theirs = golden.evaluation["lr_schedule"]
    factors = schedule(theirs["total_epochs"], theirs["warmup_epochs"], theirs["warmup_factor"])
    assert [theirs["base_lr"] * factor for factor in factors] == pytest.approx(theirs["per_epoch"], rel=1e-9)


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
def test_retrieval_scores_are_the_released_ones(golden: GoldenCase, direction: str) -> None:
    given = golden.retrieval
    sides: list[Any] = [
        (given["query_features"], given["query_person_ids"]),
        (given["gallery_features"], given["gallery_person_ids"]),
    ]
    (query, query_person), (gallery, gallery_person) = sides if direction == "t2i" else reversed(sides)
    ranking = ranks(query, gallery, query_person, gallery_person)
    scores = summarise(query_records(ranking, query_person))
    theirs = golden.evaluation["retrieval"][direction]
    assert {name: scores[name] for name in theirs} == pytest.approx(theirs, abs=1e-4)


def trained(method: UIT) -> list[tuple[str, Any]]:
    """Names and weights that are trained."""
    return [(name, weight) for name, weight in method.named_parameters() if weight.requires_grad]
