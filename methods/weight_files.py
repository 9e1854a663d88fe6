"""Files of weights: what kind one is, by its content, and its tensors by name; no code of the file is run."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

WRAPPINGS = ("model", "state_dict", "model_state_dict", "net", "network", "module")
"""Keys under which training programs keep the weights."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""What `DataParallel`, DDP, `torch.compile` and Lightning put before every name, in any order and number."""
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
"""Entries of OpenAI's archives that are settings, not weights."""
HEAD_BYTES = 512


def read_state(file: Path) -> dict[str, Tensor]:
    """Weights by name from a safetensors, PyTorch or TorchScript file, whatever its suffix says.

    Looks inside the usual wrappings (`WRAPPINGS`) and any other where only one thing can be meant, drops what
    wrappers put before names (`PREFIXES`), and lets plain settings (a `Namespace`, NumPy numbers) lie beside
    the weights.

    Raises:
        ValueError: the file is something else, damaged, holds Python objects, no weights, several sets of
            them, or weights that are NaN or infinite; says which.
    """
    content = _unwrapped(file, _content(file))
    if not isinstance(content, Mapping):
        raise ValueError(f"{file}: holds a {type(content).__name__} where weights by name were expected")
    tensors = {str(name): _dense(value) for name, value in content.items() if isinstance(value, Tensor)}
    state = {name: value for name, value in _plain_names(tensors).items() if name not in NOT_WEIGHTS}
    if not state:
        raise ValueError(f"{file}: holds no weights")
    _require_finite(file, state)
    return state


def _content(file: Path) -> Any:
    with file.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
    if what := _no_weights(head):
        raise ValueError(f"{file}: not a readable file of weights: {what}")
    try:
        if _is_safetensors(head):
            return load_file(file)
        if _is_torchscript(file):
            # OpenAI's own archives; loading one restores its tensors, and none of its methods is called.
            return torch.jit.load(file, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
        with torch.serialization.safe_globals(_plain_settings()):
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # torch explains at length how to let code in a file run; nobody should.
        why = "it is damaged, or holds Python objects, which are never loaded"
        raise ValueError(f"{file}: not a readable file of weights: {why}") from error
    except SafetensorError as error:
        raise ValueError(f"{file}: not a readable file of weights: damaged safetensors ({error})") from error
    except Exception as error:  # every reader fails in its own way
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{file}: not a readable file of weights: {text}") from error


def _no_weights(head: bytes) -> str:
    """What a file is that is often found in the place of weights; empty when it may hold some."""
    start = head.lstrip().lower()
    if not head:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; `git lfs pull` fetches the file it stands for"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page; the download asked for a confirmation or a login"
    if head.startswith(b"\x1f\x8b"):
        return "it is compressed by gzip; unpack it first"
    if start.startswith((b"{", b"[")) and not _is_safetensors(head):
        return "it is a JSON text, such as a server's answer"
    return ""


def _is_safetensors(head: bytes) -> bool:
    # Eight bytes of length, then a JSON object.
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _plain_settings() -> list[Any]:
    """Types of values that lie beside weights and run nothing when they are loaded."""
    multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]
    dtypes = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    named = [
        (getattr(multiarray, name), f"{module}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for module in ("numpy.core", "numpy._core")
    ]
    return [argparse.Namespace, np.dtype, np.ndarray, *dtypes, *named]


def _unwrapped(file: Path, content: Any) -> Any:
    """The mapping of names to weights inside a file's content; ValueError where several could be meant."""
    while isinstance(content, Mapping):
        inside = {key: _names_inside(value) for key, value in content.items() if _names_inside(value)}
        known = [key for key in WRAPPINGS if key in inside]
        if not inside or (not known and any(isinstance(value, Tensor) for value in content.values())):
            return content
        chosen = known[0] if known else next(iter(inside))
        rivals = [key for key in inside if key != chosen and (not known or inside[key] == inside[chosen])]
        if rivals:
            named = ", ".join(map(repr, [chosen, *rivals]))
            raise ValueError(
                f"{file}: holds several sets of weights, {named}; which one is meant is not known: save that "
                "one to a file of its own"
            )
        content = content[chosen]
    return content


def _names_inside(value: Any) -> frozenset[str]:
    """Names of the tensors in a mapping by texts, however deep; an optimiser's state goes by numbers."""
    if not isinstance(value, Mapping):
        return frozenset()
    named = {key: inner for key, inner in value.items() if isinstance(key, str)}
    here = {key for key, inner in named.items() if isinstance(inner, Tensor)}
    return frozenset(here).union(*map(_names_inside, named.values()))


def _dense(value: Tensor) -> Tensor:
    """A tensor with every value in its place, whatever layout it was saved in."""
    if value.is_quantized:
        return value.dequantize()
    return value if value.layout == torch.strided else value.to_dense()


def _plain_names(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    while prefix := next(
        (prefix for prefix in PREFIXES if tensors and all(name.startswith(prefix) for name in tensors)), ""
    ):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _require_finite(file: Path, state: Mapping[str, Tensor]) -> None:
    floats = {name: value for name, value in state.items() if value.is_floating_point()}
    # Of numbers in eight bits torch does not say whether they are finite.
    wide = ((name, value.float() if value.element_size() == 1 else value) for name, value in floats.items())
    bad = [name for name, value in wide if not value.isfinite().all()]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ValueError(f"{file}: {bad[0]}{more}: weights that are NaN or infinite; training had diverged")
