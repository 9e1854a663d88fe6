"""Files of features or similarities that other code wrote: NumPy archives, safetensors, PyTorch files.

No code of a file is run: NumPy reads without pickle, PyTorch with `weights_only`. What a file says is checked
whole, and every mistake is named.
"""

from __future__ import annotations

import difflib
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.machine.errors import HarnessError
from harness.machine.files import sha256

Array = NDArray[Any]

TEXT, IMAGE, SIMILARITY = "text_features", "image_features", "similarity"
QUERY_PERSONS, GALLERY_PERSONS = "query_persons", "gallery_persons"
QUERY_IDS, GALLERY_IDS = "query_ids", "gallery_ids"
KEYS = (TEXT, IMAGE, SIMILARITY, QUERY_PERSONS, GALLERY_PERSONS, QUERY_IDS, GALLERY_IDS)
SUFFIXES = (".npz", ".safetensors", ".pt", ".pth")


class ScoreFileError(HarnessError):
    """A file of scores that cannot be used: a line for every mistake, with file and key."""


@dataclass(frozen=True)
class ScoreFile:
    """What a file says of one model on one test split; either features of both sides or similarities.

    Attributes:
        path: the file.
        sha256: of its content.
        text: features of the queries `[queries, width]`, or None.
        image: features of the gallery `[gallery, width]`, or None.
        similarity: `[queries, gallery]`, larger is more alike, or None.
        query_persons: `[queries]` person of each query as text, or None where the file does not say.
        gallery_persons: `[gallery]` person of each gallery item, or None.
        query_ids: `[queries]` a name of each query, or None where rows are in the order of the annotation.
        gallery_ids: `[gallery]` a name of each gallery item, or None.
        t2i_only: whether only the queries' side is ranked, as in a TREC run.
        notes: what of its scores says nothing, to stand beside every number from it.
    """

    path: Path
    sha256: str
    text: Array | None = None
    image: Array | None = None
    similarity: Array | None = None
    query_persons: tuple[str, ...] | None = None
    gallery_persons: tuple[str, ...] | None = None
    query_ids: tuple[str, ...] | None = None
    gallery_ids: tuple[str, ...] | None = None
    t2i_only: bool = False
    notes: tuple[str, ...] = ()

    @property
    def queries(self) -> int:
        """How many queries there are."""
        return len(self.similarity if self.similarity is not None else self._side(self.text))

    @property
    def gallery(self) -> int:
        """How many gallery items there are."""
        return self.similarity.shape[1] if self.similarity is not None else len(self._side(self.image))

    @staticmethod
    def _side(features: Array | None) -> Array:
        assert features is not None
        return features

    def without_scores(self) -> ScoreFile:
        """The same without features and similarities, which may be large."""
        return replace(self, text=None, image=None, similarity=None)

    def reordered(self, query: Array, gallery: Array) -> ScoreFile:
        """The same with row `query[i]` at place i, and likewise for the gallery.

        Args:
            query: `[queries]` indices.
            gallery: `[gallery]` indices.
        """

        def names(values: tuple[str, ...] | None, order: Array) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[index] for index in order)

        return ScoreFile(
            self.path,
            self.sha256,
            None if self.text is None else self.text[query],
            None if self.image is None else self.image[gallery],
            None if self.similarity is None else self.similarity[np.ix_(query, gallery)],
            names(self.query_persons, query),
            names(self.gallery_persons, gallery),
            names(self.query_ids, query),
            names(self.gallery_ids, gallery),
            self.t2i_only,
            self.notes,
        )


def read_scores(path: Path) -> ScoreFile:
    """Read a file of features or similarities and check what it says by itself.

    Raises:
        ScoreFileError: every mistake: keys, shapes, values that are not numbers, ids that repeat.
        FileNotFoundError: there is no such file.
    """
    if path.is_dir():
        raise ScoreFileError(f"{path}: a folder; name a file of scores ({', '.join(SUFFIXES)})")
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    arrays = _arrays(path)
    mistakes = [f"{path}: {text}" for text in _mistakes(arrays)]
    if mistakes:
        raise ScoreFileError(mistakes)
    names = {key: tuple(map(_text, arrays[key].tolist())) for key in KEYS[3:] if key in arrays}
    return ScoreFile(
        path,
        sha256(path),
        arrays.get(TEXT),
        arrays.get(IMAGE),
        arrays.get(SIMILARITY),
        names.get(QUERY_PERSONS),
        names.get(GALLERY_PERSONS),
        names.get(QUERY_IDS),
        names.get(GALLERY_IDS),
        notes=tuple(f"{path.name}: {text}" for text in _saying_nothing(arrays)),
    )


