"""Caption noise: exactly a share of the captions moves to other images, by seed, and nothing else changes."""

import numpy as np
import pytest
import torch
from small_runs import small_data

from harness.data.caption_noise import caption_order
from harness.machine.errors import DataError

IMAGES = np.repeat(np.arange(300), 2)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_exactly_the_share_of_captions_moves_and_each_of_them_to_another_image(share):
    order = caption_order(IMAGES, share, seed=3)
    moved = order != np.arange(len(order))
    assert moved.sum() == round(share * len(order))
    assert (IMAGES[order[moved]] != IMAGES[moved]).all()
    assert sorted(order) == list(range(len(order)))


def test_the_same_seed_moves_the_same_captions_and_another_seed_others():
    first, again, other = (caption_order(IMAGES, 0.5, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_noise_is_evenly_spread():
    counts = np.zeros(len(IMAGES))
    for seed in range(200):
        counts += caption_order(IMAGES, 0.3, seed) != np.arange(len(IMAGES))
    assert counts.mean() == pytest.approx(60)
    assert counts.std() == pytest.approx((200 * 0.3 * 0.7) ** 0.5, rel=0.15)


@pytest.mark.parametrize("images", [[0, 0, 0, 0], [0, 0, 0, 1]])
def test_captions_that_cannot_all_move_to_other_images_are_refused(images):
    with pytest.raises(DataError, match="cannot all move to another image"):
        caption_order(np.array(images), 1.0, seed=0)


def test_a_moved_caption_keeps_its_words_and_image_and_person_stay():
    data = small_data(4)
    order = np.roll(np.arange(len(data.split.captions)), 3)
    moved = data.with_captions(order)
    indices = np.arange(len(order))
    before, after = data.batch(indices), moved.batch(indices)
    assert torch.equal(after.images, before.images)
    assert torch.equal(after.person_ids, before.person_ids)
    rows = torch.from_numpy(order)
    for name in ("captions", "pruned", "content"):
        assert torch.equal(getattr(after, name), getattr(before, name)[rows])
    assert moved.split.captions == tuple(data.split.captions[index] for index in order)
    assert torch.equal(data.batch(indices).captions, before.captions)


def test_a_moved_caption_takes_its_own_nouns_and_adjectives_along():
    data = small_data(4)
    order = np.roll(np.arange(len(data.split.captions)), 3)
    after = data.with_captions(order).batch(np.arange(len(order)))
    assert torch.equal(after.content, data._content[torch.from_numpy(order)])


def test_a_moved_caption_takes_the_numbers_of_its_own_words_along():
    data = small_data(4)
    order = np.roll(np.arange(len(data.split.captions)), 3)
    assert torch.equal(data.with_captions(order)._words, data._words[torch.from_numpy(order)])


def test_the_captions_of_these_tests_differ_in_every_column_that_could_stand_beside_another_row():
    data = small_data(8)
    for column in (data._plain, data._pruned, data._content, data._words):
        assert len(torch.unique(column, dim=0)) == len(data.split.captions) == 32
