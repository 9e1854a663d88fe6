from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.sampler import IdentityBatches

# A person index per caption, in any order; persons may have a single caption or many.
people = st.lists(st.integers(0, 12), min_size=1, max_size=80).map(np.array)


@settings(deadline=None)
@given(people, st.integers(1, 20), st.integers(0, 3))
def test_batches_of_pairs_hold_every_caption_exactly_once_an_epoch(
    person: np.ndarray, size: int, epoch: int
) -> None:
    sampler = IdentityBatches(person, size, seed=7)
    batches = sampler.epoch(epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(person)))
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= size
    assert len(batches) == sampler.steps(epoch)


@settings(deadline=None)
@given(people, st.integers(1, 10), st.integers(0, 3))
def test_batches_of_pairs_of_even_size_never_tear_a_pair_apart(
    person: np.ndarray, half: int, epoch: int
) -> None:
    batches = IdentityBatches(person, 2 * half, seed=7).epoch(epoch)
    torn = Counter()
    for batch in batches:
        for who, count in Counter(person[batch].tolist()).items():
            torn[who] += count % 2
    assert all(torn[who] == count % 2 for who, count in Counter(person.tolist()).items())


@pytest.mark.parametrize("rule", ["pairs", "shuffle", "released"])
def test_batches_are_a_function_of_seed_and_epoch_alone(rule: str) -> None:
    person = np.repeat(np.arange(50), 4)

    def drawn(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in IdentityBatches(person, 16, seed, rule).epoch(epoch)]

    one = IdentityBatches(person, 16, 3, rule)
    one.epoch(0), one.epoch(1)
    assert [batch.tolist() for batch in one.epoch(5)] == drawn(3, 5)
    assert drawn(3, 5) != drawn(3, 6)
    assert drawn(3, 5) != drawn(4, 5)


def test_pairs_and_order_differ_between_epochs() -> None:
    person = np.repeat(np.arange(10), 6)
    sampler = IdentityBatches(person, 2, seed=0)
    partners = {frozenset(batch.tolist()) for epoch in range(30) for batch in sampler.epoch(epoch)}
    assert len(partners) == 10 * 15  # every two captions of a person met


def test_in_batches_of_pairs_nearly_every_caption_meets_another_of_its_person() -> None:
    person = np.repeat(np.arange(200), 6)
    batches = IdentityBatches(person, 64, seed=0).epoch(0)
    alone = sum(list(Counter(person[batch].tolist()).values()).count(1) for batch in batches)
    assert alone == 0


def test_released_batches_repeat_no_caption_of_who_has_two() -> None:
    person = np.repeat(np.arange(40), 5)
    for epoch in range(5):
        batches = IdentityBatches(person, 16, seed=1, rule="released").epoch(epoch)
        stream = np.concatenate(batches)
        assert len(set(stream.tolist())) == len(stream) <= len(person)
        assert all(len(batch) == 16 for batch in batches[:-1])
        left = Counter(person.tolist()) - Counter(person[stream].tolist())
        # It stopped because fewer persons than a round had a group left; a fifth caption has no partner.
        assert sum(count > 1 for count in left.values()) < 8


def test_released_epochs_vary_in_length() -> None:
    person = np.repeat(np.arange(40), 1 + np.arange(40) % 9)
    sampler = IdentityBatches(person, 16, seed=1, rule="released")
    lengths = {sum(map(len, sampler.epoch(epoch))) for epoch in range(20)}
    assert len(lengths) > 3
    assert max(lengths) < len(person) + 5  # four or five persons with one caption may give it twice
    assert all(sampler.steps(epoch) == len(sampler.epoch(epoch)) for epoch in range(3))


def test_released_batches_of_too_few_persons_are_none_at_all() -> None:
    person = np.repeat(np.arange(63), 10)
    assert IdentityBatches(person, 128, seed=0, rule="released").epoch(0) == []
    assert len(IdentityBatches(np.repeat(np.arange(64), 10), 128, seed=0, rule="released").epoch(0)) > 0
    assert sum(map(len, IdentityBatches(person, 128, seed=0).epoch(0))) == 630


def test_every_person_is_equally_likely_to_open_a_released_epoch() -> None:
    person = np.repeat(np.arange(8), 2)
    first = Counter(
        int(person[IdentityBatches(person, 4, seed, "released").epoch(0)[0][0]]) for seed in range(800)
    )
    assert min(first.values()) > 60
    assert max(first.values()) < 145


@pytest.mark.parametrize(("size", "rule"), [(0, "pairs"), (-3, "shuffle"), (4, "random")])
def test_wrong_sizes_and_rules_are_refused(size: int, rule: str) -> None:
    with pytest.raises(ValueError, match=r"at least 1 caption|unknown sampling rule"):
        IdentityBatches(np.zeros(4, dtype=np.int64), size, 0, rule)


def test_a_shuffle_holds_every_caption_once_and_pays_no_regard_to_persons() -> None:
    person = np.repeat(np.arange(300), 2)
    sampler = IdentityBatches(person, 32, seed=3, rule="shuffle")
    batches = sampler.epoch(0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(600))
    assert sampler.steps(0) == len(batches) == 19
    paired = sum(
        count for batch in batches for count in Counter(person[batch].tolist()).values() if count > 1
    )
    assert paired / 600 < 0.15  # a caption's partner is one of 599, and 31 share its batch


@pytest.mark.parametrize("rule", ["pairs", "shuffle"])
def test_a_pass_over_every_pair_has_other_batches_than_the_epoch(rule: str) -> None:
    batches = IdentityBatches(np.repeat(np.arange(20), 4), 8, 3, rule)
    examined, trained = (np.concatenate(drawn) for drawn in (batches.every_pair(1), batches.epoch(1)))
    assert sorted(examined) == sorted(trained)
    assert examined.tolist() != trained.tolist()
