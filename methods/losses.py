"""Losses between image and caption features of a batch, each a pure function of features and person ids.

Features are [batch, width] in any floating type; row i of the images and row i of the captions are a pair.
All return scalars, without weights.  `cos` below is cosine similarity, `d` = 1 − cos.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Mining = Literal["triplet", "batch_hard", "semi_hard", "max_hinge", "all_negatives", "info_nce"]
Positive = Literal["weakest", "own_pair"]

LABEL_FLOOR = 1e-8  # keeps log(0) finite for pairs of different persons, as released
NOT_A_CANDIDATE = 1e4  # beyond any cosine, and finite so that gradients stay zero instead of NaN


def cosine_matrix(rows: Tensor, columns: Tensor) -> Tensor:
    """Cosine similarities [rows, columns] of two sets of features."""
    return F.normalize(rows, dim=-1) @ F.normalize(columns, dim=-1).T


def same_person(person_ids: Tensor) -> Tensor:
    """Whether two items of the batch show the same person, [batch, batch] bool."""
    return person_ids[:, None] == person_ids[None, :]


def sdm(image: Tensor, text: Tensor, person_ids: Tensor, temperature: float) -> Tensor:
    """Similarity distribution matching (IRRA, eq. 5–7): KL(softmax(cos/τ) ‖ same-person distribution), both
    ways."""
    logits = cosine_matrix(image, text) / temperature
    same = same_person(person_ids).to(logits.dtype)
    labels = torch.log(same / same.sum(dim=1, keepdim=True) + LABEL_FLOOR)
    return _divergence(logits, labels) + _divergence(logits.T, labels)


def cmpm(image: Tensor, text: Tensor, person_ids: Tensor) -> Tensor:
    """Cross-modal projection matching (Zhang & Lu 2018), both ways: features projected onto the other's
    directions.

    As released, the labels of a row are divided by their Euclidean norm, not by their sum.
    """
    same = same_person(person_ids).to(image.dtype)
    labels = torch.log(same / same.norm(dim=1, keepdim=True) + LABEL_FLOOR)
    image_to_text = image @ F.normalize(text, dim=-1).T
    text_to_image = text @ F.normalize(image, dim=-1).T
    return _divergence(image_to_text, labels) + _divergence(text_to_image, labels)


def _divergence(logits: Tensor, log_labels: Tensor) -> Tensor:
    """KL(softmax(logits) ‖ labels), mean over rows."""
    log_predicted = F.log_softmax(logits, dim=1)
    return (log_predicted.exp() * (log_predicted - log_labels)).sum(dim=1).mean()


def itc(image: Tensor, text: Tensor, temperature: float) -> Tensor:
    """InfoNCE as CLIP was trained: every other pair of the batch is a negative; mean of both directions."""
    logits = cosine_matrix(image, text) / temperature
    pair = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, pair) + F.cross_entropy(logits.T, pair)) / 2


def identity(image_logits: Tensor, text_logits: Tensor, person_ids: Tensor) -> Tensor:
    """Person classification from both sides: mean of the two cross-entropies of logits [batch,
    identities]."""
    return (F.cross_entropy(image_logits, person_ids) + F.cross_entropy(text_logits, person_ids)) / 2


def hard_mining(
    image: Tensor,
    text: Tensor,
    person_ids: Tensor,
    *,
    mining: Mining = "triplet",
    positive: Positive = "weakest",
    margin: float = 0.05,
    temperature: float = 0.02,
) -> Tensor:
    """CMT and its rivals: mean over caption anchors plus mean over image anchors.

    An anchor without a negative of another person contributes 0.  `mining` is one of

    * `triplet` (CMT): relu(d(positive) − d(hardest negative) + margin), the positive being the least similar
      item of the same person or the anchor's own pair;
    * `batch_hard` (Hermans et al. 2017): the same with the weakest positive, candidates from both modalities;
    * `semi_hard` (FaceNet): own pair against the hardest negative that is still farther than it;
    * `max_hinge` (VSE++): own pair against the hardest of all other items, of whatever person;
    * `all_negatives` (TAL, RDE 2024): own pair against the soft maximum τ·log Σ exp(cos/τ) of all negatives;
    * `info_nce`: cross-entropy of the own pair among itself and all negatives, at temperature τ (no margin).
    """
    same = same_person(person_ids)
    if mining == "batch_hard":
        both = torch.cat([image, text])
        cosine, same = cosine_matrix(both, both), same.repeat(2, 2)
        other = ~torch.eye(len(both), dtype=torch.bool, device=both.device)
        return 2 * _hinge(_weakest(cosine, same & other), _hardest(cosine, ~same), margin).mean()
    cosine = cosine_matrix(text, image)
    anchors = (_anchor_losses(c, same, mining, positive, margin, temperature) for c in (cosine, cosine.T))
    text_anchors, image_anchors = anchors
    return text_anchors.mean() + image_anchors.mean()


def _anchor_losses(
    cosine: Tensor, same: Tensor, mining: Mining, positive: Positive, margin: float, temperature: float
) -> Tensor:
    """Loss of every row of `cosine` [anchors, items]; the own pair is on the diagonal."""
    own = cosine.diagonal()
    if mining == "triplet":
        chosen = own if positive == "own_pair" else _weakest(cosine, same)
        return _hinge(chosen, _hardest(cosine, ~same), margin)
    if mining == "semi_hard":
        return _hinge(own, _hardest(cosine, ~same & (cosine < own[:, None])), margin)
    if mining == "max_hinge":
        return _hinge(
            own, _hardest(cosine, ~torch.eye(len(cosine), dtype=torch.bool, device=own.device)), margin
        )
    negatives = cosine.masked_fill(same, -NOT_A_CANDIDATE) / temperature
    if mining == "all_negatives":
        return _hinge(own, temperature * negatives.logsumexp(dim=1), margin)
    if mining == "info_nce":
        everything = torch.cat([own[:, None] / temperature, negatives], dim=1)
        return everything.logsumexp(dim=1) - own / temperature
    raise ValueError(f"unknown mining {mining!r}")


def _hinge(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """relu(d(positive) − d(negative) + margin) from cosines."""
    return F.relu(negative - positive + margin)


def _weakest(cosine: Tensor, candidates: Tensor) -> Tensor:
    return cosine.masked_fill(~candidates, NOT_A_CANDIDATE).amin(dim=1)


def _hardest(cosine: Tensor, candidates: Tensor) -> Tensor:
    return cosine.masked_fill(~candidates, -NOT_A_CANDIDATE).amax(dim=1)
