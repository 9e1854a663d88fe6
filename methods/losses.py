"""Losses between image and caption features of a batch, each a pure function of features and person ids.

Features are [batch, width] in any floating type; row i of the images and row i of the captions are a pair.
All return scalars, without weights.  `cos` below is cosine similarity, `d` = 1 − cos.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LABEL_FLOOR = 1e-8
"""Keeps log(0) finite for pairs of different persons, as released."""


def cosine_matrix(rows: Tensor, columns: Tensor) -> Tensor:
    """Cosine similarities [rows, columns] of two sets of features."""
    return F.normalize(rows, dim=-1) @ F.normalize(columns, dim=-1).T


def same_person(person_ids: Tensor) -> Tensor:
    """Whether two items of the batch show the same person, [batch, batch] bool."""
    return person_ids[:, None] == person_ids[None, :]


def same_person_distribution(same: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """`same` [rows, columns] bool as shares that sum to 1 in each row."""
    shares = same.to(dtype)
    return shares / shares.sum(dim=1, keepdim=True)


def sdm(image: Tensor, text: Tensor, person_ids: Tensor, temperature: float) -> Tensor:
    """Similarity distribution matching (IRRA, eq. 5–7).

    KL(softmax(cos/τ) ‖ same-person distribution), both ways, from features [batch, width]
    and `person_ids` [batch].
    """
    cosine, same = cosine_matrix(image, text), same_person(person_ids)
    return sdm_of_rows(cosine, same, temperature).mean() + sdm_of_rows(cosine.T, same, temperature).mean()


def sdm_of_rows(cosine: Tensor, same: Tensor, temperature: float) -> Tensor:
    """SDM of each anchor in one direction, [anchors].

    `cosine` [anchors, items]; `same` [anchors, items] bool, whether the person is the same.
    """
    labels = torch.log(same_person_distribution(same, cosine.dtype) + LABEL_FLOOR)
    return divergences(cosine / temperature, labels)


def cmpm(image: Tensor, text: Tensor, person_ids: Tensor) -> Tensor:
    """Cross-modal projection matching (Zhang & Lu 2018), both ways.

    Features [batch, width] are projected onto the other side's directions. As released, the labels of a row
    are divided by their Euclidean norm, not by their sum.
    """
    same = same_person(person_ids).to(image.dtype)
    labels = torch.log(same / same.norm(dim=1, keepdim=True) + LABEL_FLOOR)
    image_to_text = image @ F.normalize(text, dim=-1).T
    text_to_image = text @ F.normalize(image, dim=-1).T
    return divergences(image_to_text, labels).mean() + divergences(text_to_image, labels).mean()


def divergences(logits: Tensor, log_labels: Tensor) -> Tensor:
    """KL(softmax(logits) ‖ labels) of each row of [rows, columns]."""
    log_predicted = F.log_softmax(logits, dim=1)
    return (log_predicted.exp() * (log_predicted - log_labels)).sum(dim=1)


def itc(image: Tensor, text: Tensor, temperature: float) -> Tensor:
    """InfoNCE of features [batch, width], as CLIP was trained: mean of both directions.

    Every other pair of the batch is a negative.
    """
    logits = cosine_matrix(image, text) / temperature
    pair = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, pair) + F.cross_entropy(logits.T, pair)) / 2


def identity(image_logits: Tensor, text_logits: Tensor, person_ids: Tensor) -> Tensor:
    """Person classification: mean of both sides' cross-entropies of logits [batch, identities]."""
    return (F.cross_entropy(image_logits, person_ids) + F.cross_entropy(text_logits, person_ids)) / 2
