"""A model's features, the rank of every positive, and one record per query, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from harness.data.dataset import Split
from harness.data.loader import DeviceData
from harness.evaluate.metrics import QueryRecords, query_records, ranks, summarise
from harness.machine.devices import autocast
from harness.machine.terms import DIRECTIONS, Direction, Precision, TieOrder
from methods.base import Method

IMAGES_AT_ONCE = 64
CAPTIONS_AT_ONCE = 256


@dataclass(frozen=True)
class Features:
    """Features in float32, not normalised: `image` `[images, width]`, `text` `[captions, width]`."""

    image: Tensor
    text: Tensor


def encode(method: Method, data: DeviceData, *, precision: Precision = "fp32") -> Features:
    """Features of every image and caption, in evaluation mode and without gradients; the mode is restored."""
    with evaluation_mode(method, precision):
        return Features(encode_images(method, data), encode_captions(method, data))


@contextmanager
def evaluation_mode(method: Method, precision: Precision) -> Iterator[None]:
    """In the block, features are computed without dropout or gradients, in the given precision."""
    was_training = method.training
    method.eval()
    device = next(method.parameters()).device
    try:
        with torch.inference_mode(), autocast(device, precision):
            yield
    finally:
        method.train(was_training)


def encode_images(method: Method, data: DeviceData) -> Tensor:
    """Features [images, width] of a split's images, in float32, not normalised."""
    return encode_chunks(method.encode_image, data.image_chunks(IMAGES_AT_ONCE), method.embed_dim)


def encode_captions(method: Method, data: DeviceData) -> Tensor:
    """Features [captions, width] of a split's captions, in float32, not normalised."""
    return encode_chunks(method.encode_text, data.caption_chunks(CAPTIONS_AT_ONCE), method.embed_dim)


def encode_chunks(encoder: Callable[[Tensor], Tensor], chunks: Iterable[Tensor], width: int) -> Tensor:
    """Features [items, width] in float32, not normalised.

    Args:
        encoder: from pixels [batch, channels, height, width] or tokens [batch, length] to [batch, width].
        chunks: batches of pixels or tokens; of none the result is [0, width].
        width: of the features.
    """
    parts = [encoder(chunk).float() for chunk in chunks]
    return torch.cat(parts) if parts else torch.empty(0, width)


def evaluate(
    method: Method, data: DeviceData, *, precision: Precision = "fp32", tie_order: TieOrder = "index"
) -> dict[Direction, QueryRecords]:
    """One record per query: captions look for images (`t2i`), images look for captions (`i2t`).

    Raises `harness.evaluate.metrics.NonFiniteFeatures` when the model has diverged.
    """
    return retrieve(encode(method, data, precision=precision), data.split, tie_order=tie_order)


def retrieve(
    features: Features,
    split: Split,
    *,
    tie_order: TieOrder = "index",
    directions: Iterable[Direction] = DIRECTIONS,
) -> dict[Direction, QueryRecords]:
    """The records of features that are already there."""
    image_person, caption_person = (
        torch.from_numpy(split.image_person),
        torch.from_numpy(split.caption_person),
    )
    sides = {
        "t2i": (features.text, features.image, caption_person, image_person),
        "i2t": (features.image, features.text, image_person, caption_person),
    }
    return {
        direction: query_records(ranks(*sides[direction], tie_order=tie_order), sides[direction][2])
        for direction in directions
    }


def records_frame(records: QueryRecords, split: Split, direction: Direction) -> pd.DataFrame:
    """The records as a table, one row per query, in the order of the split: that of `RankedQueries.frame`."""
    return records.ranked().frame(split.persons, direction)


def result_row(
    records: QueryRecords, *, target: str, selection: str, direction: str, epoch: int
) -> dict[str, str | int | float]:
    """One row of a cell's results: which evaluation it was, R1 … mINP in percent, and the counts."""
    where: dict[str, str | int | float] = {
        "target": target,
        "selection": selection,
        "direction": direction,
        "epoch": epoch,
    }
    return {**where, **summarise(records)}


def scores(
    method: Method, data: DeviceData, *, precision: Precision, tie_order: TieOrder
) -> Mapping[str, float]:
    """The text-to-image summary alone, as training needs it after every epoch."""
    features = encode(method, data, precision=precision)
    return summarise(retrieve(features, data.split, tie_order=tie_order, directions=["t2i"])["t2i"])
