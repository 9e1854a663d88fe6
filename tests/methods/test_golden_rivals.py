"""The rivals' released codes' own numbers, reproduced; `RIVALS_GOLDEN_DIR` names another folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_rde import golden_batch, golden_rde, name_of
from safetensors.torch import load_file
from torch import Tensor, nn
from toy import toy_backbone, toy_method

from harness.evaluate.metrics import query_records, ranks, summarise
from harness.study.schema import TrainSettings
from harness.train.optimiser import make_optimiser, optimiser_groups, rate_factor, set_rates
from methods.base import Batch
from methods.clip import Backbone
from methods.consensus import DIVISIONS, MixtureOptions, clean_pairs, clean_probability, divide
from methods.losses import cosine_matrix, same_person, same_person_distribution
from methods.masked_image import (
    BLOCK,
    MaskedImage,
    MaskedImageHead,
    grid_of_blocks,
    mask_patches,
    masked_error,
)
from methods.mining import MiningOptions, mining_loss, tal
from methods.pair_losses import losses_of_pairs, trusted_total
from methods.rde import side_by_side
from methods.released import infer_sizes
from methods.rival_settings import MaskedImageSettings
from methods.settings import UITSettings
from methods.tbps_clip import TBPSCLIP
from methods.tbps_losses import ritc
from methods.tbps_settings import TBPSSettings
from methods.text_augmentation import corrupt_words
from methods.token_selection import TokenEmbedding, choose_patches, choose_words, tokens_at
from methods.uit import UIT

FOLDER = Path(os.environ.get("RIVALS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden" / "rivals")
LOSSES, GRADIENTS, TRAJECTORY = 1e-5, 1e-4, 1e-3


def read(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    folder = FOLDER / name
    return json.loads((folder / "expected.json").read_text()), load_file(folder / "tensors.safetensors")


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def renamed(name: str, names: Mapping[str, str]) -> str:
    """A released name with its beginning replaced by ours, from a table of beginnings."""
    prefix = next(prefix for prefix in names if name.startswith(prefix))
    return names[prefix] + name.removeprefix(prefix)


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((ours.detach() - theirs).norm() / theirs.norm())


# --- TAL


@pytest.mark.parametrize("name", ["TAL", "TAL_b"])
def test_tal_of_every_pair_and_its_gradients_are_the_published_ones(name: str) -> None:
    expected, tensors = read("rde")
    config = expected["loss"][name]["config"]
    options = MiningOptions(margin=config["margin"], temperature=config["tau"])
    image, text = (tensors[f"loss/{side}"].clone().requires_grad_() for side in ("image", "text"))
    same, cosine = same_person(tensors["loss/person_ids"]), cosine_matrix(text, image)
    per_pair = tal(cosine, same, options) + tal(cosine.T, same, options)
    assert distance(per_pair, tensors[f"loss/{name}/per_pair"]) < LOSSES
    per_pair.sum().backward()
    for side, found in (("image", image.grad), ("text", text.grad)):
        assert found is not None
        assert distance(found, tensors[f"loss/{name}/{side}_grad"]) < GRADIENTS


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_tal_is_summed_or_averaged_and_not_its_own_pair_form(reduction: Any) -> None:
    expected, tensors = read("rde")
    stored = expected["loss"]["TAL"]
    options = MiningOptions(
        margin=stored["config"]["margin"], temperature=stored["config"]["tau"], reduction=reduction
    )
    batch = tensors["loss/image"], tensors["loss/text"], tensors["loss/person_ids"]
    assert mining_loss(*batch, "all_negatives", options).item() == pytest.approx(
        stored[reduction], rel=LOSSES
    )
    own_pair = mining_loss(*batch, "all_negatives_own_pair", options).item() * len(batch[2])
    assert own_pair == pytest.approx(stored["not_this_own_pair_form_sum"], rel=LOSSES)


# --- IRRA

IRRA_NAMES = {
    "base_model.": "clip.",
    "classifier.": "classifier.",
    "cross_attn.": "masked_language.cross_attention.",
    "cross_modal_transformer.resblocks.": "masked_language.cross_blocks.",
    "ln_pre_t.": "masked_language.norm_text.",
    "ln_pre_i.": "masked_language.norm_image.",
    "ln_post.": "masked_language.norm_words.",
    "mlm_head.": "masked_language.mlm_head.",
}
PARTS = {"sdm": "sdm_loss", "identity": "id_loss", "mlm": "mlm_loss"}


def our_name(name: str) -> str:
    return renamed(name, IRRA_NAMES)


class Irra:
    """IRRA with the folder's weights; captions as released (masked for every loss), or clean."""

    def __init__(self, captions: str) -> None:
        self.expected, self.tensors = read("irra")
        state = below("state/", self.tensors)
        size = tuple(self.tensors["images"].shape[2:])
        blocks = {name.split(".")[2] for name in state if name.startswith("cross_modal_transformer.")}
        settings = UITSettings(
            tir=False,
            cmt=False,
            text_pruning=False,
            mlm=True,
            decoder_depth=len(blocks),
            temperature=self.expected["config"].get("temperature", 0.02),
            caption_corruption="uniform" if captions == "released" else "off",
        )
        backbone = Backbone(infer_sizes(state, size)[0], size)
        self.method = UIT(
            settings, backbone=backbone, identities=len(state["classifier.weight"]), image_size=size
        )
        self.state = state
        missing, unexpected = self.method.load_state_dict(
            {our_name(name): tensor for name, tensor in state.items()}, strict=False
        )
        assert (missing, unexpected) == (["clip.logit_scale"], [])
        self.stored = self.expected[captions]

    def losses(self) -> dict[str, Tensor]:
        """Losses with noise for which our masking gives the folder's masked captions."""
        captions, masked = self.tensors["caption_ids"], self.tensors["mlm_ids"]
        vocab = self.method.vocab_size
        kind = torch.where(masked == captions, 0.95, 0.85)
        kind[masked == vocab - 3] = 0.0
        noise = {
            "mask_choice": torch.where(self.tensors["mlm_labels"] != 0, 0.0, 1.0),
            "mask_kind": kind,
            "mask_word": (masked.double() - 0.5) / (vocab - 4),
        }
        content = torch.zeros_like(captions, dtype=torch.bool)
        batch = Batch(self.tensors["images"], captions, captions, content, self.tensors["person_ids"])
        return self.method(batch, noise)


