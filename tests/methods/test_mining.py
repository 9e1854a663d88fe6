"""Every mining rule against its definition, written out in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from by_hand import DTYPES, PERSONS, agree, cosine, features, softmax
from torch import Tensor

from methods.mining import RULES, MiningOptions, mining_loss
from methods.settings import Mining, Positive

TEMPERATURE, MARGIN = 0.07, 0.2

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


def tal(i: int, cosines: list[float]) -> float:
    positives = [c for c, person in zip(cosines, PERSONS, strict=True) if person == PERSONS[i]]
    weights = softmax([c / TEMPERATURE for c in positives])
    soft = TEMPERATURE * math.log(sum(math.exp(c / TEMPERATURE) for c in others(i, cosines)))
    return max(0.0, MARGIN - sum(w * c for w, c in zip(weights, positives, strict=True)) + soft)


def all_negatives(i: int, cosines: list[float]) -> float:
    soft = TEMPERATURE * math.log(sum(math.exp(c / TEMPERATURE) for c in others(i, cosines)))
    return max(0.0, soft - cosines[i] + MARGIN)


def info_nce(i: int, cosines: list[float]) -> float:
    return -math.log(softmax([c / TEMPERATURE for c in [cosines[i], *others(i, cosines)]])[0])


ANCHOR_LOSSES: dict[tuple[Mining, Positive], Anchor] = {
    ("triplet", "own_pair"): lambda i, c: hinge(own(i, c), others(i, c)),
    ("triplet", "weakest"): lambda i, c: hinge(weakest(i, c), others(i, c)),
    ("semi_hard", "weakest"): semi_hard,
    ("max_hinge", "weakest"): max_hinge,
    ("all_negatives", "weakest"): tal,
    ("all_negatives_own_pair", "weakest"): all_negatives,
    ("info_nce", "weakest"): info_nce,
}


@DTYPES
@pytest.mark.parametrize(("mining", "positive"), ANCHOR_LOSSES)
def test_mining_follows_its_definition(mining: Mining, positive: Positive, dtype: torch.dtype) -> None:
    image, text = features(dtype)
    options = MiningOptions(positive, MARGIN, TEMPERATURE)
    ours = mining_loss(image, text, torch.tensor(PERSONS), mining, options)
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
    ours = mining_loss(image, text, torch.tensor(PERSONS), "batch_hard", MiningOptions(margin=MARGIN))
    agree(ours, 2 * total / len(items))


WEAKEST, OWN_PAIR = MiningOptions("weakest"), MiningOptions("own_pair")


def test_the_weakest_positive_makes_the_triplet_harder_than_the_own_pair() -> None:
    image, text = features(torch.float64)
    persons = torch.tensor(PERSONS)
    own_pair = mining_loss(image, text, persons, "triplet", OWN_PAIR)
    assert mining_loss(image, text, persons, "triplet", WEAKEST) > own_pair
    alone = torch.arange(len(PERSONS))
    assert mining_loss(image, text, alone, "triplet", WEAKEST) == mining_loss(
        image, text, alone, "triplet", OWN_PAIR
    )


@pytest.mark.parametrize("mining", ["triplet", "batch_hard", "semi_hard", "all_negatives", "info_nce"])
def test_a_batch_of_one_person_has_no_negative_and_costs_nothing(mining: Mining) -> None:
    image, text = (side.requires_grad_() for side in features(torch.float32, 3))
    loss = mining_loss(image, text, torch.zeros(3, dtype=torch.int64), mining)
    loss.backward()
    assert loss.item() == 0.0
    assert image.grad is not None
    assert image.grad.abs().max() == 0.0


def test_unknown_mining_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown mining"):
        mining_loss(*features(torch.float32), torch.tensor(PERSONS), "softest")  # type: ignore[arg-type]


def test_every_rule_of_the_table_has_its_definition_here() -> None:
    assert {rule for rule, _ in ANCHOR_LOSSES} | {"batch_hard"} == set(RULES)
