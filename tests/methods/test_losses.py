"""Every loss against its definition, written out in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from methods import losses

TEMPERATURE, MARGIN = 0.07, 0.2
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
PERSONS = [0, 0, 1, 2, 2, 2, 3]


def features(dtype: torch.dtype, count: int = len(PERSONS)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    image, text = torch.randn(2, count, 5, generator=generator, dtype=torch.float64).to(dtype)
    return image, text


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    total = sum(math.exp(x - top) for x in row)
    return [math.exp(x - top) / total for x in row]


def divergence(rows: list[list[float]], labels: list[list[float]]) -> float:
    total = 0.0
    for row, label in zip(rows, labels, strict=True):
        total += sum(
            p * (math.log(p) - math.log(q + 1e-8)) for p, q in zip(softmax(row), label, strict=True) if p > 0
        )
    return total / len(rows)


def same_rows() -> list[list[float]]:
    return [[float(a == b) for b in PERSONS] for a in PERSONS]


def agree(ours: Tensor, theirs: float) -> None:
    assert ours.shape == ()
    assert ours.item() == pytest.approx(theirs, rel=1e-4 if ours.dtype == torch.float32 else 1e-9)


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


Anchor = Callable[[int, list[float]], float]  # number of the anchor and its cosines to all items


def both_ways(image: Tensor, text: Tensor, anchor_loss: Anchor) -> float:
    total = 0.0
    for anchors, items in ((text.tolist(), image.tolist()), (image.tolist(), text.tolist())):
        rows = [anchor_loss(i, [cosine(a, b) for b in items]) for i, a in enumerate(anchors)]
        total += sum(rows) / len(rows)
    return total


def hinge(positive: float, negatives: list[float]) -> float:
    """relu(d(positive) − d(hardest negative) + margin), 0 without a negative."""
    return max(0.0, (1 - positive) - (1 - max(negatives)) + MARGIN) if negatives else 0.0


def others(i: int, cosines: list[float]) -> list[float]:
    return [c for c, person in zip(cosines, PERSONS, strict=True) if person != PERSONS[i]]


def own(i: int, cosines: list[float]) -> float:
    return cosines[i]


def weakest(i: int, cosines: list[float]) -> float:
    return min(c for c, person in zip(cosines, PERSONS, strict=True) if person == PERSONS[i])


def semi_hard(i: int, cosines: list[float]) -> float:
    return hinge(cosines[i], [c for c in others(i, cosines) if c < cosines[i]])


def max_hinge(i: int, cosines: list[float]) -> float:
    return hinge(cosines[i], [c for j, c in enumerate(cosines) if j != i])


def all_negatives(i: int, cosines: list[float]) -> float:
    soft = TEMPERATURE * math.log(sum(math.exp(c / TEMPERATURE) for c in others(i, cosines)))
    return max(0.0, soft - cosines[i] + MARGIN)


def info_nce(i: int, cosines: list[float]) -> float:
    return -math.log(softmax([c / TEMPERATURE for c in [cosines[i], *others(i, cosines)]])[0])


ANCHOR_LOSSES: dict[tuple[losses.Mining, losses.Positive], Anchor] = {
    ("triplet", "own_pair"): lambda i, c: hinge(own(i, c), others(i, c)),
    ("triplet", "weakest"): lambda i, c: hinge(weakest(i, c), others(i, c)),
    ("semi_hard", "weakest"): semi_hard,
    ("max_hinge", "weakest"): max_hinge,
    ("all_negatives", "weakest"): all_negatives,
    ("info_nce", "weakest"): info_nce,
}


@DTYPES
@pytest.mark.parametrize(("mining", "positive"), ANCHOR_LOSSES)
def test_mining_follows_its_definition(
    mining: losses.Mining, positive: losses.Positive, dtype: torch.dtype
) -> None:
    image, text = features(dtype)
    ours = losses.hard_mining(
        image,
        text,
        torch.tensor(PERSONS),
        mining=mining,
        positive=positive,
        margin=MARGIN,
        temperature=TEMPERATURE,
    )
    agree(ours, both_ways(image, text, ANCHOR_LOSSES[mining, positive]))


@DTYPES
def test_batch_hard_finds_both_in_either_modality(dtype: torch.dtype) -> None:
    image, text = features(dtype)
    items, persons = [*image.tolist(), *text.tolist()], PERSONS * 2
    total = 0.0
    for i, anchor in enumerate(items):
        rest = [(cosine(anchor, b), persons[j]) for j, b in enumerate(items) if j != i]
        positives = [c for c, person in rest if person == persons[i]]
        total += hinge(min(positives), [c for c, person in rest if person != persons[i]])
    ours = losses.hard_mining(image, text, torch.tensor(PERSONS), mining="batch_hard", margin=MARGIN)
    agree(ours, 2 * total / len(items))


def test_the_weakest_positive_makes_the_triplet_harder_than_the_own_pair() -> None:
    image, text = features(torch.float64)
    persons = torch.tensor(PERSONS)
    own_pair = losses.hard_mining(image, text, persons, positive="own_pair")
    assert losses.hard_mining(image, text, persons, positive="weakest") > own_pair
    alone = torch.arange(len(PERSONS))
    assert losses.hard_mining(image, text, alone, positive="weakest") == losses.hard_mining(
        image, text, alone, positive="own_pair"
    )


@pytest.mark.parametrize("mining", ["triplet", "batch_hard", "semi_hard", "all_negatives", "info_nce"])
def test_a_batch_of_one_person_has_no_negative_and_costs_nothing(mining: losses.Mining) -> None:
    image, text = (side.requires_grad_() for side in features(torch.float32, 3))
    loss = losses.hard_mining(image, text, torch.zeros(3, dtype=torch.int64), mining=mining)
    loss.backward()
    assert loss.item() == 0.0
    assert image.grad is not None
    assert image.grad.abs().max() == 0.0


def test_unknown_mining_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown mining"):
        losses.hard_mining(*features(torch.float32), torch.tensor(PERSONS), mining="softest")  # type: ignore[arg-type]
