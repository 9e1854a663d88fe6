"""Building a registered method with initial weights that depend on a seed and on nothing else."""

from __future__ import annotations

import torch
from pydantic import BaseModel

from harness.registry import MethodEntry
from methods.base import Method
from methods.clip import Backbone


def build_method(
    entry: MethodEntry,
    settings: BaseModel,
    *,
    backbone: Backbone,
    identities: int,
    image_size: tuple[int, int],
    seed: int,
) -> Method:
    """The method of `entry` on `backbone`, for `identities` training persons and images of (height, width).

    New heads are initialised from `seed`; the process's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method: Method = entry.load()(
            settings, backbone=backbone, identities=identities, image_size=image_size
        )
    return method
