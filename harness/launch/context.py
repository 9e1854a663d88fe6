"""What the cells of one process share: datasets, decoded images, tokens and pretrained weights."""

from __future__ import annotations

import copy
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.data.dataset import SPLIT_NAMES, Dataset
from harness.data.datasets import load_dataset
from harness.data.duplicates import notes_by_pixels
from harness.data.images import ImageCache, image_cache
from harness.launch import fingerprints
from harness.machine import paths
from harness.machine.environment import Machine
from harness.machine.progress import Progress
from harness.machine.seeds import seed_for
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.study.cell import Cell, fingerprint
from harness.study.study import TrainSettings
from methods.backbones import OPENAI_MEAN, OPENAI_STD, BackboneConfig, adapt_to_recipe, backbone_config

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from harness.data.loader import DeviceData
    from harness.train.loop import TrainingData
    from methods.base import Method
    from methods.clip import Backbone
    from methods.text_pruning import Tagger

log = logging.getLogger(__name__)

SPLITS_ON_DEVICE = 8
"""Splits kept ready at once; with more datasets than that, the one used longest ago is prepared again."""


def prepare_process(machine: Machine) -> None:
    """Make a worker ready to run cells: plugins registered, then as `prepare_arithmetic`."""
    registry.load_plugins(machine.plugins)
    prepare_arithmetic(machine)


def prepare_arithmetic(machine: Machine) -> None:
    """Choose how CUDA allocates memory, and deterministic kernels where they are asked for."""
    # Read when CUDA starts: cells of many sizes in one process must not fragment its memory.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    if machine.deterministic:
        from harness.machine.devices import use_deterministic_algorithms

        use_deterministic_algorithms()


def config_of(train: TrainSettings) -> BackboneConfig:
    """The sizes of a recipe's backbone: as its weights were trained, with the recipe's own text length."""
    from methods.pretrained import adapt_to_weights

    config = adapt_to_weights(backbone_config(train.backbone), train.pretrained)
    return adapt_to_recipe(config, train.text_length, train.normalisation)


@dataclass(frozen=True)
class InputSpec:
    """How a model sees a dataset: how many people of it, images of which size, captions in which tokens."""

    subset: int | None
    image_size: tuple[int, int]
    vocab_size: int
    context_length: int
    mean: tuple[float, float, float] = OPENAI_MEAN
    """Per channel, what pixels are normalised by."""
    std: tuple[float, float, float] = OPENAI_STD
    test_resize: str = "bilinear"
    """The filter by which images of validation and test are resized."""
    caption_cleaning: bool = False
    """Whether captions are cleaned before they are encoded."""

    @classmethod
    def of(cls, cell: Cell) -> InputSpec:
        """What a cell's backbone reads."""
        config = config_of(cell.train)
        return cls(
            cell.subset,
            cell.train.image_size,
            config.vocab_size,
            config.context_length,
            config.mean,
            config.std,
            cell.train.test_resize,
            cell.train.caption_cleaning,
        )