@pytest.mark.parametrize("captions", ["released", "clean_captions"])
def test_irra_has_the_losses_and_gradients_of_its_released_code(captions: str) -> None:
    irra = Irra(captions)
    losses = irra.losses()
    for name, theirs in PARTS.items():
        assert losses[name].item() == pytest.approx(irra.stored["losses"][theirs], rel=LOSSES), name
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(irra.stored["total"], rel=LOSSES)
    total.backward()
    norms = {name: norm for name, norm in irra.stored["grad_norm"].items() if norm is not None}
    negligible = 1e-6 * max(norms.values())
    for name, norm in norms.items():
        gradient = irra.method.get_parameter(our_name(name)).grad
        assert gradient is not None, name
        assert gradient.norm().item() == pytest.approx(norm, rel=GRADIENTS, abs=negligible), name


@pytest.mark.parametrize("captions", ["released", "clean_captions"])
def test_irra_follows_the_trajectory_of_its_released_code(captions: str) -> None:
    irra = Irra(captions)
    step = irra.expected["adam_step"]
    optimiser = torch.optim.Adam(irra.method.parameter_groups(step["base_lr"], 4e-5), eps=1e-3)
    totals = []
    for _ in irra.expected["trajectory"][captions]:
        total = torch.stack(list(irra.losses().values())).sum()
        totals.append(total.item())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert totals == pytest.approx(irra.expected["trajectory"][captions], rel=TRAJECTORY)


# --- TBPS-CLIP


def tbps_recipe(**changes: Any) -> TrainSettings:
    """A recipe with the numbers of a schedule in the folder."""
    stored = {"optimiser": "adamw", "decay_of": "matrices", "schedule": "iteration", "bias_lr_factor": 1.0}
    return TrainSettings(**{**stored, **changes})


def tbps_schedules() -> dict[str, Any]:
    return read("tbps-clip")[0]["schedule"]


@pytest.mark.parametrize("name", tbps_schedules())
def test_the_schedule_of_tbps_clip_is_the_released_one_at_every_iteration(name: str) -> None:
    stored = tbps_schedules()[name]
    lr, epochs, steps = stored["lr"], stored["epochs"], stored["iterations_per_epoch"]
    settings = tbps_recipe(
        lr=lr,
        epochs=epochs,
        warmup_epochs=stored["warmup_epochs"],
        warmup_factor=stored["lr_start"] / lr,
        final_lr_factor=stored["lr_end"] / lr,
    )
    rates = [
        lr * rate_factor(settings, epoch, step, steps) for epoch in range(epochs) for step in range(steps)
    ]
    assert rates == pytest.approx(stored["values"], rel=1e-9)


# --- RDE: losses of pairs


@pytest.mark.parametrize("name", ["TAL", "TAL_b", "TRL", "TRL_b", "SDM", "InfoNCE"])
def test_losses_of_every_pair_and_their_gradients_are_rdes(name: str) -> None:
    expected, tensors = read("rde")
    config, stored = expected["loss"][name]["config"], expected["loss"][name]
    kind: Any = {"TAL": "tal", "TRL": "trl", "SDM": "sdm", "InfoNCE": "info_nce"}[config["kind"]]
    temperature = config["tau"] if "tau" in config else 1 / config["logit_scale"]
    people, trust = tensors["loss/person_ids"], tensors["loss/label_hat"].float()

    def losses(image: Tensor, text: Tensor) -> Tensor:
        margin = config.get("margin", 0.1)
        return losses_of_pairs(image, text, people, kind, margin=margin, temperature=temperature)

    names = ("image", "text", "image_tse", "text_tse")
    image, text, image_tse, text_tse = (tensors[f"loss/{side}"].clone().requires_grad_() for side in names)
    per_pair = losses(image, text)
    assert distance(per_pair, tensors[f"loss/{name}/per_pair"]) < LOSSES
    assert per_pair.sum().item() == pytest.approx(stored["sum"], rel=LOSSES)
    gradients = torch.autograd.grad(per_pair.sum(), (image, text))
    for side, gradient in zip(("image", "text"), gradients, strict=True):
        assert distance(gradient, tensors[f"loss/{name}/{side}_grad"]) < GRADIENTS
    weighted = [trusted_total(losses(*pair), trust, kind) for pair in ((image, text), (image_tse, text_tse))]
    for found, part in zip(weighted, ("bge", "tse"), strict=True):
        assert found.item() == pytest.approx(stored["weighted"][part], rel=LOSSES)
    unweighted = trusted_total(losses(image, text), torch.ones_like(trust), kind)
    assert unweighted.item() == pytest.approx(stored["unweighted"]["bge"], rel=LOSSES)
    sum(weighted).backward()
    for found, part in ((image, "weighted_image"), (text_tse, "weighted_text_tse")):
        assert distance(found.grad, tensors[f"loss/{name}/{part}_grad"]) < GRADIENTS
    for side, leaf in zip(
        ("image", "text", "image_tse", "text_tse"), (image, text, image_tse, text_tse), strict=True
    ):
        assert leaf.grad.norm().item() == pytest.approx(stored["weighted"]["grad_norm"][side], rel=GRADIENTS)