def _saying_nothing(arrays: Mapping[str, Array]) -> Iterator[str]:
    """What of sound arrays ranks nothing: queries to which every image is alike, images of zeros."""
    if SIMILARITY in arrays:
        rows = arrays[SIMILARITY]
        flat = int((rows.min(axis=1) == rows.max(axis=1)).sum()) if rows.shape[1] > 1 else 0
        total = len(rows)
    else:
        text, image = arrays[TEXT], arrays[IMAGE]
        total = len(text)
        alike = len(image) > 1 and bool((image == image[0]).all())
        flat = total if alike else int((~text.any(axis=1)).sum())
        zeros = int((~image.any(axis=1)).sum())
        if zeros:
            yield f"{IMAGE}: {zeros:,} of {len(image):,} rows are all zero, alike to every query"
    if flat:
        yield f"every image scores alike for {flat:,} of {total:,} queries; R1 is chance there"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# -- reading --------------------------------------------------------------------------------------


def _arrays(path: Path) -> dict[str, Array]:
    readers = {".npz": _npz, ".safetensors": _safetensors, ".pt": _torch, ".pth": _torch}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        hint = "; a TREC run needs --qrels FILE" if path.suffix in (".run", ".txt", ".trec") else ""
        raise ScoreFileError(f"{path}: not a file of scores: it must end in {', '.join(SUFFIXES)}{hint}")
    return reader(path)


def _npz(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: _read_array(path, archive, name) for name in archive.files}
    except ScoreFileError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ScoreFileError(f"{path}: cannot be read as a NumPy archive: {_why(error)}") from error


