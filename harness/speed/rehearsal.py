"""A training step rehearsed on fake CUDA tensors: no GPU is needed, and nothing is computed or allocated.

Fake tensors have a shape, a dtype and a device, and no numbers. A step on them fails where tensors of two
devices meet and where the host would wait for the device, and says how much memory its tensors take. Not
rehearsed: the engine of the backward pass (its nodes are), and what kernels need inside themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.data.captions import CaptionTokens
from harness.data.dataset import Split
from harness.data.loader import DeviceData
from harness.launch.context import config_of
from harness.machine.memory import peak_bytes
from harness.machine.terms import Precision
from harness.registry import MethodEntry
from harness.speed.fake_backward import RecordedHooks, backward
from harness.study.schema import TrainSettings
from harness.train.optimiser import make_optimiser
from harness.train.step_inputs import draw_pairs
from methods.base import Batch, Method, Noise
from methods.clip import Backbone
from methods.cost import TRAINING_PERSONS

DEVICE = torch.device("cuda", 0)


class NotForDeviceError(RuntimeError):
    """A step that on a GPU would fail, or make the host wait for the device."""


@dataclass(frozen=True)
class RehearsedStep:
    """A step of fake tensors.

    Attributes:
        losses: by name, each a scalar without a value.
        held: bytes of weights, buffers and Adam's two moments.
        gradients: bytes of the weights' gradients.
        forward: most bytes alive in the forward pass with its data, what the backward pass needs among them.
    """

    losses: Mapping[str, Tensor]
    held: int
    gradients: int
    forward: int

    @property
    def peak(self) -> int:
        """Estimated peak of a training step, in bytes.

        When the forward pass ends no gradient is there yet; when the backward pass ends all are, and what
        it needed is gone. In between the sum is taken to be no more than the larger of both.
        """
        return self.held + max(self.forward, self.gradients)


class Rehearsal:
    """A method on fake CUDA tensors, with the data path, augmentation and noise of training.

    Args:
        entry: the method.
        train: backbone, image size, batch size and precision; the weights are none.
        overrides: settings of the method, as a study writes them.
        resident: whether the images lie on the device.
    """

    def __init__(
        self,
        entry: MethodEntry,
        train: TrainSettings,
        overrides: Mapping[str, Any] | None = None,
        *,
        persons: int = TRAINING_PERSONS,
        resident: bool = True,
    ) -> None:
        self.train, self._resident = train, resident
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self._mode, torch.device(DEVICE):
            self.method: Method = entry.load()(
                entry.resolve(dict(overrides or {})),
                backbone=Backbone(config_of(train), train.image_size),
                identities=persons,
                image_size=train.image_size,
            )
            if train.precision == "released":
                _to_half(self.method)

    def step(self) -> RehearsedStep:
        """The step's data and forward pass.

        Raises:
            NotForDeviceError: the host would wait, or tensors of two devices meet.
        """
        losses: dict[str, Tensor] = {}

        def run() -> None:
            batch, noise = self._inputs()
            with _forced_autocast(self.train.precision), _never_waiting(), _FusedAttention():
                losses.update(self.method(batch, noise))

        with self._rehearsing():
            forward = peak_bytes(run, torch.device("meta"))
        trained = [weight for weight in self.method.parameters() if weight.requires_grad]
        gradients = sum(weight.nbytes for weight in trained)
        tensors = [*self.method.parameters(), *self.method.buffers()]
        held = sum(tensor.nbytes for tensor in tensors) + 2 * gradients
        return RehearsedStep(losses, held, gradients, forward)

    def update(self) -> int:
        """A whole step: data, forward pass, backward pass and optimiser; how many weights were updated.

        Raises:
            NotForDeviceError: the host would wait, or tensors of two devices meet.
        """
        optimiser = make_optimiser(self.method, self.train)
        hooks = RecordedHooks()
        with self._rehearsing():
            batch, noise = self._inputs()
            with _never_waiting():
                with _forced_autocast(self.train.precision), _FusedAttention(), hooks:
                    losses = self.method(batch, noise)
                backward(torch.stack(list(losses.values())).sum(), hooks)
                optimiser.step()
        return len(optimiser.state)

    def capture(self) -> int:
        """Capture the forward pass as `torch.compile` does; how many operations its one graph has.

        Raises:
            NotForDeviceError: it is not one graph.
        """
        graphs: list[torch.fx.GraphModule] = []

        def keep(graph: torch.fx.GraphModule, example: object) -> Any:
            graphs.append(graph)
            return graph.forward

        model = torch.compile(self.method, backend=keep, fullgraph=True, dynamic=False)
        with self._rehearsing():
            batch, noise = self._inputs()
            with _forced_autocast(self.train.precision):
                model(batch, noise)
        if len(graphs) != 1:
            raise NotForDeviceError(f"the step is not one graph: {len(graphs)} were captured")
        return len(graphs[0].graph.nodes)

    def held_dtypes(self) -> set[torch.dtype]:
        """The dtypes of the weights."""
        return {weight.dtype for weight in self.method.parameters()}

    def features(self) -> tuple[Tensor, Tensor]:
        """Features of a batch of images and of captions, as evaluation computes them: each [batch, width]."""
        pairs = self.train.batch_size
        with self._rehearsing(), torch.no_grad():
            with _WithoutDriver():
                data = self._data(resident=True)
                images, captions = next(data.image_chunks(pairs)), next(data.caption_chunks(pairs))
            with _forced_autocast(self.train.precision), _never_waiting():
                return self.method.encode_image(images), self.method.encode_text(captions)

    @contextmanager
    def _rehearsing(self) -> Iterator[None]:
        try:
            with self._mode:
                yield
        except NotForDeviceError:
            raise
        except TorchDynamoException as error:
            raise NotForDeviceError(f"the step is not one graph: {error}") from error
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise NotForDeviceError(f"the host waits for what {error.func} finds") from error
        except RuntimeError as error:
            if "device" in str(error):
                raise NotForDeviceError(str(error)) from error
            raise

    def _inputs(self) -> tuple[Batch, Noise]:
        with _WithoutDriver(), _never_waiting(uploads=True):
            return self._drawn()

    def _drawn(self) -> tuple[Batch, Noise]:
        train, generator = self.train, DeviceGenerator()
        indices = np.arange(train.batch_size)
        data = self._data(self._resident)
        draws = draw_pairs(train, len(indices), data.tokens, self.method.views, generator, DEVICE)
        batch = data.batch(indices, draws)
        return batch, self.method.draw_noise(len(indices), generator, DEVICE)

    def _data(self, resident: bool) -> DeviceData:
        """A split of one image and caption for each pair of a batch."""
        pairs, config = self.train.batch_size, config_of(self.train)
        split = Split(
            name="train",
            image_paths=(Path("nowhere.png"),) * pairs,
            persons=tuple(map(str, range(pairs))),
            image_person=np.arange(pairs),
            captions=("a caption",) * pairs,
            caption_image=np.arange(pairs),
        )
        pixels = torch.empty(pairs, 3, *self.train.image_size, dtype=torch.uint8)
        words = torch.empty(pairs, config.context_length, dtype=torch.int32)
        tokens = CaptionTokens(words, words, words.bool())
        return DeviceData(split, pixels, tokens, DEVICE, resident=resident)


def _to_half(module: nn.Module) -> None:
    """Weights and buffers in float16; `Module.to` cannot replace fake ones."""
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            part.register_parameter(name, nn.Parameter(weight.half(), weight.requires_grad))
        for name, buffer in list(part.named_buffers(recurse=False)):
            if buffer.is_floating_point():
                setattr(part, name, buffer.half())


@contextmanager
def _forced_autocast(precision: Precision) -> Iterator[None]:
    """bf16 autocast on CUDA for `bf16`: `torch.autocast` switches itself off where there is no GPU."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", precision == "bf16")
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])
        torch.clear_autocast_cache()