def test_trl_has_a_hardest_negative_of_at_least_0_as_released_or_not() -> None:
    expected, tensors = read("rde")
    stored = expected["loss"]["TRL_floor"]
    inputs = [tensors[f"loss/TRL_floor/{name}"] for name in ("image", "text", "person_ids")]
    numbers = {"margin": stored["config"]["margin"], "temperature": stored["config"]["tau"]}
    released = losses_of_pairs(*inputs, "trl", **numbers)
    assert distance(released, tensors["loss/TRL_floor/per_pair"]) < LOSSES
    without = losses_of_pairs(*inputs, "trl", **numbers, floor=False).sum().item()
    assert without == pytest.approx(stored["without_floor_sum"], abs=1e-6)


def test_with_no_trusted_pair_every_loss_and_gradient_is_0_where_the_released_code_has_nan() -> None:
    _, tensors = read("rde")
    for kind in ("tal", "trl", "sdm", "info_nce"):
        image = tensors["loss/image"].clone().requires_grad_()
        per_pair = losses_of_pairs(image, tensors["loss/text"], tensors["loss/person_ids"], kind)
        total = trusted_total(per_pair, torch.zeros(len(per_pair)), kind)
        total.backward()
        assert (total.item(), image.grad.abs().sum().item()) == (0, 0)


def test_a_batch_of_one_person_has_finite_gradients_at_any_temperature() -> None:
    _, tensors = read("rde")
    for temperature in (0.015, 0.0113, 0.005):
        image = tensors["loss/image"].clone().requires_grad_()
        people = torch.zeros(len(image), dtype=torch.int64)
        losses_of_pairs(image, image * 2, people, "tal", temperature=temperature).sum().backward()
        assert image.grad.isfinite().all()


# --- RDE: the division


@pytest.mark.parametrize("case", ["low_noise", "high_noise"])
def test_the_division_gives_the_released_probabilities_and_labels(case: str) -> None:
    expected, tensors = read("rde")
    stored = expected["ccd"]["cases"][case]
    gmm = stored["gmm"]
    options = MixtureOptions(gmm["max_iter"], gmm["tol"], gmm["reg_covar"])
    assert {"low_noise": DIVISIONS["quick"], "high_noise": DIVISIONS["thorough"]}[case] == options
    losses = [tensors[f"ccd/loss_{part}"] for part in ("bge", "tse")]
    clean = []
    for part, loss in zip(("bge", "tse"), losses, strict=True):
        probability = clean_probability(loss, options)
        assert distance(probability, tensors[f"ccd/{case}/probability_{part}"].double()) < LOSSES
        clean.append(clean_pairs(probability))
        assert torch.equal(clean[-1].long(), tensors[f"ccd/{case}/clean_{part}"])
    votes = tensors[f"ccd/{case}/votes"]
    drawn = torch.stack([divide(losses, options, torch.Generator().manual_seed(seed)) for seed in range(400)])
    assert (drawn[:, votes == 2] == 1).all()
    assert (drawn[:, votes == 0] == 0).all()
    disputed = int((votes == 1).sum())
    assert disputed == stored["disputed"]
    if disputed:
        share = drawn[:, votes == 1].mean().item()
        assert share == pytest.approx(0.5, abs=4 * 0.5 / (400 * disputed) ** 0.5)


def test_where_every_probability_is_above_one_half_the_lowest_hundredth_is_noisy() -> None:
    _, tensors = read("rde")
    clean = clean_pairs(tensors["ccd/no_noise/probability"])
    assert torch.equal(clean.long(), tensors["ccd/no_noise/clean"])


# --- RDE: token selection

TSE_NAMES = {
    "fc.": "skip.",
    "linear.": "skip.",
    "mlp.layers.0.": "first.",
    "mlp.layers.1.": "second.",
    "mlp.bns.0.": "norm.",
}


def token_embedding(tensors: dict[str, Tensor], side: str) -> TokenEmbedding:
    state = below(f"tse/{side}_state/", tensors)
    used = {
        name: value for name, value in state.items() if not (side == "image" and name.startswith("linear."))
    }
    hidden, width = state["mlp.layers.0.weight"].shape
    selection = TokenEmbedding(width, hidden, len(state["mlp.layers.1.weight"]), sees_batches=True)
    ours = {tse_name(name): value for name, value in used.items() if tse_name(name)}
    missing, unexpected = selection.load_state_dict(ours, strict=False)
    assert (set(missing) - {"norm.num_batches_tracked"}, unexpected) == (set(), [])
    return selection


def tse_name(released: str) -> str:
    return renamed(released, TSE_NAMES) if released.startswith(tuple(TSE_NAMES)) else ""


def tse_cases() -> list[tuple[str, str]]:
    expected, _ = read("rde")
    return [(case, side) for case, sides in expected["tse"]["cases"].items() for side in sides]


