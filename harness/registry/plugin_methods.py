"""A plugin's method as it is built: what its losses are is checked where they leave its code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.registry.errors import OWN_PACKAGES, PluginError

WANTED = "must return a dict of named scalar losses"


def checked(name: str, build: Callable[..., Any]) -> Callable[..., Any]:
    """`build`, whose modules refuse losses that cannot be trained on, with a sentence that names `name`."""

    @functools.wraps(build)
    def built(*arguments: Any, **keywords: Any) -> Any:
        method = build(*arguments, **keywords)
        if isinstance(method, nn.Module):
            method.register_forward_hook(functools.partial(_check_losses, name))
        return method

    return built


def _check_losses(name: str, method: nn.Module, inputs: tuple[Any, ...], losses: Any) -> None:
    """Raises `PluginError` for losses that are no dict of scalars, or that nothing learns from."""
    mistake = _mistake(losses)
    if not mistake and _learns(method):
        mistake = _without_gradient(losses)
    if mistake:
        function, place = _source(method)
        raise PluginError(f"method {name!r}: {function}() {mistake}", place=place)


def _mistake(losses: Any) -> str:
    if not isinstance(losses, dict):
        return f"{WANTED}, got {_kind(losses)}"
    if not losses:
        return f"{WANTED}, got an empty one"
    for key, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            return f"{WANTED}, got {_kind(loss)} for {key!r}"
    devices = {str(loss.device): repr(key) for key, loss in losses.items()}
    # Where nothing is computed (meta), a constant may lie on the CPU: training on a CPU permits it.
    if len(devices) > 1 and "meta" not in devices:
        listed = ", ".join(f"{key} on {device}" for device, key in devices.items())
        return f"{WANTED} on one device, got {listed}"
    return ""


def _without_gradient(losses: dict[Any, Tensor]) -> str:
    """What is wrong with losses of which all, or one that adds to their sum, have no gradient; else empty.

    A constant zero is the loss of a batch in which there is nothing to compare. Values of the meta device are
    not known: a single such loss is found in the first step of training.
    """
    constant = {key: loss for key, loss in losses.items() if not loss.requires_grad}
    if len(constant) == len(losses):
        return f"{WANTED}, got {_listed(losses)} without a gradient: nothing would be learnt"
    added = {key: loss for key, loss in constant.items() if not loss.is_meta and bool(loss != 0)}
    gone = f"nothing would be learnt from {'it' if len(added) == 1 else 'them'}"
    return f"{WANTED}, got {_listed(added)} without a gradient: {gone}; leave it out" if added else ""


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        shape = "x".join(map(str, value.shape))
        return f"a tensor of shape [{shape}]" if shape else "a scalar tensor"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _listed(losses: dict[Any, Any]) -> str:
    return ", ".join(repr(key) for key in losses)


def _learns(method: nn.Module) -> bool:
    """Whether the call was a training step's: gradients are computed, and there are weights to train."""
    return torch.is_grad_enabled() and any(weight.requires_grad for weight in method.parameters())


def _source(method: nn.Module) -> tuple[str, tuple[Path, int] | None]:
    """Which function of the user's gave the losses, and where it begins."""
    for function in ("losses", "forward"):
        defined = getattr(type(method), function, None)
        code = getattr(defined, "__code__", None)
        if code is not None and str(defined.__module__).partition(".")[0] not in OWN_PACKAGES:
            return function, (Path(code.co_filename), code.co_firstlineno)
    return "forward", None
