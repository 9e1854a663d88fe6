"""Training small enough for a test: a split of coloured rectangles, a linear method, a run that remembers."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness import registry
from harness.data.captions import CaptionTokens
from harness.data.dataset import Split
from harness.data.loader import DeviceData
from harness.data.sampler import IdentityBatches
from harness.study.schema import TrainSettings
from harness.train.loop import TrainingData, TrainingOptions, train
from methods.base import Batch, Method
from methods.build import build_method
from methods.clip import backbone_config, load_backbone

SIZE = (32, 16)
VOCAB, CONTEXT = 512, 12
_CONFIG = backbone_config("tiny")
TINY: dict = {"size": _CONFIG.image_size, "vocab": _CONFIG.vocab_size, "context": _CONFIG.context_length}
"""The shape of what the `tiny` backbone reads."""


def small_split(
    persons: int, *, images: int = 2, captions: int = 2, seed: int = 0, name: str = "train"
) -> Split:
    """`images` per person, `captions` per image."""
    image_person = np.repeat(np.arange(persons), images)
    return Split(
        name=name,
        image_paths=tuple(Path(f"/nowhere/{name}/{index}.png") for index in range(len(image_person))),
        persons=tuple(f"p{seed}-{person}" for person in range(persons)),
        image_person=image_person.astype(np.int64),
        captions=tuple(f"caption {index}" for index in range(len(image_person) * captions)),
        caption_image=np.repeat(np.arange(len(image_person)), captions).astype(np.int64),
    )


def small_data(
    persons: int,
    *,
    seed: int = 0,
    name: str = "train",
    device: str = "cpu",
    size: tuple[int, int] = SIZE,
    vocab: int = VOCAB,
    context: int = CONTEXT,
    **counts: int,
) -> DeviceData:
    """Images whose colour, and captions whose words, tell the person, with noise; no two captions alike."""
    split = small_split(persons, seed=seed, name=name, **counts)
    rng = np.random.default_rng([seed, persons])
    colours = rng.integers(0, 256, (persons, 3))
    words = rng.integers(1, vocab - 3, (persons, 4))
    noise = rng.integers(-40, 41, (len(split.image_paths), 3, *size))
    pixels = np.clip(colours[split.image_person][:, :, None, None] + noise, 0, 255).astype(np.uint8)
    plain = np.zeros((len(split.captions), context), np.int32)
    plain[:, 0], plain[:, 1:5], plain[:, 7] = vocab - 2, words[split.caption_person], vocab - 1
    plain[:, 5:7] = rng.integers(1, vocab - 3, (len(plain), 2))
    content, number = _content_and_words(len(plain), context)
    pruned = np.where(content | (plain >= vocab - 2), plain, 0)
    columns = (plain, pruned.astype(np.int32), content, number)
    tokens = CaptionTokens(*(torch.from_numpy(column) for column in columns))
    return DeviceData(split, torch.from_numpy(pixels), tokens, device)


def _content_and_words(captions: int, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens are of content words, and of which word each is, [captions, context].

    Up to 32 captions differ in both, so that a row which stands beside another caption is noticed.
    """
    content = np.zeros((captions, context), dtype=bool)
    number = np.full((captions, context), -1, np.int32)
    rows = np.arange(captions)[:, None]
    content[:, 1:7] = (1 + rows % 63) >> np.arange(6) & 1
    number[:, 1] = 0
    number[:, 2:7] = np.cumsum(rows * 7 % 32 >> np.arange(5) & 1, axis=1)
    return content, number