@pytest.mark.parametrize(("case", "side"), tse_cases())
def test_token_selection_keeps_the_released_tokens_and_pools_them_alike(case: str, side: str) -> None:
    expected, tensors = read("rde")
    stored, ratio = expected["tse"]["cases"][case][side], float(case.split("_")[0].removeprefix("ratio"))
    short, training = case.endswith("_short"), "_train" in case
    selected = tensors[f"tse/{case}/{side}_selected"]
    tokens = tensors[f"tse/{side}_tokens"].clone().requires_grad_()
    attention, counted = tensors[f"tse/{side}_attention"], None
    if side == "image":
        chosen = choose_patches(attention[:, 0], ratio)
    else:
        captions = tensors["tse/caption_ids_short" if short else "tse/caption_ids"]
        rows = torch.arange(len(captions))
        chosen, counted = choose_words(attention[rows, captions.argmax(1)], captions, ratio)
        words = expected["tse"]["config"]["words_short" if short else "words"]
        assert counted.tolist() == [min(stored["k"], count) for count in words]
    kept = torch.ones_like(selected, dtype=torch.bool)
    if counted is not None:
        kept = torch.arange(selected.shape[1]) < counted[:, None]
    assert torch.equal(chosen[kept], selected[kept])  # beyond the words, padding in no defined order
    selection = token_embedding(tensors, side).train(training)
    embedding = selection(tokens_at(selected, tokens), counted)
    assert distance(embedding, tensors[f"tse/{case}/{side}_embedding"]) < LOSSES
    weighted = (embedding * tensors[f"tse/{side}_weighting"]).sum()
    scale = (embedding * tensors[f"tse/{side}_weighting"]).norm().item()
    assert weighted.item() == pytest.approx(stored["weighted_sum"], abs=LOSSES * scale)
    weighted.backward()
    if f"tse/{case}/{side}_tokens_grad" in tensors:
        assert distance(tokens.grad, tensors[f"tse/{case}/{side}_tokens_grad"]) < GRADIENTS
    for name, norm in stored["grad_norm"].items():
        ours = tse_name(name)
        if norm is None or (side == "image" and name.startswith("linear.")):
            continue
        zero = training and name == "mlp.layers.0.bias"  # in exact arithmetic
        gradient = selection.get_parameter(ours).grad.norm().item()
        assert gradient == pytest.approx(0.0 if zero else norm, rel=GRADIENTS, abs=1e-4 if zero else 0), name
    if training:
        for part in ("mean", "var"):
            running = getattr(selection.norm, f"running_{part}")
            assert distance(running, tensors[f"tse/{case}/{side}_running_{part}"]) < LOSSES


def test_token_selection_has_the_published_sizes() -> None:
    sizes = read("rde")[0]["tse"]["published_sizes"]
    selection = TokenEmbedding(sizes["input_width"], sizes["hidden"], sizes["embedding_width"])
    assert sum(weight.numel() for weight in selection.parameters()) == sizes["parameters_used_a_side"]
    assert choose_patches(torch.rand(1, 193), 0.3).shape[1] == sizes["k_image"]
    assert (
        choose_words(torch.rand(1, 77), torch.ones(1, 77, dtype=torch.int64), 0.3)[0].shape[1]
        == sizes["k_text"]
    )


def test_a_caption_without_words_harms_no_other_row() -> None:
    _, tensors = read("rde")
    captions, tokens = tensors["tse/caption_ids"].clone(), tensors["tse/text_tokens"]
    selection = token_embedding(tensors, "text").eval()

    def embedded(captions: Tensor) -> Tensor:
        rows = torch.arange(len(captions))
        attention = tensors["tse/text_attention"][rows, captions.argmax(1)]
        chosen, counted = choose_words(attention, captions, 0.3)
        return selection(tokens_at(chosen, tokens), counted)

    whole = embedded(captions)
    captions[2, 1], captions[2, 2:] = captions[2].max(), 0
    without = embedded(captions)
    assert without.isfinite().all()
    others = [0, 1, 3, 4, 5]
    assert torch.equal(without[others], whole[others])


# --- RDE: the whole model


@pytest.mark.parametrize("norm", ["eval", "train"])
def test_rde_has_the_losses_gradients_and_embeddings_of_its_released_code(norm: str) -> None:
    expected, tensors = read("rde")
    method, stored = (
        golden_rde(expected, tensors, selection_norm=norm),
        expected["model"][f"batchnorm_{norm}"],
    )
    method.train()
    noise = {"trust": tensors["model/label_hat"].float()}
    losses = method(golden_batch(tensors), noise)
    assert losses["bge"].item() == pytest.approx(stored["losses"]["bge_loss"], rel=LOSSES)
    assert losses["tse"].item() == pytest.approx(stored["losses"]["tse_loss"], rel=LOSSES)
    sum(losses.values()).backward()
    norms = {name: value for name, value in stored["grad_norm"].items() if value is not None}
    negligible = 1e-6 * max(norms.values())
    for name, value in norms.items():
        ours = name_of(name)
        zero = norm == "train" and name.endswith("mlp.layers.0.bias")
        gradient = method.get_parameter(ours).grad if ours else torch.zeros(1)
        assert gradient is not None, name
        expected_norm, slack = (0.0, 1e-4) if zero else (value, negligible)
        assert gradient.norm().item() == pytest.approx(expected_norm, rel=GRADIENTS, abs=slack), name


def test_rdes_tokens_attention_and_losses_of_the_pass_are_the_released_ones() -> None:
    expected, tensors = read("rde")
    method, batch = golden_rde(expected, tensors).eval(), golden_batch(tensors)
    rows = torch.arange(len(batch.images))
    with torch.no_grad():
        image_tokens, image_attention = method.image_tokens(batch.images)
        text_tokens, text_attention = method.text_tokens(batch.captions)
        examined = method.examine(batch, {})
        image, text = method.image_embeddings(batch.images), method.text_embeddings(batch.captions)
    end = batch.captions.argmax(1)
    for ours, theirs in (
        (image_tokens, tensors["model/image_tokens"]),
        (text_tokens, tensors["model/text_tokens"]),
        (image_attention, tensors["model/image_attention"][:, 0]),
        (text_attention, tensors["model/text_attention"][rows, end]),
        (image[0], tensors["model/image_bge"]),
        (image[1], tensors["model/image_tse"]),
        (text[0], tensors["model/text_bge"]),
        (text[1], tensors["model/text_tse"]),
        (examined["bge"], tensors["model/per_pair_bge"]),
        (examined["tse"], tensors["model/per_pair_tse"]),
    ):
        assert distance(ours, theirs) < LOSSES


def rde_optimiser(method: Any, base_lr: float) -> torch.optim.Optimizer:
    recipe = TrainSettings(lr=base_lr, weight_decay=4e-5, group_lr={"token_selection": 1e-3})
    return torch.optim.Adam(optimiser_groups(method, recipe), eps=1e-3)