class DeviceGenerator(torch.Generator):
    """A generator that says it is on the device; what is drawn from it has no value anyway."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # read-only there, too
        """The device."""
        return DEVICE


class _WithoutDriver(TorchFunctionMode):
    """Does what torch does only with a GPU's driver: draws on the device, and pinned memory."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = dict(keywords or {})
        if function is Tensor.pin_memory:
            return arguments[0]
        if isinstance(keywords.get("generator"), DeviceGenerator):
            keywords.pop("generator")
        return function(*arguments, **keywords)


class _FusedAttention(TorchFunctionMode):
    """Attention by the fused kernel of a GPU; without one torch would write all scores into memory."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if function is not nn.functional.scaled_dot_product_attention:
            return function(*arguments, **(keywords or {}))
        query, key, value, mask = (*arguments, None)[:4]
        bias = None
        if mask is not None:
            bias = mask.to(query.dtype).expand(*query.shape[:3], key.shape[2])
        fused = torch.ops.aten._scaled_dot_product_efficient_attention
        return fused(query, key.to(query.dtype), value.to(query.dtype), bias, True)[0]


class _NeverWaiting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises `NotForDeviceError` where an operation makes the host wait, or reads tensors of two devices.

    With `uploads`, copies to the device are allowed, as of a batch's images.
    """

    def __init__(self, uploads: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._uploads = uploads

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        result = operation(*arguments, **(keywords or {}))
        devices = _devices((arguments, keywords))
        if self._uploads and "cuda" in _devices(result):
            return result
        if len(devices) > 1:
            raise NotForDeviceError(f"{operation}: tensors of {' and '.join(sorted(devices))} meet")
        if devices and (made := _devices(result)) and made != devices:
            raise NotForDeviceError(f"{operation}: the host waits for a copy, {devices} to {made}")
        return result


def _never_waiting(*, uploads: bool = False) -> AbstractContextManager[Any]:
    mode: AbstractContextManager[Any] = _NeverWaiting(uploads)
    return mode


def _devices(values: Any) -> set[str]:
    """Kinds of device of all tensors but numbers: those go along with a kernel's arguments."""
    return {leaf.device.type for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.dim()}


def memory_gb(entry: MethodEntry, train: TrainSettings, overrides: Mapping[str, Any] | None = None) -> float:
    """Estimated peak memory of a training step on a GPU, in GB; the images of the dataset not counted.

    Raises:
        NotForDeviceError: the step cannot run on a GPU as it is.
    """
    return Rehearsal(entry, train, overrides).step().peak / 1e9
