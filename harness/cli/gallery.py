"""What a query searches: a split of a dataset or a folder of pictures, encoded once and kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.nn.functional import normalize

from harness import registry
from harness.data.augment import normalise
from harness.data.dataset import Split
from harness.data.decoding import BrokenImageError, in_parallel, read_image, resized
from harness.evaluate.features import IMAGES_AT_ONCE, encode_captions, encode_images
from harness.launch.context import Context
from harness.launch.fingerprints import COMPONENTS, component_files
from harness.launch.models import CheckpointError, OpenedModel
from harness.machine.environment import arithmetic
from harness.machine.errors import DataError
from harness.machine.files import atomic_write
from harness.machine.paths import cache_dir
from harness.registry.plugin_imports import plugin_files
from harness.study.cell import fingerprint

Kind = Literal["images", "captions"]
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
"""How files are called that a folder is searched for, in either case."""


@dataclass(frozen=True)
class SearchedGallery:
    """What is searched.

    Attributes:
        name: the dataset, or the folder.
        part: the dataset's split; empty of a folder.
        split: the images, and the captions of a dataset.
        identity: what changes whenever an image or a caption does.
        encode: features of images or captions [items, width], not normalised; NaN for an unreadable picture.
        notes: what could not be read; filled by `gallery_features`.
    """

    name: str
    part: str
    split: Split
    identity: str
    encode: Callable[[OpenedModel, Kind, torch.device], Tensor]
    notes: list[str] = field(default_factory=list)


def of_dataset(context: Context, name: str, subset: int | None, split: str) -> SearchedGallery:
    """A split of a dataset. Raises `DataError` and `UnknownNameError` as loading it does."""
    records = context.dataset(name, subset)
    records.require(split)

    def encode(model: OpenedModel, kind: Kind, device: torch.device) -> Tensor:
        data = context.split(name, model.input_spec(subset), split, device)
        return (encode_images if kind == "images" else encode_captions)(model.method, data)

    return SearchedGallery(
        name, split, records.splits[split], f"{records.fingerprint} {split} {subset}", encode
    )


def of_folder(folder: Path) -> SearchedGallery:
    """The pictures in a folder and the folders below it, in the order of their paths.

    Raises `DataError` where there is no folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError([f"--gallery {folder}: no such folder"])
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not paths:
        raise DataError([f"--gallery {folder}: no picture in it ({', '.join(PICTURES)})"])
    nobody, none = np.zeros(len(paths), dtype=np.int64), np.zeros(0, dtype=np.int64)
    split = Split("pictures", tuple(paths), ("",), nobody, (), none)
    facts = [(str(path.relative_to(folder)), _stamp(path)) for path in paths]

    def encode(model: OpenedModel, _: Kind, device: torch.device) -> Tensor:
        return torch.cat(list(_encoded(model, paths, device)))

    return SearchedGallery(str(folder), "", split, fingerprint(facts), encode)


def _stamp(path: Path) -> str:
    status = os.stat(path)
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _encoded(model: OpenedModel, paths: Sequence[Path], device: torch.device) -> Iterator[Tensor]:
    """Features [pictures, width] of a few pictures at a time; NaN where a picture cannot be read."""
    config = model.backbone.config
    for start in range(0, len(paths), IMAGES_AT_ONCE):
        part = paths[start : start + IMAGES_AT_ONCE]
        pixels = list(in_parallel(lambda path: _pixels_or_none(path, model), part))
        features = torch.full((len(part), model.method.embed_dim), torch.nan)
        if read := [index for index, each in enumerate(pixels) if each is not None]:
            shown = torch.stack([each for each in pixels if each is not None]).to(device)
            encoded = model.method.encode_image(normalise(shown, config.mean, config.std)).float().cpu()
            features[read] = _finite(encoded)
        yield features


def _pixels_or_none(path: Path, model: OpenedModel) -> Tensor | None:
    try:
        return query_pixels(path, model.image_size, model.test_resize)
    except DataError:
        return None


def query_pixels(path: Path, size: tuple[int, int], resample: str = "bilinear") -> Tensor:
    """Pixels [3, height, width] of a picture, upright as its EXIF says. Raises `DataError` for none."""
    try:
        return torch.from_numpy(resized(read_image(path), size, upright=True, resample=resample))
    except BrokenImageError as error:
        raise DataError([f"--image {path}: {error}"]) from error


def gallery_features(
    gallery: SearchedGallery, model: OpenedModel, kind: Kind, device: torch.device
) -> Tensor:
    """Features [items, width] of length one, encoded once per model and data and kept in the cache folder.

    A row of NaN stands for a picture that cannot be read; the gallery's notes name these. Raises `DataError`
    where there is nothing to search, and `CheckpointError` for a model whose features are not finite.
    """
    file = cache_dir() / "galleries" / f"{_key(gallery, model, device)[:32]}-{kind}.safetensors"
    items = gallery.split.image_paths if kind == "images" else gallery.split.captions
    if not len(items):
        raise DataError(["query: the split is empty, so there is nothing to search"])
    features = _kept(file, len(items))
    if features is None:
        features = normalize(gallery.encode(model, kind, device), dim=1)
        if gallery.part:
            _finite(features)
        with suppress(OSError):  # a full disk costs time, not the answer
            atomic_write(file, save_tensors({"features": features.cpu().contiguous()}))
    unreadable = features.isnan().all(dim=1).nonzero().squeeze(1).tolist()
    gallery.notes.extend(f"{items[index]}: left out: it cannot be read as a picture" for index in unreadable)
    if len(unreadable) == len(items):
        raise DataError(gallery.notes)
    return features.to(device)


def _kept(file: Path, items: int) -> Tensor | None:
    """Features that were kept; None where there are none, or the file is damaged."""
    try:
        features = load_tensors(file.read_bytes())["features"]
    except (OSError, SafetensorError, KeyError):
        return None
    return features if len(features) == items else None


def normalised(features: Tensor) -> Tensor:
    """Features [items, width], each of length one. Raises `CheckpointError` when one is not finite."""
    return normalize(_finite(features), dim=1)


def _finite(features: Tensor) -> Tensor:
    if not bool(features.isfinite().all()):
        raise CheckpointError("the model's features are not finite: it has diverged, or is no such model")
    return features


def _key(gallery: SearchedGallery, model: OpenedModel, device: torch.device) -> str:
    """What the features of a gallery depend on: weights, code, data, and how the model sees them."""
    weights = hashlib.sha256()
    for name, tensor in sorted(model.method.state_dict().items()):
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        weights.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    seen = [model.backbone.config.name, str(model.input_spec()), model.precision, type(model.method).__name__]
    versions: Any = arithmetic(torch.device("cpu"))["packages"]
    return fingerprint([weights.hexdigest(), seen, versions, _sources(), gallery.identity, str(device)])


def _sources() -> str:
    """SHA-256 of the sources that can change a feature, byte by byte.

    An edited comment costs one more encoding; `code_fingerprint`, for which a comment does not count, would
    take a third of the CPU time of an answer.
    """
    files = [file for name in COMPONENTS for file in component_files(name)]
    files += [file for plugin in registry.plugins() for file in plugin_files(plugin)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()