def test_rdes_learning_rates_and_its_first_adam_step_are_the_released_ones() -> None:
    expected, tensors = read("rde")
    method, step = golden_rde(expected, tensors), expected["model"]["adam_step"]
    names = {parameter: name for name, parameter in method.named_parameters()}
    for group in rde_optimiser(method, 1e-5).param_groups:
        for parameter in group["params"]:
            (theirs,) = [
                values
                for name, values in expected["model"]["optimiser"].items()
                if name_of(name) == names[parameter]
            ]
            assert (group["lr"], group["weight_decay"]) == (
                pytest.approx(theirs["lr"]),
                theirs["weight_decay"],
            )
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    optimiser = rde_optimiser(method, step["base_lr"])
    sum(method(golden_batch(tensors), {"trust": tensors["model/label_hat"].float()}).values()).backward()
    optimiser.step()
    for name, norm in step["norm"].items():
        ours = name_of(name)
        if ours:
            moved = (method.get_parameter(ours).detach() - before[ours]).norm().item()
            assert moved == pytest.approx(norm, rel=GRADIENTS), name


@pytest.mark.parametrize("norm", ["eval", "train"])
def test_rde_follows_the_trajectory_of_its_released_code(norm: str) -> None:
    expected, tensors = read("rde")
    method, stored = golden_rde(expected, tensors, selection_norm=norm), expected["model"]["trajectory"]
    method.train()
    optimiser, totals = rde_optimiser(method, stored["base_lr"]), []
    for _ in stored[f"batchnorm_{norm}"]:
        losses = method(golden_batch(tensors), {"trust": tensors["model/label_hat"].float()})
        total = torch.stack(list(losses.values())).sum()
        totals.append(total.item())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert totals == pytest.approx(stored[f"batchnorm_{norm}"], rel=TRAJECTORY)


# --- RDE: retrieval and text augmentation


@pytest.mark.parametrize("parts", [("bge",), ("tse",), ("bge", "tse")])
def test_the_cosine_of_rdes_one_vector_is_the_mean_of_its_two_and_retrieves_alike(parts: Any) -> None:
    expected, tensors = read("rde")
    query, gallery = (
        side_by_side([tensors[f"retrieval/{side}_{part}"] for part in parts]) for side in ("query", "gallery")
    )
    name = "+".join(part.upper() for part in parts)
    cosine = cosine_matrix(query, gallery)
    theirs = tensors[f"retrieval/similarity_{name}"]
    if len(parts) == 2:  # theirs is the sum or the mean of the two cosines
        halves = [tensors[f"retrieval/similarity_{part.upper()}"] for part in parts]
        assert torch.allclose(cosine, (halves[0] + halves[1]) / 2, atol=1e-6)
        theirs = theirs * float((cosine.norm() / theirs.norm()).round(decimals=1))
    assert distance(cosine, theirs) < LOSSES
    persons = tensors["retrieval/query_person"], tensors["retrieval/gallery_person"]
    scores = summarise(query_records(ranks(query, gallery, *persons), persons[0]))
    stored = expected["retrieval"][name]
    assert {key: scores[key] for key in scores if key in stored} == pytest.approx(
        {key: stored[key] for key in scores if key in stored}, abs=1e-4
    )


def test_rde_corrupts_words_at_the_released_rates_and_nothing_else() -> None:
    stored = read("rde")[0]["text_augmentation"]
    vocab, rows, words = 49408, 1500, 30
    generator = torch.Generator().manual_seed(3)
    captions = torch.zeros(rows, 77, dtype=torch.int64)
    captions[:, 0], captions[:, words + 1] = vocab - 2, vocab - 1
    captions[:, 1 : words + 1] = torch.randint(1, vocab - 3, (rows, words), generator=generator)
    before = captions.clone()
    noise = {
        name: torch.rand(captions.shape, generator=generator) for name in ("corrupt_kind", "corrupt_word")
    }
    changed = corrupt_words(captions, noise, vocab)
    assert torch.equal(captions, before)
    lost = words + 2 - (changed != 0).sum(dim=1)
    ends = changed.argmax(dim=1)
    assert torch.equal(ends, words + 1 - lost)
    assert (changed[:, 0] == vocab - 2).all()
    n = rows * words
    found = {"mask": int((changed == vocab - 3).sum()) / n, "removed": int(lost.sum()) / n}
    for name, rate in found.items():
        share = stored["expected"][name]
        assert rate == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5), name
    whole = lost == 0  # captions of which nothing moved
    kept = (changed[whole, 1 : words + 1] == captions[whole, 1 : words + 1]).float().mean().item()
    share = stored["expected"]["kept"] / (1 - stored["expected"]["removed"])
    assert kept == pytest.approx(share, abs=4 * (share * (1 - share) / (int(whole.sum()) * words)) ** 0.5)
    assert int(changed[changed < vocab - 3].max()) <= stored["released_rule"]["random_token_range"][1]


# --- VFE-TPS: masked image modelling

VFE_NAMES = {
    "base_model.": "clip.",
    "classifier.": "classifier.",
    "cross_attention_image.": "head.cross_attention.",
    "cross_modal_transformer_image.resblocks.": "head.cross_blocks.",
    "image_ln_pre_i.": "head.norm_image.",
    "image_ln_pre_t.": "head.norm_guide.",
    "image_ln_post.": "head.norm_pixels.",
    "decoder.0.": "head.pixels.",
    "mask_token": "mask_token",
}
VFE_PARTS = {"sdm": "sdm_loss", "identity": "gi2id_loss", "mim": "mim_loss"}


def vfe_name(name: str) -> str:
    return renamed(name, VFE_NAMES)


