"""The plain way to feed and train the same model, as a reference for speed: one sample at a time, eager.

It does the same work as the training step with nothing prepared: every image file is opened, resized and
augmented by PIL and torchvision for each sample, every caption tagged, pruned and tokenised, and the text
encoded twice, by open_clip's own code and torch's own attention, weights in float16 on a GPU (float32 on a
CPU) and an optimiser that is not fused. Nothing here is used to train a cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from harness.data.captions import content_flags
from harness.data.dataset import Split
from harness.data.decoding import decode, read_image
from harness.data.loader import Indices
from harness.launch.context import Context, InputSpec
from harness.machine.devices import to_precision
from harness.speed import timing
from harness.study.cell import Cell
from harness.study.schema import TrainSettings
from methods.attention import Attention
from methods.backbones import OPENAI_MEAN, OPENAI_STD
from methods.base import Batch, Method
from methods.clip import Backbone
from methods.text_pruning import Tagger, prune
from methods.tokenizer import Tokenizer

Sample = tuple[Tensor, Tensor, Tensor, Tensor, int]


class ReferencePairs(Dataset[Sample]):
    """A split's pairs, each made from its files when it is asked for."""

    def __init__(self, split: Split, settings: TrainSettings, encode: Tokenizer, tagger: Tagger) -> None:
        height, width = settings.image_size
        self._split, self._encode, self._tagger = split, encode, tagger
        self._transform = transforms.Compose(
            [
                transforms.Resize((height, width)),
                transforms.RandomHorizontalFlip(settings.flip_probability),
                transforms.Pad(settings.crop_padding),
                transforms.RandomCrop((height, width)),
                transforms.ToTensor(),
                transforms.Normalize(OPENAI_MEAN, OPENAI_STD),
                transforms.RandomErasing(
                    settings.erase_probability, scale=(0.02, 0.4), value=list(OPENAI_MEAN)
                ),
            ]
        )

    def __len__(self) -> int:
        return len(self._split.captions)

    def __getitem__(self, index: int) -> Sample:
        """Image [3, height, width], caption, pruned caption and content flags [tokens], person."""
        caption, image = self._split.captions[index], int(self._split.caption_image[index])
        pixels = self._transform(decode(read_image(self._split.image_paths[image])))
        plain, pruned = self._encode([caption, prune(caption, self._tagger)])
        content = torch.zeros(len(plain), dtype=torch.bool)
        flags = content_flags(caption, self._encode, self._tagger)[: len(plain) - 2]
        content[1 : 1 + len(flags)] = torch.tensor(flags, dtype=torch.bool)
        return pixels, plain, pruned, content, int(self._split.image_person[image])


def plain_loader(pairs: ReferencePairs, batches: Sequence[Indices], workers: int) -> DataLoader[Sample]:
    """PyTorch's own loader over given batches [pairs], with so many processes (0: in this one)."""
    listed = [batch.tolist() for batch in batches]
    loader: DataLoader[Sample] = DataLoader(
        pairs, batch_sampler=listed, num_workers=workers, pin_memory=torch.cuda.is_available()
    )
    return loader


def on_device(sample: Sequence[Tensor], device: torch.device) -> Batch:
    """A collated batch of `ReferencePairs`, each tensor [batch, ...], as a `Batch` on the device."""
    images, plain, pruned, content, persons = (part.to(device, non_blocking=True) for part in sample)
    return Batch(images, plain.long(), pruned.long(), content, persons)


class ReferenceBackbone(Backbone):
    """A backbone whose features open_clip computes: every token goes through every block."""

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Features [batch, width] of images [batch, 3, height, width]; the caller sees to precision."""
        features: Tensor = CLIP.encode_image(self, image.to(self.visual.conv1.weight.dtype), normalize)
        return features

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Features [batch, width] of tokens [batch, length]."""
        features: Tensor = CLIP.encode_text(self, text, normalize)
        return features


def leave_to_open_clip(method: Method) -> None:
    """Let open_clip's code and torch's own attention compute what `method` computes; its weights stay."""
    for part in method.modules():
        if isinstance(part, Attention):
            part.__class__ = nn.MultiheadAttention  # type: ignore[assignment]
        if isinstance(part, Backbone):
            part.__class__ = ReferenceBackbone


class ReferenceStep:
    """The reference step of a cell; `run` is timed beside `harness.speed.candidates.Candidate.run`."""

    def __init__(self, cell: Cell, context: Context, batches: Sequence[Indices], workers: int) -> None:
        self.device = context.fabric(cell).device
        self.precision = "float16 weights" if self.device.type == "cuda" else "float32"
        again = {"text_pass": "twice"} if cell.method_settings.get("tir") else {}
        twice = replace(cell, overrides={**cell.overrides, **again})
        self.method = context.method(twice).to(self.device)
        leave_to_open_clip(self.method)
        to_precision(self.method, "released" if self.device.type == "cuda" else "fp32")
        train, spec = cell.train, InputSpec.of(cell)
        groups = self.method.parameter_groups(train.lr, train.weight_decay)
        self.optimiser = torch.optim.Adam(groups, lr=train.lr, eps=train.adam_eps)
        split = context.images(cell.dataset, spec, "train").split
        encode = Tokenizer(spec.vocab_size, spec.context_length)
        self.pairs = ReferencePairs(split, train, encode, context.tagger)
        self._batches, self._workers, self.steps = list(batches), workers, 0
        self._generator = torch.Generator(self.device).manual_seed(cell.seed)

    def _upcoming(self, steps: int) -> Iterator[Sequence[Tensor]]:
        numbers = range(self.steps, self.steps + steps)
        batches = [self._batches[number % len(self._batches)] for number in numbers]
        self.steps += steps
        yield from plain_loader(self.pairs, batches, self._workers)

    def run(self, steps: int) -> dict[str, float]:
        """Seconds of a step in all, and without its data.

        With worker processes the clock starts when the first of the samples have arrived, so that starting
        them is not counted.
        """
        samples = self._upcoming(steps)
        first = next(samples) if self._workers else None
        start, waited = timing.clock(self.device), 0.0
        for _ in range(steps):
            asked = timing.clock(self.device)
            sample, first = (next(samples) if first is None else first), None
            waited += timing.clock(self.device) - asked
            self.step(on_device(sample, self.device))
        seconds = (timing.clock(self.device) - start) / steps
        return {"training step": seconds, "without data": seconds - waited / steps}

    def step(self, batch: Batch) -> None:
        """Forward, backward and update, nothing compiled or fused."""
        noise = self.method.draw_noise(len(batch.images), self._generator, self.device)
        self.optimiser.zero_grad()
        total = torch.stack(list(self.method(batch, noise).values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
