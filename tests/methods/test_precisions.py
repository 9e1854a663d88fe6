"""Every method trains in every precision, at settings away from the defaults."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from toy import toy_batch, toy_method

from harness.machine.devices import make_fabric, to_precision
from harness.registry import methods

TRAINED = [name for name, entry in methods().items() if entry.trains]
AWAY: dict[str, Any] = {
    "temperature": 0.05,
    "margin": 0.2,
    "mask_ratio": 0.5,
    "augmentation_probability": 0.6,
    "decoder_depth": 2,
    "mlm_masking": "by_tag",
    "cmt_positive": "own_pair",
    "text_augmentation": "swap",
}
STEPS = 24
"""Enough for every loss to fall; a hundred take minutes in half precision on a CPU."""


@pytest.mark.parametrize("precision", ["released", "bf16", "fp32"])
@pytest.mark.parametrize("name", TRAINED)
def test_every_method_trains_in_every_precision(name: str, precision: Any) -> None:
    entry = methods()[name]
    has = entry.settings.model_fields.keys() - entry.fixed.keys()
    overrides = {key: value for key, value in AWAY.items() if key in has}
    fabric = make_fabric(precision, device="cpu")
    method = toy_method(name, **overrides)
    to_precision(method, precision)
    # As released, Adam's epsilon is large; half precision has nothing smaller.
    optimiser = torch.optim.Adam(method.parameter_groups(1e-3, 4e-5), eps=1e-3)
    model, wrapped = fabric.setup(method, optimiser)
    # The ends of the noise first: exactly 0, and the largest number below 1.
    ends = [
        {k: torch.full_like(v, e) for k, v in method.draw_noise(6, torch.Generator(), "cpu").items()}
        for e in (0.0, 1 - 2**-24)
    ]
    totals = []
    for step in range(STEPS):
        noise = method.draw_noise(6, torch.Generator().manual_seed(step), "cpu")
        if step < len(ends):
            noise = ends[step]
        losses = model(toy_batch(), noise)
        total = torch.stack(list(losses.values())).sum()
        wrapped.zero_grad()
        fabric.backward(total)
        wrapped.step()
        totals.append(total.item())
    assert all(math.isfinite(total) for total in totals)
    assert sum(totals[-5:]) < sum(totals[2:7])