class Vfe:
    """VFE-TPS with the folder's weights, one of its two guides, and noise that gives the folder's mask."""

    def __init__(self, guide: str) -> None:
        self.expected, self.tensors = read("vfe-mim")
        config = self.expected["config"]
        state = below("state/", self.tensors)
        size = tuple(self.tensors["images"].shape[2:])
        settings = MaskedImageSettings(
            guide=guide,
            decoder_depth=config["mim_depth"],
            masked_blocks=config["mask_ratio"],
            mim_weight=config.get("mim_weight", 10.0),
            temperature=config.get("temperature", 0.02),
        )
        backbone = Backbone(infer_sizes(state, size)[0], size)
        self.method = MaskedImage(
            settings, backbone=backbone, identities=len(state["classifier.weight"]), image_size=size
        )
        shapes = {name: value.shape for name, value in self.method.state_dict().items()}
        ours = {vfe_name(name): tensor.reshape(shapes[vfe_name(name)]) for name, tensor in state.items()}
        missing, unexpected = self.method.load_state_dict(ours, strict=False)
        assert (missing, unexpected) == (["clip.logit_scale"], [])
        self.masked = self.tensors["mask"].bool()
        blocks = self.masked[:, ::BLOCK, ::BLOCK].flatten(1)
        self.noise = {"blocks": torch.where(blocks, 0.25, 0.75)}
        captions = self.tensors["caption_ids"]
        self.batch = Batch(
            self.tensors["images"], captions, captions, captions.bool(), self.tensors["person_ids"]
        )
        self.stored = self.expected[guide]


@pytest.mark.parametrize("guide", ["self", "text"])
def test_masked_image_modelling_has_the_losses_and_gradients_of_its_released_code(guide: str) -> None:
    vfe = Vfe(guide)
    for part, names in (("mim_alone", ("mim",)), ("all_losses", tuple(VFE_PARTS))):
        vfe.method.zero_grad()
        losses, stored = vfe.method(vfe.batch, vfe.noise), vfe.stored[part]
        for name in names:
            assert losses[name].item() == pytest.approx(stored["losses"][VFE_PARTS[name]], rel=LOSSES), name
        total = torch.stack([losses[name] for name in names]).sum()
        assert total.item() == pytest.approx(stored["total"], rel=LOSSES)
        total.backward()
        norms = {name: norm for name, norm in stored["grad_norm"].items() if norm is not None}
        negligible = 1e-6 * max(norms.values())
        for name, norm in norms.items():
            gradient = vfe.method.get_parameter(vfe_name(name)).grad
            assert gradient is not None, name
            assert gradient.norm().item() == pytest.approx(norm, rel=GRADIENTS, abs=negligible), name


@pytest.mark.parametrize("guide", ["self", "text"])
def test_masked_images_are_restored_to_the_released_pixels(guide: str) -> None:
    vfe = Vfe(guide)
    clip, tensors = vfe.method.clip, vfe.tensors
    masked = mask_patches(vfe.noise["blocks"], clip.grid, vfe.method.settings.masked_blocks)
    assert torch.equal(masked, vfe.masked.flatten(1))
    assert int(masked.sum()) == vfe.expected["block_masking"]["masked_patches_here"]
    with torch.no_grad():
        tokens = clip.image_tokens(vfe.batch.images, replaced=(masked, vfe.method.mask_token))
        words = clip.text_tokens(vfe.batch.captions)
        assert distance(tokens, tensors["mim_tokens"]) < LOSSES
        assert distance(words, tensors["text_tokens"]) < LOSSES
        assert distance(vfe.method.encode_image(vfe.batch.images), tensors["image_features"]) < LOSSES
        assert distance(vfe.method.encode_text(vfe.batch.captions), tensors["text_features"]) < LOSSES
    tokens.requires_grad_()
    words.requires_grad_()
    context = tokens if guide == "self" else words
    mixed = vfe.method.head.tokens(tokens, context)
    assert distance(mixed[:1], tensors[f"{guide}/head_tokens_of_first_item"]) < LOSSES
    predicted = vfe.method.head(tokens, context)
    assert distance(predicted, tensors[f"{guide}/prediction"]) < LOSSES
    error, count = masked_error(predicted, vfe.batch.images, masked, clip.config.patch_size)
    (vfe.method.settings.mim_weight * error / (count + 1e-5) / 3).sum().backward()
    assert tokens.grad is not None
    assert distance(tokens.grad, tensors[f"{guide}/mim_tokens_grad"]) < GRADIENTS
    if guide == "text":
        assert words.grad is not None
        assert distance(words.grad, tensors["text/text_tokens_grad"]) < GRADIENTS


@pytest.mark.parametrize("guide", ["self", "text"])
def test_masked_image_modelling_follows_the_released_trajectory_and_first_step(guide: str) -> None:
    vfe = Vfe(guide)
    base_lr = vfe.expected["adam_step"]["base_lr"]
    optimiser = torch.optim.Adam(vfe.method.parameter_groups(base_lr, 4e-5), eps=1e-3)
    names = {parameter: name for name, parameter in vfe.method.named_parameters()}
    theirs = {vfe_name(name): values for name, values in vfe.expected["optimiser"].items()}
    for group in vfe.method.parameter_groups(1e-5, 4e-5):
        for parameter in group["params"]:
            expected = theirs[names[parameter]]
            assert group["lr"] == pytest.approx(expected["lr"]), names[parameter]
            assert group["weight_decay"] == expected["weight_decay"], names[parameter]
    before = {name: parameter.detach().clone() for name, parameter in vfe.method.named_parameters()}
    totals = []
    for step, _ in enumerate(vfe.expected["trajectory"][guide]):
        total = torch.stack(list(vfe.method(vfe.batch, vfe.noise).values())).sum()
        totals.append(total.item())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        if step == 0 and guide == "self":
            for name, norm in vfe.expected["adam_step"]["norm"].items():
                moved = vfe.method.get_parameter(vfe_name(name)).detach() - before[vfe_name(name)]
                assert moved.norm().item() == pytest.approx(norm, rel=GRADIENTS), name
    assert totals == pytest.approx(vfe.expected["trajectory"][guide], rel=TRAJECTORY)


