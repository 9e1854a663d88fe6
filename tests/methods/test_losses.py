"""Every loss against its definition, written out in plain Python."""

from __future__ import annotations

import math

import torch
from by_hand import DTYPES, PERSONS, agree, cosine, dot, features, softmax

from methods import losses

TEMPERATURE = 0.07


def divergence(rows: list[list[float]], labels: list[list[float]]) -> float:
    total = 0.0
    for row, label in zip(rows, labels, strict=True):
        total += sum(
            p * (math.log(p) - math.log(q + 1e-8)) for p, q in zip(softmax(row), label, strict=True) if p > 0
        )
    return total / len(rows)


def same_rows() -> list[list[float]]:
    return [[float(a == b) for b in PERSONS] for a in PERSONS]


@DTYPES
def test_sdm_is_the_divergence_from_the_distribution_of_same_persons(dtype: torch.dtype) -> None:
    image, text = features(dtype)
    labels = [[x / sum(row) for x in row] for row in same_rows()]
    expected = 0.0
    for rows, columns in ((image.tolist(), text.tolist()), (text.tolist(), image.tolist())):
        expected += divergence([[cosine(a, b) / TEMPERATURE for b in columns] for a in rows], labels)
    agree(losses.sdm(image, text, torch.tensor(PERSONS), TEMPERATURE), expected)


@DTYPES
def test_cmpm_projects_features_onto_the_other_modality(dtype: torch.dtype) -> None:
    image, text = features(dtype)
    labels = [[x / math.sqrt(sum(row)) for x in row] for row in same_rows()]
    expected = 0.0
    for rows, columns in ((image.tolist(), text.tolist()), (text.tolist(), image.tolist())):
        expected += divergence([[dot(a, b) / math.sqrt(dot(b, b)) for b in columns] for a in rows], labels)
    agree(losses.cmpm(image, text, torch.tensor(PERSONS)), expected)


@DTYPES
def test_itc_is_the_mean_of_both_cross_entropies_of_the_pairs(dtype: torch.dtype) -> None:
    image, text = features(dtype)
    expected = 0.0
    for rows, columns in ((image.tolist(), text.tolist()), (text.tolist(), image.tolist())):
        for number, row in enumerate(rows):
            expected -= math.log(softmax([cosine(row, b) / TEMPERATURE for b in columns])[number])
    agree(losses.itc(image, text, TEMPERATURE), expected / (2 * len(PERSONS)))


@DTYPES
def test_identity_is_the_mean_cross_entropy_of_both_modalities(dtype: torch.dtype) -> None:
    image_logits, text_logits = features(dtype)
    expected = 0.0
    for rows in (image_logits.tolist(), text_logits.tolist()):
        expected -= sum(math.log(softmax(row)[person]) for row, person in zip(rows, PERSONS, strict=True))
    ours = losses.identity(image_logits, text_logits, torch.tensor(PERSONS))
    agree(ours, expected / (2 * len(PERSONS)))