class Linear(Method):
    """Mean colour against a bag of words; uses the noise it draws and, by dropout, the global generators."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embed_dim = width
        self.image, self.text = nn.Linear(3, width), nn.Embedding(VOCAB, width)
        self.classifier = nn.Linear(width, 64)
        self.unused = nn.Linear(2, 2)

    def draw_noise(self, size, generator, device):
        return {"jitter": torch.rand(size, 1, generator=generator, device=device)}

    def encode_image(self, images):
        return self.image(images.mean(dim=(2, 3)).to(self.image.weight.dtype))

    def encode_text(self, captions):
        return self.text(captions).mean(dim=1)

    def forward(self, batch: Batch, noise):
        image = self.gather(nn.functional.dropout(self.encode_image(batch.images), 0.1).float())
        text = self.gather(self.encode_text(batch.captions).float() * (1 + 0.01 * noise["jitter"]))
        people = self.gather(batch.person_ids)
        cosine = nn.functional.normalize(image, dim=1) @ nn.functional.normalize(text, dim=1).T
        target = torch.arange(len(cosine), device=cosine.device)
        both = (image + text).to(self.classifier.weight.dtype)
        return {
            "match": nn.functional.cross_entropy(cosine / 0.1, target),
            "identity": nn.functional.cross_entropy(self.classifier(both).float(), people),
        }


class MemoryRun:
    """A store's cell that keeps all in memory, the checkpoint as the bytes that would lie on the disk.

    `optimiser` is the last state that had one.
    """

    def __init__(self) -> None:
        self.checkpoint: bytes | None = None
        self.checkpoint_epochs: list[int] = []
        self.optimiser: dict = {}
        self.history: list[dict] = []
        self.models: dict[str, tuple[int, dict]] = {}

    def load_checkpoint(self):
        return None if self.checkpoint is None else torch.load(io.BytesIO(self.checkpoint), weights_only=True)

    def save_checkpoint(self, state, epoch):
        file = io.BytesIO()
        torch.save(dict(state), file)
        self.checkpoint = file.getvalue()
        self.checkpoint_epochs.append(epoch)
        self.optimiser = state["optimiser"] or self.optimiser

    def append_history(self, record):
        self.history.append(copy.deepcopy(dict(record)))

    def truncate_after(self, epoch):
        self.history = [record for record in self.history if record["epoch"] <= epoch]

    def save_model(self, selection, state, epoch):
        self.models[selection] = (epoch, {name: value.clone() for name, value in state.items()})


def recipe(**changes) -> TrainSettings:
    """A recipe of a few short epochs."""
    few = {
        "epochs": 3,
        "batch_size": 8,
        "lr": 1e-2,
        "warmup_epochs": 1,
        "precision": "fp32",
        "image_size": SIZE,
    }
    return TrainSettings(**{**few, "crop_padding": 2, **changes})


def training_data(settings: TrainSettings, persons: int = 8, device: str = "cpu", **shape) -> TrainingData:
    """Three splits and the batches of a recipe."""
    pairs = small_data(persons, device=device, **shape)
    batches = IdentityBatches(pairs.split.caption_person, settings.batch_size, 5, settings.sampler)
    val, test = (
        small_data(6, seed=seed, name=name, device=device, **shape)
        for seed, name in ((1, "val"), (2, "test"))
    )
    return TrainingData(pairs, batches, val, test)


def small_method(seed: int = 0) -> Linear:
    """A linear method with weights by seed."""
    torch.manual_seed(seed)
    return Linear()


def tiny_method(name: str, identities: int = 8, **settings) -> Method:
    """A registered method at the smallest real size."""
    entry = registry.method(name)
    backbone = load_backbone("tiny", "none", TINY["size"], seed=1)
    return build_method(
        entry,
        entry.resolve(settings),
        backbone=backbone,
        identities=identities,
        image_size=TINY["size"],
        seed=2,
    )


def run_small(run=None, *, settings=None, method=None, seed=3, options=None, data=None, **changes):
    """Train a small method; returns (the run, the method, the chosen epochs)."""
    run, method = run or MemoryRun(), method or small_method()
    settings = settings or recipe(**changes)
    chosen = train(
        method,
        data or training_data(settings),
        settings,
        run,
        seed=seed,
        options=options or TrainingOptions(report_seconds=0),
    )
    return run, method, chosen


TIMES = ("seconds", "data_seconds", "evaluation_seconds", "pairs_per_second", "peak_memory")


def without_times(history: list[dict]) -> list[dict]:
    """What of a history must be the same however the run went."""
    return [{name: value for name, value in line.items() if name not in TIMES} for line in history]