def _read_array(path: Path, archive: Any, name: str) -> Array:
    try:
        found: Array = archive[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ScoreFileError(f"{path}: {name}: cannot be read: {_why(error)}") from error
    return found


def _why(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "allow_pickle" in text or "pickle" in text.lower():
        return "it holds Python objects, which only running its code could read; save plain arrays"
    return text


def _safetensors(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        hint = "; save bfloat16 features as float32" if "bf" in str(error).lower() else ""
        raise ScoreFileError(f"{path}: cannot be read as safetensors: {_why(error)}{hint}") from error


def _torch(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError as error:
        raise ScoreFileError(
            f"{path}: reading a PyTorch file needs torch, which is not installed; save it as .npz"
        ) from error
    import pickle

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader fail in whatever way
        text = str(error) or type(error).__name__
        if "weights_only" in text.lower() or isinstance(error, pickle.UnpicklingError):
            text = "it holds more than tensors and plain values, which only running its code could read"
        raise ScoreFileError(f"{path}: cannot be read: {text.splitlines()[0]}") from error
    if not isinstance(found, Mapping):
        raise ScoreFileError(f"{path}: holds a {type(found).__name__}, not a mapping of names to tensors")
    return {str(name): _as_array(path, str(name), value) for name, value in found.items()}


def _as_array(path: Path, name: str, value: Any) -> Array:
    import torch

    if isinstance(value, torch.Tensor):
        plain = value.detach()
        return np.asarray((plain.float() if plain.is_floating_point() else plain).numpy())
    if isinstance(value, (list, tuple)) and all(isinstance(item, (int, str)) for item in value):
        return np.asarray(value)
    raise ScoreFileError(f"{path}: {name}: must be a tensor or a list of numbers or texts")


# -- what a file says by itself -------------------------------------------------------------------


def _mistakes(arrays: Mapping[str, Array]) -> Iterator[str]:
    yield from _key_mistakes(arrays)
    for name in (TEXT, IMAGE, SIMILARITY):
        if name in arrays:
            yield from _matrix_mistakes(name, arrays[name])
    for name in KEYS[3:]:
        if name in arrays:
            yield from _label_mistakes(name, arrays[name])
    yield from _shape_mistakes({name: value for name, value in arrays.items() if name in KEYS})


def _key_mistakes(arrays: Mapping[str, Array]) -> Iterator[str]:
    for name in arrays:
        if name not in KEYS:
            close = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(KEYS)}"
            yield f"unknown key {name!r}: {hint}"
    if SIMILARITY in arrays:
        for name in (TEXT, IMAGE):
            if name in arrays:
                yield f"{name}: beside {SIMILARITY} it is ambiguous; keep one of the two"
    elif TEXT not in arrays and IMAGE not in arrays:
        yield f"needs {TEXT} and {IMAGE}, or {SIMILARITY}"
    else:
        for name, other in ((TEXT, IMAGE), (IMAGE, TEXT)):
            if name not in arrays:
                yield f"{name} is missing beside {other}"
    for name, other in ((QUERY_PERSONS, GALLERY_PERSONS), (GALLERY_PERSONS, QUERY_PERSONS)):
        if name not in arrays and other in arrays:
            yield f"{name} is missing beside {other}"


def _matrix_mistakes(name: str, values: Array) -> Iterator[str]:
    if values.dtype.kind not in "fiu":
        yield f"{name}: must hold numbers, got {values.dtype}"
    elif values.ndim != 2 or not values.size:
        yield f"{name}: must be a matrix with rows and columns, got the shape {list(values.shape)}"
    elif values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        count = int((~np.isfinite(values)).sum())
        yield f"{name}: {count:,} values are NaN or infinite, the first in row {row}"


def _label_mistakes(name: str, values: Array) -> Iterator[str]:
    if values.ndim != 1 or values.dtype.kind not in "iuSU":
        yield f"{name}: must be a list of whole numbers or texts, got {values.dtype} {list(values.shape)}"
    elif name in (QUERY_IDS, GALLERY_IDS):
        unique, counts = np.unique(values, return_counts=True)
        repeated = unique[counts > 1]
        if len(repeated):
            named = ", ".join(repr(_text(value)) for value in repeated[:3].tolist())
            more = f" and {len(repeated) - 3:,} more" if len(repeated) > 3 else ""
            yield f"{name}: ids repeat: {named}{more}"


def _shape_mistakes(arrays: Mapping[str, Array]) -> Iterator[str]:
    matrix = {name: arrays[name] for name in (TEXT, IMAGE, SIMILARITY) if name in arrays}
    if any(values.ndim != 2 for values in matrix.values()):
        return
    if TEXT in matrix and IMAGE in matrix and matrix[TEXT].shape[1] != matrix[IMAGE].shape[1]:
        widths = matrix[TEXT].shape[1], matrix[IMAGE].shape[1]
        yield f"{TEXT} are {widths[0]} wide and {IMAGE} {widths[1]}"
    sizes = dict(zip((QUERY_PERSONS, GALLERY_PERSONS), _sides(matrix), strict=True))
    given = {name: len(arrays[name]) for name in sizes if name in arrays and arrays[name].ndim == 1}
    if SIMILARITY in matrix and len(given) == 2 and len(set(given.values())) == 2:
        queries, gallery = given[QUERY_PERSONS], given[GALLERY_PERSONS]
        if matrix[SIMILARITY].shape == (gallery, queries):
            yield (
                f"{SIMILARITY} is transposed: it is {gallery} × {queries}, and there are {queries} "
                f"{QUERY_PERSONS} and {gallery} {GALLERY_PERSONS}; rows are queries"
            )
            return
    for name, other, size in (
        (QUERY_PERSONS, QUERY_IDS, sizes[QUERY_PERSONS]),
        (GALLERY_PERSONS, GALLERY_IDS, sizes[GALLERY_PERSONS]),
    ):
        for label in (name, other):
            if size is not None and label in arrays and arrays[label].ndim == 1:
                count = len(arrays[label])
                if count != size:
                    side = "queries" if name == QUERY_PERSONS else "gallery items"
                    yield f"{label}: has {count:,} entries, and there are {size:,} {side}"


def _sides(matrix: Mapping[str, Array]) -> tuple[int | None, int | None]:
    if SIMILARITY in matrix:
        return matrix[SIMILARITY].shape[0], matrix[SIMILARITY].shape[1]
    return (
        len(matrix[TEXT]) if TEXT in matrix else None,
        len(matrix[IMAGE]) if IMAGE in matrix else None,
    )


def digest_of(*paths: Path) -> str:
    """SHA-256 of several files' contents, in order."""
    if len(paths) == 1:
        return sha256(paths[0])
    return hashlib.sha256("\0".join(map(sha256, paths)).encode()).hexdigest()
