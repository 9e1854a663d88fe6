"""What a step is given: this process's share of a batch and of all randomness, drawn by named seeds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import torch
from lightning_fabric import Fabric
from torch import Tensor

from harness.data.augment import draw_augmentation, to_device
from harness.data.augment_sets import draw_strong, draw_two_of_six
from harness.data.loader import DeviceData, ImageDraws, Indices, StepDraws
from harness.machine import devices
from harness.machine.seeds import seed_for
from harness.study.schema import TrainSettings
from methods.base import Batch, Method, Noise, View


class StepInputs:
    """The inputs of any step, a pure function of (seed, epoch, step) and the batch's captions.

    Attributes:
        pair_values: by name [captions, …], what the method's hook gave every training pair for this epoch.
        data_seconds: of the host, spent on batches since it was set to 0 last. Beside a GPU it is no wait for
            data alone: where the queue of launched kernels is full, the host waits for the device here, too.
    """

    def __init__(
        self, method: Method, pairs: DeviceData, settings: TrainSettings, seed: int, fabric: Fabric
    ) -> None:
        self.method, self.pairs, self.settings, self.fabric = method, pairs, settings, fabric
        self.pair_values: dict[str, Tensor] = {}
        self.data_seconds = 0.0
        self.seed = seed
        self._generator = torch.Generator(fabric.device)

    def share(self, indices: Indices) -> slice:
        """This process's part of a global batch `indices` [pairs]."""
        return devices.share_of(len(indices), self.fabric)

    def generator(self, purpose: str, epoch: int, step: int) -> torch.Generator:
        """The generator on the device, seeded anew for a draw."""
        return self._generator.manual_seed(seed_for(self.seed, purpose, epoch, step))

    def draw(
        self, indices: Indices, epoch: int, step: int, *, steps: int = 1, before: str = ""
    ) -> tuple[Batch, Noise]:
        """This process's share of a global batch `indices` [pairs], and of all randomness of the step.

        Args:
            indices: captions of the global batch.
            epoch: from 0.
            step: within the epoch, from 0.
            steps: of the epoch.
            before: stands before the purpose of each seed where the step is not one of training.
        """
        start = time.perf_counter()
        share = self.share(indices)
        draws = draw_pairs(
            self.settings,
            len(indices),
            self.pairs.tokens,
            self.method.views,
            self.generator(f"{before}augmentation", epoch, step),
            self.fabric.device,
        )
        batch = self.pairs.batch(indices[share], draws.rows(share))
        done = epoch + (0.0 if before else step / max(steps, 1))
        batch = replace(batch, epochs_done=torch.full((), done, device=self.fabric.device))
        self.data_seconds += time.perf_counter() - start
        generator = self.generator(f"{before}noise", epoch, step)
        noise = self.method.draw_noise(len(indices), generator, self.fabric.device)
        if self.pair_values:
            rows = torch.from_numpy(indices).to(self.fabric.device)
            noise = {**noise, **{name: values[rows] for name, values in self.pair_values.items()}}
        # Only a plugin draws from the global generators; seeded here, it too continues as if never killed.
        devices.seed_everything(self.seed, f"{before}global", epoch, step, self.fabric.global_rank)
        return batch, _rows(noise, share)


def draw_pairs(
    settings: TrainSettings,
    size: int,
    tokens: int,
    views: Mapping[str, View],
    generator: torch.Generator,
    device: torch.device | str,
) -> StepDraws:
    """All draws that augment `size` pairs of a step: images, further views of them, captions.

    `tokens` of a caption; `views` that the method asks for, by name.
    """
    images = _draw_images(settings, "same", size, generator, device)
    more = {name: _draw_images(settings, view, size, generator, device) for name, view in views.items()}
    words = None
    if settings.word_deletion:
        words = torch.rand(size, tokens, generator=generator, device=generator.device)
        words = to_device(words, device)
    return StepDraws(images, more, words, settings.word_deletion)


def _draw_images(
    settings: TrainSettings,
    view: View,
    size: int,
    generator: torch.Generator,
    device: torch.device | str,
) -> ImageDraws:
    if view == "strong":
        return ImageDraws("strong", draw_strong(size, generator, device))
    if settings.image_augmentation == "two_of_six":
        return ImageDraws("two_of_six", draw_two_of_six(size, generator, device))
    drawn = draw_augmentation(
        size,
        settings.image_size,
        generator,
        device,
        flip=settings.flip_probability,
        pad=settings.crop_padding,
        erase=settings.erase_probability,
    )
    return ImageDraws("flip_crop_erase", drawn)


def _rows(tensors: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {name: tensor[rows] for name, tensor in tensors.items()}
