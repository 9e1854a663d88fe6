"""Losses of every pair of a batch, before any sum: what RDE weighs by how far it trusts a pair.

RDE (Qin et al., CVPR 2024) trains on pairs of which some captions may belong to other images. Each pair i
has a loss L_i, the anchor's loss with all items of the other side, summed over both directions, and a
weight l_i in {0, 1}. With S the cosines, P the items of the anchor's person and N all others:

* `tal` (published): relu(m - sum over P of a_j S_j + t log sum over N of exp(S_j / t)), a the softmax of S
  / t over P, through which no gradient passes. It is `methods.mining.tal`.
* `trl`: the same with the maximum over N in place of the soft one.
* `sdm`: KL(softmax(S / t) || same-person distribution), as IRRA.
* `info_nce`: the own pair's cross-entropy among all items at 1 / t, the two directions averaged.

What surprises in the released code:

* TAL and TRL are *summed* over the pairs, SDM and InfoNCE averaged over the trusted ones. The size of the
  gradient matters, since Adam's epsilon is 1e-3 there.
* TRL sets items of the anchor's person to 0 before it takes the maximum, so that its hardest negative is
  never below 0 (`floor`).
* With no trusted pair in a batch SDM and InfoNCE are NaN; here they are 0.
* TAL overflows for t below 0.0113, and a batch of one person gives NaN gradients; here both are finite.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.losses import cosine_matrix, same_person, sdm_of_rows
from methods.mining import NOT_A_CANDIDATE, MiningOptions, tal, weighted_positive
from methods.rival_settings import PairLoss

SUMMED: tuple[PairLoss, ...] = ("tal", "trl")
"""Losses whose sum over the trusted pairs is minimised; of the others it is the mean."""


def losses_of_pairs(
    image: Tensor,
    text: Tensor,
    person_ids: Tensor,
    kind: PairLoss,
    *,
    margin: float = 0.1,
    temperature: float = 0.015,
    floor: bool = True,
) -> Tensor:
    """The loss of every pair, both directions, [batch].

    Args:
        image: features [batch, width].
        text: features [batch, width]; row by row the images' captions.
        person_ids: [batch] int64.
        kind: which loss.
        margin: of TAL and TRL.
        temperature: divides cosines; 0.015 is published for TAL and TRL, 0.02 for SDM and InfoNCE.
        floor: TRL's hardest negative is at least 0, as released.
    """
    cosine, same = cosine_matrix(text, image), same_person(person_ids)
    if kind == "sdm":
        return sdm_of_rows(cosine, same, temperature) + sdm_of_rows(cosine.T, same, temperature)
    if kind == "info_nce":
        own = torch.arange(len(cosine), device=cosine.device)
        logits = cosine / temperature
        both = [F.cross_entropy(rows, own, reduction="none") for rows in (logits, logits.T)]
        return (both[0] + both[1]) / 2
    options = MiningOptions(margin=margin, temperature=temperature)
    if kind == "tal":
        return tal(cosine, same, options) + tal(cosine.T, same, options)
    return trl(cosine, same, options, floor) + trl(cosine.T, same, options, floor)


def trl(cosine: Tensor, same: Tensor, options: MiningOptions, floor: bool = True) -> Tensor:
    """TRL [anchors]: the weighted positives of TAL against the one hardest negative.

    Args:
        cosine: [anchors, items], own pairs on the diagonal.
        same: [anchors, items] bool, whether the person is the same.
        options: margin and temperature.
        floor: count the anchor's own person as negatives of cosine 0, as released.
    """
    positive = weighted_positive(cosine, same, options.temperature)
    hardest = cosine.masked_fill(same, 0.0 if floor else -NOT_A_CANDIDATE).amax(dim=1)
    return F.relu(options.margin - positive + hardest)


def trusted_total(per_pair: Tensor, trust: Tensor, kind: PairLoss) -> Tensor:
    """The loss of a batch, a scalar: the sum or mean of `per_pair` [batch] by weight `trust` [batch]."""
    total = (per_pair * trust).sum()
    return total if kind in SUMMED else total / trust.sum().clamp(min=1)
