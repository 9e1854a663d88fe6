"""The published recipe's optimiser and learning-rate schedule."""

from __future__ import annotations

import math

import torch

from harness.study.schema import TrainSettings
from methods.base import Method


def schedule(epochs: int, warmup_epochs: int = 5, warmup_factor: float = 0.1) -> list[float]:
    """Factor on the initial learning rate for each of `epochs` epochs: linear warm-up, then cosine towards 0.

    Epoch 0 runs at `warmup_factor`, epoch `warmup_epochs` at 1; the cosine would reach 0 one epoch after the
    last. A run shorter than its warm-up never leaves it.
    """
    factors = []
    for epoch in range(epochs):
        if epoch < warmup_epochs:
            factors.append(warmup_factor + (1 - warmup_factor) * epoch / warmup_epochs)
        else:
            progress = (epoch - warmup_epochs) / (epochs - warmup_epochs)
            factors.append(0.5 * (1 + math.cos(math.pi * progress)))
    return factors


def make_optimiser(method: Method, settings: TrainSettings) -> torch.optim.Adam:
    """Adam over the method's parameter groups, with coupled weight decay (as released), fused into one kernel
    per step.

    Every group keeps its starting rate as `initial_lr`, which `set_rates` multiplies.
    """
    groups = method.parameter_groups(
        settings.lr,
        settings.weight_decay,
        bias_factor=settings.bias_lr_factor,
        head_factor=settings.head_lr_factor,
    )
    for group in groups:
        group["initial_lr"] = group["lr"]
    return torch.optim.Adam(
        groups, lr=settings.lr, betas=(settings.beta1, settings.beta2), eps=settings.adam_eps, fused=True
    )


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Let every group learn at `factor` × its initial rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor
