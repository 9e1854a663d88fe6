"""A split on the device: batches for training and chunks for evaluation.

Pixels that fit stay on the device. Others are read ahead by a thread, into pinned memory and from there over
a second stream, so that a batch is on the device when the step that needs it begins.
"""

from __future__ import annotations

import copy
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.augment import (
    Channels,
    Draws,
    augment,
    normalise,
    normalise_unit,
    to_device,
    to_unit_range,
)
from harness.data.augment_sets import strong_view, two_of_six
from harness.data.captions import CaptionTokens
from harness.data.dataset import Split
from harness.data.word_deletion import delete_whole_words
from methods.backbones import OPENAI_MEAN, OPENAI_STD
from methods.base import Batch

RESIDENT_SHARE = 0.25
"""A split stays on a GPU when it takes at most this share of the memory that is free before training."""
BATCHES_AHEAD = 4

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class ImageDraws:
    """How the images of a step are changed: which set of augmentations, and all that it draws."""

    kind: str
    """`flip_crop_erase`, `two_of_six` or `strong`."""
    draws: Draws


@dataclass(frozen=True)
class StepDraws:
    """All randomness by which the pairs of a step are augmented, each tensor [batch, …]."""

    images: ImageDraws
    views: Mapping[str, ImageDraws] = field(default_factory=dict)
    """Of further views of the images, by name."""
    words: Tensor | None = None
    """[batch, tokens] uniform, one number for each word of a caption."""
    word_deletion: float = 0.0

    def rows(self, rows: slice) -> StepDraws:
        """Those of some of the pairs."""
        views = {name: _rows_of(drawn, rows) for name, drawn in self.views.items()}
        words = None if self.words is None else self.words[rows]
        return replace(self, images=_rows_of(self.images, rows), views=views, words=words)


def _rows_of(drawn: ImageDraws, rows: slice) -> ImageDraws:
    return replace(drawn, draws={name: tensor[rows] for name, tensor in drawn.draws.items()})