def test_whole_blocks_are_masked_as_many_as_released_and_each_as_often() -> None:
    stored = read("vfe-mim")[0]["block_masking"]
    side = stored["block_pixels"] // BLOCK
    grid = (stored["image"][0] // side, stored["image"][1] // side)
    rows, columns = grid_of_blocks(grid)
    assert rows * columns == stored["blocks"]
    noise = torch.rand(2000, rows * columns, generator=torch.Generator().manual_seed(0))
    for ratio, count in stored["counts_by_ratio"].items():
        masked = mask_patches(noise[:3], grid, float(ratio))
        assert (masked.sum(dim=1) == count * BLOCK * BLOCK).all(), ratio
    masked = mask_patches(noise, grid, 0.6).view(-1, *grid)
    assert int(masked[0].sum()) in stored["masked_patches"]
    for row, column in ((0, 1), (1, 0), (1, 1)):  # whole blocks
        assert torch.equal(masked[:, row::2, column::2], masked[:, ::2, ::2])
    rate = masked.float().mean(dim=0)
    assert (rate - stored["share"]).abs().max() < 5 * (0.6 * 0.4 / 2000) ** 0.5


def test_the_head_of_masked_image_modelling_has_the_released_layout_and_start() -> None:
    expected, _ = read("vfe-mim")
    layout = expected["decoder_channel_layout"]
    head = MaskedImageHead(8, (1, 1), layout["patch"], 1)
    channels = torch.zeros(1, 1, 3 * layout["patch"] ** 2)
    channels[..., layout["channel"]] = 1
    assert head.to_images(channels)[0].nonzero().tolist() == [layout["lands_at_colour_row_column"]]
    sizes = expected["initialisation"]["head_parameters_at_512"]
    with torch.device("meta"):
        whole = MaskedImageHead(512, (24, 8), 16, 4)
    parts = {name: sum(p.numel() for p in module.parameters()) for name, module in whole.named_children()}
    assert parts["cross_attention"] == sizes["cross_attention"]
    assert parts["cross_blocks"] == 4 * sizes["each_block"]
    assert parts["norm_image"] + parts["norm_guide"] + parts["norm_pixels"] == sizes["layer_norms"]
    assert parts["pixels"] == sizes["decoder"]


class TBPS:
    """TBPS-CLIP's losses on the folder's features, by our method on a stand-in backbone."""

    def __init__(self, variant: str, parameter: float | None = None) -> None:
        self.expected, self.tensors = read("tbps-clip")
        config = self.expected["config"]
        width, hidden, out = config["simclr_mlp"]
        names = {"nitc": "nitc", "ritc": "ritc", "citc": "citc", "simclr": "ss"}
        full = variant == "full"
        settings = TBPSSettings(
            second_view=full,
            citc=full,
            simclr=full,
            ritc_floor=config["ritc_eps"],
            simclr_temperature=config["simclr_temperature"],
            **{f"{ours}_weight": config["weights"][theirs] for ours, theirs in names.items()},
        )
        backbone = toy_backbone()
        self.method = TBPSCLIP(settings, backbone=backbone, identities=1, image_size=backbone.image_size)
        with torch.no_grad():
            value = config["logit_scale_parameter"] if parameter is None else parameter
            self.method.clip.logit_scale.fill_(value)
        if full:
            self.method.simclr_mlp = nn.Sequential(
                nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out)
            )
            self.method.simclr_mlp.load_state_dict(
                {name: self.tensors[f"simclr_mlp/{name}"] for name in self.method.simclr_mlp.state_dict()}
            )
        sides = ("image", "text", "image_second_view", "image_strong_1", "image_strong_2")
        self.features = {side: self.tensors[side].clone().requires_grad_() for side in sides}

    def losses(self, share: float, *, same_pass: bool = False) -> dict[str, Tensor]:
        of = self.features
        images = {"first": of["image"]}
        if self.method.settings.second_view:
            images |= {"second": of["image_second_view"]}
        if self.method.settings.simclr:
            images |= {"strong_1": of["image_strong_1"], "strong_2": of["image_strong_2"]}
        soft = of["text"] if same_pass else self.tensors["text_second_pass"]
        return self.method.feature_losses(images, of["text"], soft, self.tensors["person_ids"], share)


TBPS_LOSSES = {"nitc": "nitc_loss", "ritc": "ritc_loss", "citc": "citc_loss", "simclr": "ss_loss"}


def tbps_cases() -> list[tuple[str, str]]:
    expected = read("tbps-clip")[0]
    return [(kind, share) for kind in ("full", "simplified", "same_second_pass") for share in expected[kind]]


@pytest.mark.parametrize(("kind", "share"), tbps_cases())
def test_tbps_clip_has_the_losses_and_gradients_of_its_released_code(kind: str, share: str) -> None:
    case = TBPS("full" if kind == "full" else "simplified")
    stored = case.expected[kind][share]
    losses = case.losses(float(share), same_pass=kind == "same_second_pass")
    found = {TBPS_LOSSES[name]: value for name, value in losses.items()}
    assert found.keys() == stored["losses"].keys()
    for name, value in stored["losses"].items():
        assert found[name].item() == pytest.approx(value, rel=LOSSES, abs=1e-7), name
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(stored["total"], rel=LOSSES)
    total.backward()
    gradients = {side: feature.grad for side, feature in case.features.items()}
    if kind == "full":
        gradients |= {f"simclr_mlp.{name}": p.grad for name, p in case.method.simclr_mlp.named_parameters()}
    largest = max(norm for norm in stored["grad_norm"].values() if norm)
    for name, norm in stored["grad_norm"].items():
        found_gradient = gradients[name]
        if norm is None:
            assert found_gradient is None, name
            continue
        assert found_gradient is not None, name
        assert found_gradient.norm().item() == pytest.approx(norm, rel=GRADIENTS, abs=1e-6 * largest), name
        whole = case.tensors.get(f"{kind}/alpha{share}/{name}_grad")
        if whole is not None:
            assert distance(found_gradient, whole) < GRADIENTS, name
    scale = case.method.clip.logit_scale.grad
    assert scale is not None
    assert scale.item() == pytest.approx(stored["logit_scale_grad"], rel=GRADIENTS)


