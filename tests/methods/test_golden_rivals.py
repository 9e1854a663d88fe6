"""The rivals' released codes' own numbers, reproduced; `RIVALS_GOLDEN_DIR` names another folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.study.schema import TrainSettings
from harness.train.optimiser import rate_factor
from methods.base import Batch
from methods.clip import Backbone
from methods.losses import cosine_matrix, same_person
from methods.mining import MiningOptions, mining_loss, tal
from methods.released import infer_sizes
from methods.settings import UITSettings
from methods.uit import UIT

FOLDER = Path(os.environ.get("RIVALS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden" / "rivals")
LOSSES, GRADIENTS, TRAJECTORY = 1e-5, 1e-4, 1e-3


def read(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    folder = FOLDER / name
    return json.loads((folder / "expected.json").read_text()), load_file(folder / "tensors.safetensors")


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
    prefix = next(prefix for prefix in IRRA_NAMES if name.startswith(prefix))
    return IRRA_NAMES[prefix] + name.removeprefix(prefix)


class Irra:
    """IRRA with the folder's weights; captions as released (masked for every loss), or clean."""

    def __init__(self, captions: str) -> None:
        self.expected, self.tensors = read("irra")
        state = {n.removeprefix("state/"): t for n, t in self.tensors.items() if n.startswith("state/")}
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