class DeviceData:
    """One split, ready for a model on `device`.

    Args:
        split: persons, images, captions; of an `ImageCache`, its `.split`.
        pixels: [images, 3, height, width] uint8, row by row the images of `split`.
        tokens: row by row the captions of `split`.
        device: where batches are wanted.
        resident: keep the pixels on the device; default: when they fit. On a CPU they are used in place.
        mean: per channel, what the model's pixels are normalised by; OpenAI's CLIP by default.
        std: likewise, divided by.

    Raises:
        ValueError: pixels or tokens do not belong to the split.
    """

    def __init__(
        self,
        split: Split,
        pixels: Tensor,
        tokens: CaptionTokens,
        device: torch.device | str,
        *,
        resident: bool | None = None,
        mean: Channels = OPENAI_MEAN,
        std: Channels = OPENAI_STD,
    ) -> None:
        if len(pixels) != len(split.image_paths) or len(tokens.plain) != len(split.captions):
            raise ValueError(
                f"{split.name} has {len(split.image_paths)} images and {len(split.captions)} captions, "
                f"but there are {len(pixels)} rows of pixels and {len(tokens.plain)} of tokens"
            )
        self.split = split
        self.mean, self.std = mean, std
        self.device = torch.device(device)
        self.resident = fits(pixels, self.device) if resident is None else resident
        self._pixels = pixels.to(self.device) if self.resident else pixels
        self._plain = tokens.plain.to(self.device)
        self._pruned = tokens.pruned.to(self.device)
        self._content = tokens.content.to(self.device)
        self._words = None if tokens.words is None else tokens.words.to(self.device)
        self._image = torch.from_numpy(split.caption_image).to(self.device)
        self._person = torch.from_numpy(split.caption_person).to(self.device)
        self._ahead: _ReadAhead | None = None

    def with_captions(self, order: Indices) -> DeviceData:
        """The same images; at each place the caption that was at `order` [captions]. Pixels are shared."""
        moved, rows = copy.copy(self), torch.from_numpy(order).to(self.device)
        captions = tuple(self.split.captions[index] for index in order.tolist())
        moved.split, moved._ahead = replace(self.split, captions=captions), None
        moved._plain, moved._pruned = self._plain[rows], self._pruned[rows]
        moved._content = self._content[rows]
        moved._words = None if self._words is None else self._words[rows]
        return moved

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self._pixels.shape[2]), int(self._pixels.shape[3])

    @property
    def tokens(self) -> int:
        """Tokens of a caption."""
        return int(self._plain.shape[1])

    def schedule(self, batches: Sequence[Indices]) -> None:
        """Start reading the pixels of these batches ahead, in order, where they are not resident.

        Without this call, and for a batch that is requested out of order, `batch` copies the pixels itself.

        Args:
            batches: [batch] caption indices of each step.
        """
        self.close()
        if not self.resident and self.device.type == "cuda":
            rows = [self.split.caption_image[indices] for indices in batches]
            self._ahead = _ReadAhead(self._pixels, rows, self.device)

    def batch(self, indices: Indices, draws: StepDraws | None = None) -> Batch:
        """The captions at `indices` [batch] with their images, augmented by `draws` or only normalised."""
        wanted = to_device(torch.from_numpy(np.ascontiguousarray(indices)), self.device)
        images = self._rows(self.split.caption_image[indices], wanted)
        batch = Batch(
            images=self._normalise(images) if draws is None else self._augmented(images, draws.images),
            captions=self._plain[wanted].long(),
            pruned=self._pruned[wanted].long(),
            content=self._content[wanted],
            person_ids=self._person[wanted],
        )
        if draws is None:
            return batch
        views = {name: self._augmented(images, drawn) for name, drawn in draws.views.items()}
        return self._without_some_words(replace(batch, views=views), wanted, draws)

    def _augmented(self, images: Tensor, draws: ImageDraws) -> Tensor:
        """Images [batch, 3, height, width] uint8, changed as drawn and normalised."""
        if draws.kind == "flip_crop_erase":
            return augment(images, draws.draws, self.mean, self.std)
        change = two_of_six if draws.kind == "two_of_six" else strong_view
        return normalise_unit(change(to_unit_range(images), draws.draws), self.mean, self.std)

    def _without_some_words(self, batch: Batch, wanted: Tensor, draws: StepDraws) -> Batch:
        """The batch with words deleted from its captions, where that was asked for."""
        if not draws.word_deletion or draws.words is None or self._words is None:
            return batch
        words = self._words[wanted].long()
        captions, order = delete_whole_words(batch.captions, words, draws.words, draws.word_deletion)
        return replace(batch, captions=captions, content=batch.content.gather(1, order) & (captions > 0))

    def _normalise(self, images: Tensor) -> Tensor:
        return normalise(images, self.mean, self.std)

    def _rows(self, rows: Indices, captions: Tensor) -> Tensor:
        if self.resident:
            return self._pixels.index_select(0, self._image[captions])
        if self._ahead is not None:
            pixels = self._ahead.next_if(rows)
            if pixels is not None:
                return pixels
            self.close()
        return to_device(self._pixels[torch.from_numpy(rows)], self.device)

    def image_chunks(self, size: int) -> Iterator[Tensor]:
        """All images in order, normalised: [≤ size, 3, height, width] float32 on the device."""
        starts = range(0, len(self._pixels), size)
        if self.resident or self.device.type != "cuda":
            for start in starts:
                yield self._normalise(self._pixels[start : start + size].to(self.device))
            return
        rows = [np.arange(start, min(start + size, len(self._pixels))) for start in starts]
        ahead = _ReadAhead(self._pixels, rows, self.device)
        try:
            for wanted in rows:
                pixels = ahead.next_if(wanted)
                if pixels is None:
                    raise RuntimeError("images were read in another order than requested")
                yield self._normalise(pixels)
        finally:
            ahead.close()

    def caption_chunks(self, size: int) -> Iterator[Tensor]:
        """All captions in order: token ids [≤ size, tokens] int64 on the device."""
        for start in range(0, len(self._plain), size):
            yield self._plain[start : start + size].long()

    def close(self) -> None:
        """Stop reading ahead."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None


def fits(pixels: Tensor, device: torch.device) -> bool:
    """Whether `pixels` [images, 3, height, width] may stay on `device` beside a model in training."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    # What the allocator keeps for reuse is free, too: else the answer would depend on the cell before.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return pixels.nbytes <= RESIDENT_SHARE * free


@dataclass
class _Transfer:
    """Pixels being copied to the device; `pinned` is kept until the copy is complete."""

    rows: Indices
    pixels: Tensor
    pinned: Tensor
    done: torch.cuda.Event


class _ReadAhead:
    """Reads rows of pixels in a thread and copies them to the device over its own stream."""

    def __init__(self, pixels: Tensor, rows: Sequence[Indices], device: torch.device) -> None:
        self._pixels, self._rows, self._device = pixels, rows, device
        self._transfers: queue.Queue[_Transfer | BaseException | None] = queue.Queue(BATCHES_AHEAD)
        self._stopped = threading.Event()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for rows in self._rows:
                self._put(self._copy(rows))
                if self._stopped.is_set():
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _copy(self, rows: Indices) -> _Transfer:
        pinned = self._pixels[torch.from_numpy(rows)].pin_memory()
        with torch.cuda.stream(self._stream):
            pixels = pinned.to(self._device, non_blocking=True)
            return _Transfer(rows, pixels, pinned, self._stream.record_event())

    def _put(self, transfer: _Transfer | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._transfers.put(transfer, timeout=0.2)
                return
            except queue.Full:
                continue

    def next_if(self, rows: Indices) -> Tensor | None:
        """The next pixels [rows, 3, height, width] if they are those of `rows`; None otherwise."""
        transfer = self._transfers.get()
        if isinstance(transfer, BaseException):
            raise transfer
        if transfer is None or not np.array_equal(transfer.rows, rows):
            return None
        current = torch.cuda.current_stream(self._device)
        current.wait_event(transfer.done)
        transfer.pixels.record_stream(current)
        return transfer.pixels

    def close(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()