class Context:
    """Loads what cells need, and keeps it for the next cell of this process."""

    def __init__(self, machine: Machine, progress: Progress | None = None) -> None:
        self.machine = machine
        self.progress = progress or Progress()
        self._datasets: dict[tuple[str, int | None], Dataset] = {}
        self._ready: OrderedDict[Any, DeviceData] = OrderedDict()
        self._caches: dict[Any, ImageCache] = {}
        self._captions_cut: dict[Any, int] = {}
        self._notes: dict[Any, list[str]] = {}
        self._backbones: dict[Any, Backbone] = {}
        self._resident: bool | None = None

    # -- identity ---------------------------------------------------------------------------------

    def dataset(self, name: str, subset: int | None) -> Dataset:
        """A dataset's records. Raises `DataError` with every reason why it cannot be used."""
        key = (name, subset)
        if key not in self._datasets:
            self._datasets[key] = load_dataset(
                name,
                self.machine.data_root,
                subset=subset,
                skip_broken=self.machine.skip_broken,
                progress=self._watch(f"reading the images of {name}"),
            )
        return self._datasets[key]

    def data_fingerprint(self, name: str, cell: Cell) -> str:
        """The fingerprint of a dataset as this cell would use it, less the images that cannot be decoded."""
        dataset = self.dataset(name, cell.subset)
        if not self.machine.skip_broken:
            return dataset.fingerprint
        broken = {split: self.images(name, InputSpec.of(cell), split).broken for split in dataset.splits}
        return fingerprint([dataset.fingerprint, broken]) if any(broken.values()) else dataset.fingerprint

    def parts(self, cell: Cell) -> dict[str, Any]:
        """What the identity of a cell is made of, on this machine's data, code and weights.

        Raises `DataError` and `methods.pretrained.WeightsNotFoundError`.
        """
        method, dataset = registry.method(cell.base), registry.dataset(cell.dataset)
        needed = ("train", "test") if cell.trains else ("test",)
        self.dataset(cell.dataset, cell.subset).require(*needed)
        code = fingerprints.code_fingerprint(method.plugin, dataset.plugin)
        weights = fingerprints.weights_fingerprint(cell.train.backbone, cell.train.pretrained)
        tagger = f"{self.tagger.name} {self.tagger.version}"
        return cell.parts(self.data_fingerprint(cell.dataset, cell), code, weights, tagger)

    def identity(self, cell: Cell) -> str:
        """The identity of a cell: cells with the same one have the same numbers. Raises as `parts` does."""
        return fingerprint(self.parts(cell))

    def open_run(self, store: RunStore, cell: Cell, **recorded: Any) -> CellRun:
        """The cell's place in a store under its identity on this machine, made when it is not there yet."""
        return store.open(cell, self.parts(cell), **recorded)

    @cached_property
    def tagger(self) -> Tagger:
        """What tags captions on this machine."""
        from methods.text_pruning import tagger

        return tagger()

    # -- tensors ----------------------------------------------------------------------------------

    def images(self, name: str, input_spec: InputSpec, split: str) -> ImageCache:
        """The decoded images of a split at the input spec's size, built at first use."""
        dataset = self.dataset(name, input_spec.subset)
        key = self._cache_key(name, input_spec, split)
        if key not in self._caches:
            self._caches[key] = image_cache(
                dataset.splits[split],
                input_spec.image_size,
                paths.cache_dir(),
                fingerprint=dataset.fingerprint,
                digests=dataset.digests[split],
                skip_broken=self.machine.skip_broken,
                progress=self._watch(f"decoding {name} {split}"),
                resample=self._resample(input_spec, split),
            )
        return self._caches[key]

    @staticmethod
    def _resample(input_spec: InputSpec, split: str) -> str:
        return "bilinear" if split == "train" else input_spec.test_resize

    def _cache_key(self, name: str, input_spec: InputSpec, split: str) -> tuple[Any, ...]:
        resample = self._resample(input_spec, split)
        return (name, input_spec.subset, split, input_spec.image_size, resample)

    def split(self, name: str, input_spec: InputSpec, split: str, device: Any) -> DeviceData:
        """A split on the device, with its captions tokenised."""
        from harness.data.captions import caption_tokens, cleaned
        from harness.data.loader import DeviceData
        from methods.tokenizer import Tokenizer

        key = (name, split, input_spec, str(device))
        if key in self._ready:
            self._ready.move_to_end(key)
            return self._ready[key]
        cache = self.images(name, input_spec, split)
        captions = cache.split.captions
        tokens = caption_tokens(
            [cleaned(caption) for caption in captions] if input_spec.caption_cleaning else captions,
            Tokenizer(input_spec.vocab_size, input_spec.context_length),
            self.tagger,
            paths.cache_dir(),
            progress=self._watch(f"tagging {name} {split}"),
        )
        self._ready[key] = DeviceData(
            cache.split,
            cache.pixels,
            tokens,
            device,
            resident=self._resident_on(device),
            mean=input_spec.mean,
            std=input_spec.std,
        )
        while len(self._ready) > SPLITS_ON_DEVICE:
            self._ready.popitem(last=False)[1].close()
        return self._ready[key]

    def _resident_on(self, device: Any) -> bool | None:
        import torch

        return self._resident if torch.device(device).type == "cuda" else None

    def keep_resident(self, resident: bool | None) -> None:
        """Say whether images stay on a GPU from now on; None: where they fit."""
        self._resident = resident

    def drop_resident_pixels(self) -> bool:
        """Keep no images on a GPU from now on; whether any were there, so that memory is gained."""
        gained = any(data.resident and data.device.type == "cuda" for data in self._ready.values())
        if gained:
            self._resident = False
            for data in self._ready.values():
                data.close()
            self._ready.clear()
        return gained

    def _watch(self, what: str) -> Callable[[int, int], None]:
        return partial(self.progress.working, what)

    def data_provenance(self, name: str, spec: InputSpec, split: str = "test") -> dict[str, Any]:
        """What the loader knows of a split, for beside its results; with the captions that are cut."""
        from harness.data.captions import captions_cut_cached, cleaned

        key = (name, split, spec.subset, spec.vocab_size, spec.context_length, spec.caption_cleaning)
        if key not in self._captions_cut:
            captions: Sequence[str] = self.dataset(name, spec.subset).splits[split].captions
            captions = [cleaned(caption) for caption in captions] if spec.caption_cleaning else captions
            self._captions_cut[key] = captions_cut_cached(
                captions, spec.vocab_size, spec.context_length, paths.cache_dir()
            )
        dataset = self.dataset(name, spec.subset)
        known = {**dataset.provenance(), "captions_cut": self._captions_cut[key]}
        images = self._cache_key(name, spec, split)
        # Only of images that are decoded already: a check of a study decodes none.
        if split != "test" or images not in self._caches:
            return known
        if images not in self._notes:
            cache = self._caches[images]
            self._notes[images] = notes_by_pixels(dataset, cache.split, cache.digests)
        return {**known, "notes": list(self._notes[images])}

    def training_data(self, cell: Cell, device: Any) -> TrainingData:
        """Everything that training a cell reads. The batches are the same for every method of a seed."""
        import numpy as np

        from harness.data.caption_noise import caption_order
        from harness.data.sampler import IdentityBatches
        from harness.train.loop import TrainingData

        input_spec, splits = InputSpec.of(cell), SPLIT_NAMES
        train, val, test = (self.split(cell.dataset, input_spec, split, device) for split in splits)
        seed = seed_for(cell.seed, cell.dataset, "batches")
        rule, moved = cell.train.sampler, None
        if cell.caption_noise:
            noise = seed_for(cell.seed, cell.dataset, "caption noise")
            order = caption_order(train.split.caption_image, cell.caption_noise, noise)
            train, moved = train.with_captions(order), order != np.arange(len(order))
        batches = IdentityBatches(train.split.caption_person, cell.train.batch_size, seed, rule)
        return TrainingData(train, batches, val, test, moved)

    # -- models -----------------------------------------------------------------------------------

    def backbone(self, train: TrainSettings, seed: int) -> Backbone:
        """A fresh copy of a backbone with its pretrained weights."""
        from methods.clip import load_backbone

        drawn = seed if train.pretrained == "none" else 0
        read = (train.image_size, train.text_length, train.normalisation)
        key = (train.backbone, train.pretrained, *read, drawn)
        if key not in self._backbones:
            self._backbones.clear()  # one at a time: a full-size one takes 600 MB
            self._backbones[key] = load_backbone(
                train.backbone,
                train.pretrained,
                train.image_size,
                seed=seed,
                text_length=train.text_length,
                normalisation=train.normalisation,
            )
        backbone = copy.deepcopy(self._backbones[key])
        backbone.drop_attention_of_text(train.text_dropout)
        return backbone

    def method(self, cell: Cell) -> Method:
        """The cell's method with its initial weights, on the CPU."""
        from methods.build import build_method

        entry = registry.method(cell.base)
        return build_method(
            entry,
            entry.resolve(cell.overrides),
            backbone=self.backbone(cell.train, seed_for(cell.seed, cell.dataset, "backbone")),
            identities=self.identities(cell),
            image_size=cell.train.image_size,
            seed=seed_for(cell.seed, cell.dataset, cell.base, "heads"),
        )

    def identities(self, cell: Cell) -> int:
        """How many people a cell trains on; 1 for a dataset that is a test split alone."""
        splits = self.dataset(cell.dataset, cell.subset).splits
        return len(splits["train"].persons) if "train" in splits else 1

    def trained_method(self, cell: Cell, run: CellRun, selection: str) -> Method:
        """The cell's method with the weights of a selection. Raises `StoreError` when they are damaged."""
        method = self.method(cell)
        method.load_state_dict(run.load_model(selection))
        return method

    def fabric(self, cell: Cell) -> Fabric:
        """Device, precision and processes for a cell. Raises ValueError for a device that is not there."""
        import torch

        from harness.machine.devices import make_fabric
        from harness.machine.memory import keep_freed_memory

        torch.set_num_threads(self.machine.threads)
        keep_freed_memory()
        return make_fabric(cell.train.precision, device=self.machine.device, devices=self.machine.devices)
