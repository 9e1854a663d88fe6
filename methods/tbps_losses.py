"""The losses of TBPS-CLIP, each a pure function of features and person ids.

Features are [batch, width] float32; row i of the images and row i of the captions are a pair. All return
scalars, without weights. `q` below is the same-person indicator divided by its row sum.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.losses import cosine_matrix, divergences, same_person, same_person_distribution


def learned_scale(parameter: Tensor, cap: float) -> Tensor:
    """exp(`parameter`), at most `cap`, a scalar; its gradient is that of the exponential, capped or not.

    As released: the cap acts on the value that is used, and the parameter keeps being trained.
    """
    scale = parameter.float().exp()
    return scale + (scale.detach().clamp(max=cap) - scale.detach())


def nitc(
    pair: tuple[Tensor, Tensor],
    soft_pair: tuple[Tensor, Tensor],
    person_ids: Tensor,
    scale: Tensor,
    share: Tensor | float,
) -> Tensor:
    """N-ITC: cross-entropy of softmax(s·S) against (1 − a)·q + a·softmax(s·S′), mean of both directions.

    Args:
        pair: image and text features [batch, width].
        soft_pair: those of a second pass, of which S′ is made; no gradient flows through it.
        person_ids: [batch].
        scale: s, a scalar.
        share: a, of the soft labels.
    """
    logits = scale * cosine_matrix(*pair)
    with torch.no_grad():
        soft = scale * cosine_matrix(*soft_pair)
        labels = same_person_distribution(same_person(person_ids))
        rows = (1 - share) * labels + share * soft.softmax(dim=1)
        columns = (1 - share) * labels + share * soft.T.softmax(dim=1)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, columns)) / 2


def ritc(pair: tuple[Tensor, Tensor], person_ids: Tensor, scale: Tensor, floor: float) -> Tensor:
    """R-ITC: KL(softmax(s·S) ‖ q + `floor`), mean of both directions; `pair` [batch, width] each.

    As released, the target is not divided by its sum, so that the loss can be negative.
    """
    logits = scale * cosine_matrix(*pair)
    target = torch.log(same_person_distribution(same_person(person_ids)) + floor)
    return (divergences(logits, target).mean() + divergences(logits.T, target).mean()) / 2


def citc(image: Tensor, text: Tensor) -> Tensor:
    """C-ITC: a quarter of the mean squared difference of II and TT, and a quarter of that of IT and TI.

    II … are the cosines [batch, batch] within images, within captions, and between them.
    """
    within = cosine_matrix(image, image) - cosine_matrix(text, text)
    between = cosine_matrix(image, text)
    return 0.25 * within.square().mean() + 0.25 * (between - between.T).square().mean()


def simclr(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """SS-I: each of two views [batch, width] finds the other among all 2·batch − 1 vectors (SimCLR)."""
    vectors = torch.cat([first, second])
    logits = cosine_matrix(vectors, vectors) / temperature
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    logits = logits.masked_fill(itself, float("-inf"))
    partner = torch.arange(len(vectors), device=vectors.device).roll(len(first))
    return F.cross_entropy(logits, partner)
