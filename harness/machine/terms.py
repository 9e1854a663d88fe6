"""The values that settings and results may have, each defined once. Imports nothing."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["bf16", "fp32", "released"]
"""bf16 autocast over fp32 weights, fp32 throughout, or fp16 weights without loss scaling, as released."""
TieOrder = Literal["index", "released"]
"""Equal similarities are ranked by gallery index, or as an unstable sort leaves them, as released."""
SamplingRule = Literal["pairs", "shuffle", "released"]
"""How an epoch is cut into batches: `harness.data.sampler`."""
Compiling = Literal["auto", "off", "on"]
"""`torch.compile` of the training step; `auto` where it pays."""
Direction = Literal["t2i", "i2t"]
"""Captions search images, or images search captions."""
Metric = Literal["R1", "R5", "R10", "mAP", "mINP"]
"""Scores of an evaluation, in percent."""
Selection = Literal["val", "last", "test"]
"""Which epoch's model: the best on validation, the last, or the best on the test split (as released)."""

TIED_WITHIN = 1.0
"""Points of a score within which two methods count as tied, unless a study states another number."""

NOT_KNOWN = "unknown"
"""In the place of a selection, of results of another code base: how their epoch was chosen is not known."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
COMPILING: tuple[Compiling, ...] = get_args(Compiling)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
METRICS: tuple[Metric, ...] = get_args(Metric)
SELECTIONS: tuple[Selection, ...] = get_args(Selection)

OWN_RECIPES = "own"
"""The value of a study's `recipe` by which every method is trained as it was published."""


def protocol_of(preset: str, recipe: str) -> str:
    """What methods must have in common to be compared.

    The released code's habits (`released`), each method its own recipe (`own`), or one recipe for all,
    whichever that is (`clean`).
    """
    return OWN_RECIPES if preset == "clean" and recipe == OWN_RECIPES else preset