@pytest.mark.parametrize("name", TBPS_LOSSES)
def test_each_loss_of_tbps_clip_alone_is_the_released_one(name: str) -> None:
    case = TBPS("full")
    stored = case.expected["one_by_one"][TBPS_LOSSES[name]]
    loss = case.losses(0.5)[name]
    assert loss.item() == pytest.approx(stored["weighted_value"], rel=LOSSES)
    loss.backward()
    largest = max(norm for norm in stored["grad_norm"].values() if norm)
    for side, feature in case.features.items():
        norm = stored["grad_norm"][side]
        if norm is None:
            assert feature.grad is None, side
        else:
            assert feature.grad is not None, side
            assert feature.grad.norm().item() == pytest.approx(norm, rel=GRADIENTS, abs=1e-6 * largest), side


@pytest.mark.parametrize("parameter", read("tbps-clip")[0]["clamp"])
def test_the_scale_of_tbps_clip_is_capped_and_its_gradient_is_not(parameter: str) -> None:
    case = TBPS("simplified", float(parameter))
    stored = case.expected["clamp"][parameter]
    losses = case.losses(0.5)
    for name, value in losses.items():
        assert value.item() == pytest.approx(stored["losses"][TBPS_LOSSES[name]], rel=LOSSES), name
    torch.stack(list(losses.values())).sum().backward()
    gradient = case.method.clip.logit_scale.grad
    assert gradient is not None
    assert gradient.item() == pytest.approx(stored["logit_scale_grad"], rel=GRADIENTS)


def test_a_perfect_match_has_the_released_losses_below_zero() -> None:
    expected = read("tbps-clip")[0]
    batch = expected["config"]["batch"]
    one_hot, people, scale = torch.eye(batch), torch.arange(batch), torch.tensor(4.6).exp()
    found = ritc((one_hot, one_hot), people, scale, expected["config"]["ritc_eps"])
    assert found.item() == pytest.approx(expected["perfect_match"]["losses"]["ritc_loss"], rel=1e-4)
    row = same_person_distribution(same_person(people)) + expected["config"]["ritc_eps"]
    assert row.sum(dim=1)[0].item() == pytest.approx(expected["ritc_target_row_sum"], rel=1e-5)


@pytest.mark.parametrize("name", tbps_schedules())
def test_the_share_of_soft_labels_grows_as_released(name: str) -> None:
    stored, method = tbps_schedules()[name], TBPS("simplified").method
    steps = stored["iterations_per_epoch"]
    empty = torch.zeros(0, dtype=torch.int64)
    for iteration, share in enumerate(stored["soft_label_share"]):
        done = torch.tensor(iteration / steps, dtype=torch.float64)
        batch = Batch(empty, empty, empty, empty, empty, epochs_done=done)
        assert float(method.soft_share(batch)) == pytest.approx(share, rel=1e-9)


def test_tbps_clip_follows_the_trajectory_of_its_released_code() -> None:
    case = TBPS("full")
    stored = case.expected["trajectory"]
    for feature in case.features.values():
        feature.requires_grad_(False)
    for name, parameter in case.method.named_parameters():
        parameter.requires_grad_(name == "clip.logit_scale" or name.startswith("simclr_mlp."))
    lr, steps = stored["lr"], stored["iterations_per_epoch"]
    optimiser_facts = case.expected["optimiser"]
    settings = tbps_recipe(
        lr=lr,
        epochs=stored["epochs"],
        warmup_epochs=1,
        warmup_factor=stored["lr_start"] / lr,
        final_lr_factor=stored["lr_end"] / lr,
        weight_decay=stored["weight_decay"],
        beta1=optimiser_facts["betas"][0],
        beta2=optimiser_facts["betas"][1],
        adam_eps=optimiser_facts["eps"],
    )
    optimiser = make_optimiser(case.method, settings)
    totals, parameters = [], []
    for iteration, share in enumerate(stored["soft_label_share"]):
        set_rates(optimiser, rate_factor(settings, *divmod(iteration, steps), steps))
        total = torch.stack(list(case.losses(share).values())).sum()
        totals.append(total.item())
        parameters.append(case.method.clip.logit_scale.item())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert totals == pytest.approx(stored["total"], rel=TRAJECTORY)
    assert parameters == pytest.approx(stored["logit_scale_parameter"], rel=TRAJECTORY)


def test_the_optimiser_of_tbps_clip_decays_what_the_released_one_decays() -> None:
    stored = read("tbps-clip")[0]["optimiser"]
    method = toy_method("tbps-clip")
    optimiser = make_optimiser(method, tbps_recipe(lr=stored["lr"], weight_decay=0.02))
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    found = {
        names[id(parameter)].removeprefix("clip."): (group["weight_decay"], group["lr"] / stored["lr"])
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    frozen = stored["frozen_after_train_is_called"]
    assert not set(frozen) & found.keys()
    for name, group in stored["groups"].items():
        ours = name.removeprefix("encode_text.")
        if name not in frozen:
            assert found[ours] == pytest.approx((group["weight_decay"], group["lr_ratio"])), name
