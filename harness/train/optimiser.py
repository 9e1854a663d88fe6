"""The recipe's optimiser, its learning rates by parameter, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from harness.study.schema import TrainSettings
from methods.base import Method


def schedule(
    epochs: int, warmup_epochs: int = 5, warmup_factor: float = 0.1, final_factor: float = 0.0
) -> list[float]:
    """Factor on the initial learning rate for each of `epochs` epochs: linear warm-up, then a half cosine.

    Epoch 0 runs at `warmup_factor`, epoch `warmup_epochs` at 1; the cosine would reach `final_factor` one
    epoch after the last. A run shorter than its warm-up never leaves it.
    """
    factors = []
    for epoch in range(epochs):
        if epoch < warmup_epochs:
            factors.append(warmup_factor + (1 - warmup_factor) * epoch / warmup_epochs)
        else:
            factors.append(_cosine((epoch - warmup_epochs) / (epochs - warmup_epochs), final_factor))
    return factors


def rate_factor(settings: TrainSettings, epoch: int, step: int, steps: int) -> float:
    """Factor on the initial learning rate at `step` (from 0) of the `steps` of `epoch` (from 0).

    By iteration, the first step runs at `warmup_factor` and the last of the warm-up at 1, as does the first
    after it (TBPS-CLIP's schedule); the half cosine would reach `final_lr_factor` one step after the last.
    """
    warmup, first, final = settings.warmup_epochs, settings.warmup_factor, settings.final_lr_factor
    if settings.schedule == "epoch":
        return schedule(settings.epochs, warmup, first, final)[epoch]
    if epoch < warmup:
        return first + (1 - first) * (epoch * steps + step) / max(warmup * steps - 1, 1)
    done, in_all = (epoch - warmup) * steps + step, (settings.epochs - warmup) * steps
    return _cosine(done / in_all, final)


def _cosine(progress: float, final: float) -> float:
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimiser(method: Method, settings: TrainSettings) -> torch.optim.Adam:
    """Adam with coupled weight decay, or AdamW, over the method's parameters; fused into one kernel per step.

    Every group keeps its starting rate as `initial_lr`, which `set_rates` multiplies.
    """
    groups = optimiser_groups(method, settings)
    for group in groups:
        group["initial_lr"] = group["lr"]
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(
        groups, lr=settings.lr, betas=(settings.beta1, settings.beta2), eps=settings.adam_eps, fused=True
    )


def optimiser_groups(method: Method, settings: TrainSettings) -> list[dict[str, Any]]:
    """The method's parameter groups, as the recipe changes them.

    Its absolute rates of named groups (`group_lr`) and its choice of what decays (`decay_of`).
    """
    names = {parameter: name for name, parameter in method.named_parameters()}
    groups: dict[tuple[str, float, float], dict[str, Any]] = {}
    for group in method.parameter_groups(
        settings.lr,
        settings.weight_decay,
        bias_factor=settings.bias_lr_factor,
        head_factor=settings.head_lr_factor,
    ):
        for parameter in group["params"]:
            label, lr = str(group.get("name", "")), float(group["lr"])
            named = _named_group(names[parameter], method.rate_groups, settings.group_lr)
            if named:
                kind = "biases" if "bias" in names[parameter] else "weights"
                label, lr = f"{named} ({kind})", settings.group_lr[named]
            decay = float(group["weight_decay"]) if _decays(parameter, settings) else 0.0
            new = {**group, "name": label, "params": [], "lr": lr, "weight_decay": decay}
            groups.setdefault((label, lr, decay), new)["params"].append(parameter)
    return list(groups.values())


def _named_group(parameter: str, known: Mapping[str, tuple[str, ...]], rates: Mapping[str, float]) -> str:
    """The named group of a parameter for which the recipe has a rate; empty for none."""
    for group in rates:
        if any(part in parameter for part in known.get(group, ())):
            return group
    return ""


def _decays(parameter: nn.Parameter, settings: TrainSettings) -> bool:
    return settings.decay_of == "weights" or parameter.dim() >= 2


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Let every group learn at `factor` × its initial rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor
