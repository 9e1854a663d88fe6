"""Hard mining between images and captions: CMT, the paper's triplet loss, and the rules to compare it with.

Every rule is one function in the table `RULES`. Row i of the images and row i of the captions are a pair;
`cos` is cosine similarity, `d` = 1 − cos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.losses import cosine_matrix, same_person
from methods.settings import Mining, Positive, Reduction

NOT_A_CANDIDATE = 1e4
"""Beyond any cosine, and finite so that gradients stay zero instead of NaN."""


@dataclass(frozen=True)
class MiningOptions:
    """The numbers of a mining rule; a rule reads those that it has."""

    positive: Positive = "weakest"
    margin: float = 0.05
    temperature: float = 0.02
    reduction: Reduction = "mean"
    """Over the anchors of a direction; read by `all_negatives`, which its authors sum."""


MiningRule = Callable[[Tensor, Tensor, Tensor, MiningOptions], Tensor]
"""From image and text features [batch, width] and `same` [batch, batch] bool to a scalar loss."""
AnchorRule = Callable[[Tensor, Tensor, MiningOptions], Tensor]
"""From `cosine` [anchors, items], own pairs on its diagonal, and `same` [anchors, items] to [anchors]."""


def mining_loss(
    image: Tensor, text: Tensor, person_ids: Tensor, mining: Mining, options: MiningOptions | None = None
) -> Tensor:
    """Mean over caption anchors plus mean over image anchors of the rule `mining`.

    An anchor without a negative of another person contributes 0.

    Args:
        image: features [batch, width].
        text: features [batch, width].
        person_ids: [batch] int64.
        mining: name of a rule in `RULES`.
        options: margin, temperature and choice of the positive.

    Raises:
        ValueError: there is no such rule.
    """
    if mining not in RULES:
        raise ValueError(f"unknown mining {mining!r}: choose {', '.join(RULES)}")
    return RULES[mining](image, text, same_person(person_ids), options or MiningOptions())


def _in_both_directions(rule: AnchorRule) -> MiningRule:
    """The rule for captions against images and for images against captions, summed."""

    def loss(image: Tensor, text: Tensor, same: Tensor, options: MiningOptions) -> Tensor:
        cosine = cosine_matrix(text, image)
        return rule(cosine, same, options).mean() + rule(cosine.T, same, options).mean()

    return loss


def _triplet(cosine: Tensor, same: Tensor, options: MiningOptions) -> Tensor:
    """CMT: relu(d(positive) − d(hardest negative) + margin).

    The positive is the least similar item of the same person, or the anchor's own pair.
    """
    positive = cosine.diagonal() if options.positive == "own_pair" else _weakest(cosine, same)
    return _hinge(positive, _hardest(cosine, ~same), options.margin)


def _semi_hard(cosine: Tensor, same: Tensor, options: MiningOptions) -> Tensor:
    """FaceNet: own pair against the hardest negative that is still farther than it."""
    own = cosine.diagonal()
    return _hinge(own, _hardest(cosine, ~same & (cosine < own[:, None])), options.margin)


def _max_hinge(cosine: Tensor, same: Tensor, options: MiningOptions) -> Tensor:
    """VSE++: own pair against the hardest of all other items, of whatever person."""
    others = ~torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
    return _hinge(cosine.diagonal(), _hardest(cosine, others), options.margin)


def _all_negatives(image: Tensor, text: Tensor, same: Tensor, options: MiningOptions) -> Tensor:
    """TAL (RDE, CVPR 2024) of both directions, mean or sum over the pairs."""
    cosine = cosine_matrix(text, image)
    pairs = tal(cosine, same, options) + tal(cosine.T, same, options)
    return pairs.sum() if options.reduction == "sum" else pairs.mean()


def tal(cosine: Tensor, same: Tensor, options: MiningOptions) -> Tensor:
    """TAL [anchors]: all positives, weighted by softmax, against the soft maximum of all negatives.

    relu(margin − Σ α·cos + τ·log Σ exp(cos/τ)), the first sum over items of the same person with
    α = softmax(cos/τ) among them, the second over all others. No gradient passes through α. The released code
    overflows for τ below 0.0113; here the sums are exact for any τ.

    Args:
        cosine: [anchors, items], own pairs on the diagonal.
        same: [anchors, items] bool, whether the person is the same.
        options: margin and temperature; 0.1 and 0.015 are published.
    """
    positive = weighted_positive(cosine, same, options.temperature)
    negatives = _negative_logits(cosine, same, options.temperature).logsumexp(dim=1)
    return _hinge(positive, options.temperature * negatives, options.margin)


def weighted_positive(cosine: Tensor, same: Tensor, temperature: float) -> Tensor:
    """Σ α·cos [anchors] over items of the same person, α = softmax(cos/τ) among them, without a gradient.

    `cosine` [anchors, items]; `same` [anchors, items] bool.
    """
    logits = (cosine / temperature).detach()
    weights = logits.masked_fill(~same, -NOT_A_CANDIDATE / temperature).softmax(dim=1)
    return (weights * cosine).sum(dim=1)


def _all_negatives_own_pair(cosine: Tensor, same: Tensor, options: MiningOptions) -> Tensor:
    """Own pair against the soft maximum τ·log Σ exp(cos/τ) of all negatives."""
    negatives = _negative_logits(cosine, same, options.temperature)
    return _hinge(cosine.diagonal(), options.temperature * negatives.logsumexp(dim=1), options.margin)


def _info_nce(cosine: Tensor, same: Tensor, options: MiningOptions) -> Tensor:
    """Cross-entropy of the own pair among itself and all negatives, at temperature τ; no margin."""
    own = cosine.diagonal() / options.temperature
    negatives = _negative_logits(cosine, same, options.temperature)
    return torch.cat([own[:, None], negatives], dim=1).logsumexp(dim=1) - own


def _batch_hard(image: Tensor, text: Tensor, same: Tensor, options: MiningOptions) -> Tensor:
    """Hermans et al. 2017: weakest positive and hardest negative, candidates from both modalities."""
    both, same = torch.cat([image, text]), same.repeat(2, 2)
    cosine = cosine_matrix(both, both)
    others = ~torch.eye(len(both), dtype=torch.bool, device=both.device)
    return 2 * _hinge(_weakest(cosine, same & others), _hardest(cosine, ~same), options.margin).mean()


RULES: Mapping[str, MiningRule] = MappingProxyType(
    {
        "triplet": _in_both_directions(_triplet),
        "batch_hard": _batch_hard,
        "semi_hard": _in_both_directions(_semi_hard),
        "max_hinge": _in_both_directions(_max_hinge),
        "all_negatives": _all_negatives,
        "all_negatives_own_pair": _in_both_directions(_all_negatives_own_pair),
        "info_nce": _in_both_directions(_info_nce),
    }
)
"""Every mining rule by name."""


def _hinge(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """relu(d(positive) − d(negative) + margin) [anchors] from cosines [anchors]."""
    return F.relu(negative - positive + margin)


def _weakest(cosine: Tensor, candidates: Tensor) -> Tensor:
    """Lowest cosine [anchors] among `candidates` [anchors, items] bool."""
    return cosine.masked_fill(~candidates, NOT_A_CANDIDATE).amin(dim=1)


def _hardest(cosine: Tensor, candidates: Tensor) -> Tensor:
    """Highest cosine [anchors] among `candidates` [anchors, items] bool."""
    return cosine.masked_fill(~candidates, -NOT_A_CANDIDATE).amax(dim=1)


def _negative_logits(cosine: Tensor, same: Tensor, temperature: float) -> Tensor:
    """cos/τ [anchors, items], vanishing in a log-sum-exp where the person is the same."""
    return cosine.masked_fill(same, -NOT_A_CANDIDATE) / temperature
