"""What every method is: a batch goes in, named losses come out, and features for retrieval.

The training loop uses nothing but this interface. A method never draws random numbers in `forward`:
whatever a step needs is drawn beforehand by `draw_noise` and passed in, so a step is a pure function of
(weights, batch, noise).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

Noise = dict[str, Tensor]
View = Literal["same", "strong"]

HEADS = ("cross", "classifier", "mlm_head")
"""Parts of parameter names that mark new heads in the released recipe; they learn at five times the rate."""
HEADS_WITH_BIASES = ("classifier", "mlm_head")
"""Those among `HEADS` whose biases keep the head's rate instead of the bias rate."""


@dataclass
class Batch:
    """Image–caption pairs of one step, already on the device of the model.

    `images` [batch, 3, height, width] float, augmented and CLIP-normalised; `captions` [batch, tokens]
    int64; `pruned` [batch, tokens] int64, the captions with only their PRP/NN/JJ words; `content` [batch,
    tokens] bool, true where a token of `captions` belongs to a noun or adjective; `person_ids` [batch]
    int64, contiguous training labels.
    """

    images: Tensor
    captions: Tensor
    pruned: Tensor
    content: Tensor
    person_ids: Tensor
    epochs_done: Tensor | None = None
    """Epochs of training before this step, a fraction: scalar; None outside a run."""
    views: Mapping[str, Tensor] = field(default_factory=dict)
    """Further views of the images that the method asked for by `Method.views`, [batch, 3, height, width]."""


def keep_local(tensor: Tensor) -> Tensor:
    """Return `tensor` [batch, ...] as it is: the gather of a single process, whose batch is whole."""
    return tensor


class Method(nn.Module):
    """Base of everything that can be trained and evaluated.

    Attributes:
        trains: whether there is anything to train.
        rate_groups: by name, parts of parameter names of weights that a recipe may give a learning rate of
            their own (`group_lr`).
        views: by name, further views of its images that each training step needs: `same` (augmented as the
            images, drawn anew) or `strong` (for contrast between images).
        embed_dim: width of the features.
        examines_pairs: whether `examine` sees every training pair before an epoch.
        gather: concatenates a tensor over all processes along dimension 0, in rank order and with gradients.
            Every process then computes the whole global loss, so averaging gradients over processes is exact.
    """

    trains: ClassVar[bool] = True
    rate_groups: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    examines_pairs: bool = False
    views: Mapping[str, View] = MappingProxyType({})
    embed_dim: int
    gather: Callable[[Tensor], Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.gather = keep_local

    def draw_noise(self, size: int, generator: torch.Generator, device: torch.device | str) -> Noise:
        """All randomness of one step for `size` pairs, each tensor [size, …]."""
        return {}

    def forward(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Named scalar losses of `batch`, weights applied; their sum is minimised."""
        raise NotImplementedError

    def examine(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """What the hook wants to know of each pair of a batch, by name [global batch, …].

        Where `examines_pairs`, it is called before an epoch with every training pair once, in evaluation mode
        and without gradients, on batches drawn and augmented like those of a step.
        """
        raise NotImplementedError

    def before_epoch(self, epoch: int, examined: Mapping[str, Tensor], generator: torch.Generator) -> Noise:
        """Values for the steps of an epoch, by name [training pairs, …].

        Every step finds those of its pairs in its noise.

        A method that gives some draws the same names in `draw_noise`, with neutral values, so that a step is
        complete without the hook.

        Args:
            epoch: the epoch that is about to begin, from 0.
            examined: what `examine` said of all training pairs, by name [training pairs, …], on the CPU;
                empty unless `examines_pairs`.
            generator: on the CPU, seeded for this epoch; the only source of randomness.
        """
        return {}

    def encode_image(self, images: Tensor) -> Tensor:
        """Features [batch, embed_dim] of `images` [batch, 3, height, width], not normalised."""
        raise NotImplementedError

    def encode_text(self, captions: Tensor) -> Tensor:
        """Features [batch, embed_dim] of token ids [batch, tokens], not normalised."""
        raise NotImplementedError

    def parameter_groups(
        self, lr: float, weight_decay: float, bias_factor: float = 2.0, head_factor: float = 5.0
    ) -> list[dict[str, Any]]:
        """Optimiser groups of the released recipe, by parameter name.

        Names holding one of `HEADS` learn at `head_factor` × `lr`; biases at `bias_factor` × `lr` and
        without weight decay, those of the classifier and the MLM head at `head_factor`.  Each group carries
        `name`, `params`, `lr` (the initial rate) and `weight_decay`.
        """
        groups: dict[tuple[float, bool], dict[str, Any]] = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            factor, is_bias = learning_rate_factor(name, bias_factor, head_factor), "bias" in name
            label = f"{'biases' if is_bias else 'weights'} x{factor:g}"
            decay = 0.0 if is_bias else weight_decay
            new = {"name": label, "params": [], "lr": lr * factor, "weight_decay": decay}
            groups.setdefault((factor, is_bias), new)["params"].append(parameter)
        return list(groups.values())


def learning_rate_factor(name: str, bias_factor: float = 2.0, head_factor: float = 5.0) -> float:
    """Factor on the base learning rate for the parameter called `name`, as released."""
    if any(part in name for part in HEADS_WITH_BIASES):
        return head_factor
    if "bias" in name:
        return bias_factor
    return head_factor if any(part in name for part in HEADS) else 1.0
