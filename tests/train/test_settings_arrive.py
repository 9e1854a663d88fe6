"""What a study asks for reaches the computation: every setting, seed, rate and option, away from its default.

Parts are tested elsewhere; here it is shown that the right value arrives at them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import (
    Linear,
    recipe,
    run_small,
    small_data,
    small_method,
    training_data,
    without_times,
)
from toy import toy_batch, toy_method, toy_noise

from harness.data.augment import draw_augmentation
from harness.evaluate import features
from harness.evaluate.features import evaluate
from harness.study.schema import TrainSettings
from harness.train import loop, step_inputs
from harness.train.loop import TrainingOptions
from harness.train.optimiser import make_optimiser, schedule
from methods.settings import UITSettings

# -- settings of the recipe -----------------------------------------------------------------------

RECIPE: dict[str, Any] = {
    "lr": 2e-2,
    "group_lr": {"side": 1.0},
    "optimiser": "adamw",
    "decay_of": "matrices",
    "weight_decay": 0.3,
    "beta1": 0.5,
    "beta2": 0.5,
    "adam_eps": 1e-1,
    "bias_lr_factor": 9.0,
    "head_lr_factor": 9.0,
    "warmup_epochs": 0,
    "warmup_factor": 0.7,
    "schedule": "iteration",
    "final_lr_factor": 0.5,
    "precision": "bf16",
    "sampler": "released",
    "image_augmentation": "two_of_six",
    "word_deletion": 0.5,
    "flip_probability": 0.0,
    "crop_padding": 9,
    "erase_probability": 0.0,
    "batch_size": 4,
    "epochs": 2,
    "evaluate_every": 2,
}
IN_THE_MODEL = {
    *("backbone", "pretrained", "image_size", "text_length", "normalisation", "test_resize"),
    *("caption_cleaning", "text_dropout"),
}
"""Settings of which `tests/launch/test_arrivals.py` shows that they reach the model and its images."""


class LeftRight(Linear):
    """A linear method that sees a flip (columns of an image weigh differently), names a group of weights, and
    has a vector."""

    rate_groups = MappingProxyType({"side": ("image.",)})

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(8))

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        features = super().encode_image(images * torch.linspace(0, 2, images.shape[3]))
        return features * self.gain.to(features.dtype)


def trained(**changes: Any) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    run, method, _ = run_small(method=LeftRight(), **changes)
    return without_times(run.history), method.state_dict()


def differ(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    same_weights = all(torch.equal(value, other[1][name]) for name, value in one[1].items())
    return one[0] != other[0] or not same_weights


def test_every_setting_of_the_recipe_is_tried() -> None:
    assert RECIPE.keys() | IN_THE_MODEL == TrainSettings.model_fields.keys()


@pytest.fixture(scope="module")
def unchanged() -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    return trained()


@pytest.mark.parametrize("name", RECIPE)
def test_a_setting_of_the_recipe_changed_from_its_default_changes_the_run(name: str, unchanged: Any) -> None:
    assert getattr(recipe(), name) != RECIPE[name]
    assert differ(unchanged, trained(**{name: RECIPE[name]}))
    assert not differ(unchanged, trained())


# -- settings of a method -------------------------------------------------------------------------

METHOD: dict[str, tuple[dict[str, Any], Any]] = {
    **{name: ({}, False) for name in ("sdm", "identity", "tir", "cmt")},
    **{name: ({}, True) for name in ("mlm", "itc", "cmpm")},
    "text_pruning": ({"augmentation_probability": 1.0}, False),
    "temperature": ({}, 0.5),
    "margin": ({}, 0.9),
    "mask_ratio": ({}, 0.3),
    "augmentation_probability": ({}, 1.0),
    "decoder_depth": ({}, 2),
    "sdm_weight": ({}, 3.0),
    "identity_weight": ({}, 3.0),
    "restoration_weight": ({}, 3.0),
    "cmt_weight": ({}, 3.0),
    "mlm_weight": ({"mlm": True}, 3.0),
    "itc_weight": ({"itc": True}, 3.0),
    "cmpm_weight": ({"cmpm": True}, 3.0),
    "cmt_mining": ({}, "all_negatives"),
    "tal_margin": ({"cmt_mining": "all_negatives"}, 0.5),
    "tal_temperature": ({"cmt_mining": "all_negatives"}, 0.2),
    "tal_reduction": ({"cmt_mining": "all_negatives"}, "sum"),
    "cmt_positive": ({}, "own_pair"),
    "text_augmentation": ({"augmentation_probability": 1.0}, "deletion"),
    "mlm_masking": ({"mlm": True}, "by_tag"),
    "caption_corruption": ({}, "by_tag"),
    "loss_mask_off_by_one": ({}, True),
}
NO_NUMBER = {
    "text_pass": "the same numbers at another cost",
    "mask_at_least_one": "of captions in which chance chose no word; tests/methods/test_masked_language.py",
}


def step_losses(**settings: Any) -> dict[str, float]:
    method = toy_method("uit", **settings)
    return {name: value.item() for name, value in method(toy_batch(), toy_noise(method)).items()}


def test_every_setting_of_uit_is_tried_or_changes_no_number_for_a_reason() -> None:
    assert UITSettings.model_fields.keys() - METHOD.keys() - NO_NUMBER.keys() == set()


@pytest.mark.parametrize("name", METHOD)
def test_a_setting_of_uit_changed_from_its_default_changes_a_loss(name: str) -> None:
    beside, value = METHOD[name]
    assert UITSettings.model_fields[name].default != value
    assert step_losses(**beside) != step_losses(**{**beside, name: value})


@pytest.mark.parametrize(
    "beside",
    [
        {"sdm": False, "cmt_mining": "info_nce"},
        {"sdm": False, "cmt_mining": "all_negatives_own_pair"},
        {"sdm": False, "cmt": False, "itc": True},
        {"cmt": False},
    ],
    ids=["info_nce", "all_negatives_own_pair", "itc", "sdm"],
)
def test_the_temperature_reaches_each_loss_that_has_one(beside: dict[str, Any]) -> None:
    assert step_losses(**beside) != step_losses(**beside, temperature=0.5)


@pytest.mark.parametrize("mining", ["triplet", "batch_hard", "max_hinge", "all_negatives_own_pair"])
def test_the_margin_reaches_every_mining_rule_that_has_one(mining: str) -> None:
    assert (
        step_losses(cmt_mining=mining, margin=0.1)["cmt"] != step_losses(cmt_mining=mining, margin=0.9)["cmt"]
    )


# -- the optimiser --------------------------------------------------------------------------------


def test_the_optimisers_rates_follow_the_schedule_epoch_by_epoch() -> None:
    seen: list[list[float]] = []

    class Watch:
        def on_step(self, *_: Any) -> None:
            seen.append([group["lr"] / group["initial_lr"] for group in optimiser[0].param_groups])

        def on_epoch(self, _: Any) -> None:
            pass

    optimiser: list[torch.optim.Optimizer] = []
    with pytest.MonkeyPatch.context() as patch:

        def keep(*arguments: Any) -> torch.optim.Optimizer:
            optimiser.append(make_optimiser(*arguments))
            return optimiser[0]

        patch.setattr(loop, "make_optimiser", keep)
        options = TrainingOptions(report_seconds=0, progress=Watch())
        run_small(epochs=4, warmup_epochs=2, warmup_factor=0.5, options=options)
    expected = [factor for factor in schedule(4, 2, 0.5) for _ in range(4)]
    for factors, factor in zip(seen, expected, strict=True):
        assert factors == pytest.approx([factor] * len(factors))


def test_the_history_has_the_rate_of_the_recipes_warm_up() -> None:
    run, _, _ = run_small(epochs=3, warmup_epochs=2, warmup_factor=0.5)
    assert run.history[0]["lr"] == pytest.approx(0.5e-2)


def test_the_optimisers_momenta_and_factors_are_the_recipes() -> None:
    optimiser = make_optimiser(
        small_method(), recipe(lr=1e-3, beta1=0.5, beta2=0.6, bias_lr_factor=3.0, head_lr_factor=7.0)
    )
    assert optimiser.defaults["betas"] == (0.5, 0.6)
    assert {round(group["lr"] / 1e-3, 6) for group in optimiser.param_groups} == {1.0, 3.0, 7.0}


# -- seeds ----------------------------------------------------------------------------------------


def seeds_of_a_run(monkeypatch: pytest.MonkeyPatch, seed: int) -> list[int]:
    from harness.machine import devices
    from harness.machine.seeds import seed_for

    drawn: list[int] = []

    def telling(*axes: Any) -> int:
        drawn.append(seed_for(*axes))
        return drawn[-1]

    with monkeypatch.context() as patch:
        patch.setattr(step_inputs, "seed_for", telling)
        patch.setattr(devices, "seed_for", telling)
        run_small(epochs=2, seed=seed)
    return drawn


def test_no_seed_is_used_twice_in_a_run_and_two_seeds_share_none(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (seeds_of_a_run(monkeypatch, seed) for seed in (3, 4))
    assert len(one) == 2 * 4 * 3  # epochs, steps, purposes
    assert len(set(one)) == len(one)
    assert not set(one) & set(other)


def test_augmentation_noise_and_global_generators_differ_from_step_to_step() -> None:
    seen: list[tuple[float, float]] = []

    class Telling(Linear):
        def forward(self, batch: Any, noise: Any) -> Any:
            seen.append((noise["jitter"][0].item(), torch.rand(()).item()))
            return super().forward(batch, noise)

    torch.manual_seed(0)
    run_small(method=Telling(), epochs=2)
    for column in zip(*seen, strict=True):
        assert len(set(column)) == 8


@pytest.mark.parametrize(("flip", "erase"), [(0.5, 0.5), (0.1, 0.8)])
def test_flip_and_erase_are_drawn_independently_and_as_often_as_asked(flip: float, erase: float) -> None:
    generator = torch.Generator().manual_seed(0)
    draws = draw_augmentation(20_000, (24, 8), generator, "cpu", flip=flip, pad=3, erase=erase)
    flipped, erased = draws["flip"].numpy().astype(float), (draws["box"][:, 2] > 0).numpy().astype(float)
    assert flipped.mean() == pytest.approx(flip, abs=0.02)
    assert erased.mean() == pytest.approx(erase, abs=0.02)
    assert abs(np.corrcoef(flipped, erased)[0, 1]) < 0.03


# -- options --------------------------------------------------------------------------------------


def test_the_options_of_evaluate_reach_the_encoders_and_the_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    orders, dtypes, ranks = [], set(), features.ranks

    def telling(*arguments: Any, **options: Any) -> Any:
        orders.append(options["tie_order"])
        return ranks(*arguments, **options)

    monkeypatch.setattr(features, "ranks", telling)
    method = small_method()
    method.image.register_forward_hook(lambda _module, _inputs, output: dtypes.add(output.dtype))
    evaluate(method, small_data(3), precision="bf16", tie_order="released")
    assert set(orders) == {"released"}
    assert dtypes == {torch.bfloat16}


def test_training_evaluates_in_its_own_precision_and_tie_order_on_both_splits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def telling(method: Any, data: Any, **options: Any) -> dict[str, float]:
        seen.append((data.split.name, options["precision"], options["tie_order"]))
        return {"R1": 1.0, "mAP": 1.0}

    monkeypatch.setattr(loop, "scores", telling)
    run_small(epochs=1, precision="bf16", options=TrainingOptions(tie_order="released"))
    assert seen == [("val", "bf16", "released"), ("test", "bf16", "released")]


def test_the_metric_that_was_asked_for_chooses_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    scored = iter([{"R1": r1, "mAP": m} for r1, m in ((3, 1), (2, 2), (1, 3)) for _ in range(2)])
    monkeypatch.setattr(loop, "scores", lambda *_, **__: next(scored))
    assert run_small(options=TrainingOptions(metric="mAP"))[2] == {"val": 3, "test": 3, "last": 3}


def test_every_pair_of_a_clean_epoch_is_trained_on_once_in_an_order_of_the_epoch() -> None:
    settings = recipe()
    batches = training_data(settings).batches
    first, second = (np.concatenate(batches.epoch(epoch)) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(32))
    assert first.tolist() != second.tolist()


def test_a_method_learns_which_share_of_the_training_is_done_step_by_step() -> None:
    seen: list[float] = []

    class Telling(Linear):
        def forward(self, batch: Any, noise: Any) -> Any:
            seen.append(batch.epochs_done.item())
            return super().forward(batch, noise)

    torch.manual_seed(0)
    run_small(method=Telling(), epochs=2)
    assert seen == [step / 4 for step in range(8)]
