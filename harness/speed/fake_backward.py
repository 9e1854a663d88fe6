"""The backward pass of fake tensors, one node of the graph after the other.

Autograd's own engine asks CUDA for its streams and so needs a GPU. Here the same nodes are called in the same
order, each once with the sum of its gradients, and so are the hooks of tensors.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode

Hook = Callable[[Tensor], Tensor | None]


class RecordedHooks(TorchFunctionMode):
    """Keeps the hooks that are put on tensors inside `with`, for `backward`: the graph does not show them."""

    def __init__(self) -> None:
        super().__init__()
        self._hooks: dict[tuple[Any, int], list[Hook]] = defaultdict(list)

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if function is Tensor.register_hook and arguments[0].grad_fn is not None:
            tensor, hook = arguments
            self._hooks[tensor.grad_fn, tensor.output_nr].append(hook)
        return function(*arguments, **(keywords or {}))

    def called(self, node: Any, position: int, gradient: Tensor) -> Tensor:
        """A gradient `[...]` after the hooks of the tensor that it belongs to, whose shape it has."""
        for hook in self._hooks.get((node, position), ()):
            changed = hook(gradient)
            gradient = gradient if changed is None else changed
        return gradient


def backward(total: Tensor, hooks: RecordedHooks) -> None:
    """Leave the gradient of a scalar in the `grad` of every weight it depends on."""
    root = total.grad_fn
    if root is None:
        return
    gradients: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    gradients[root][total.output_nr] = torch.ones_like(total)
    with torch.no_grad():
        for node in _in_order(root):
            _pass_on(node, gradients.pop(node, {}), gradients, hooks)


def _in_order(root: Any) -> Iterator[Any]:
    """Every node below the root, each after all those that give it a gradient."""
    waits = Counter[Any]()
    seen, found = {root}, [root]
    while found:
        for below in _below(found.pop()):
            waits[below] += 1
            if below not in seen:
                seen.add(below)
                found.append(below)
    ready = [root]
    while ready:
        node = ready.pop()
        yield node
        for below in _below(node):
            waits[below] -= 1
            if not waits[below]:
                ready.append(below)


def _below(node: Any) -> list[Any]:
    return [below for below, _ in node.next_functions if below is not None]


def _pass_on(
    node: Any, given: dict[int, Tensor], gradients: dict[Any, dict[int, Tensor]], hooks: RecordedHooks
) -> None:
    """Call a node with its gradients, and add what it returns to those of the nodes below it."""
    if not given:
        return
    described = _described(node)
    inputs = [hooks.called(node, at, given[at]) if at in given else None for at in range(len(described))]
    if hasattr(node, "variable"):
        _accumulate(node.variable, inputs[0])
        return
    call = node.apply if isinstance(node, BackwardCFunction) else node
    results = call(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    for (below, at), result in zip(node.next_functions, results, strict=False):
        if below is not None and result is not None:
            gradient, before = _fitting(result, _described(below)[at]), gradients[below].get(at)
            gradients[below][at] = gradient if before is None else before + gradient


def _described(node: Any) -> Sequence[Any]:
    """What has the shape and dtype of every gradient that a node is given."""
    return [node.variable] if hasattr(node, "variable") else node._input_metadata


def _fitting(gradient: Tensor, described: Any) -> Tensor:
    """A gradient with the shape and dtype of the tensor that it belongs to."""
    if gradient.shape != described.shape:
        gradient = gradient.sum_to_size(described.shape)
    return gradient.to(described.dtype)


def _accumulate(weight: Tensor, gradient: Any) -> None:
    for hook in (weight._backward_hooks or {}).values():
        changed = hook(gradient)
        gradient = gradient if changed is None else changed
    weight.grad = gradient if weight.grad is None else weight.grad + gradient
