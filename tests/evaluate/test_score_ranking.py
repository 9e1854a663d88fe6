"""Results of other code are ranked by NumPy alone, digit for digit as our own are by torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.evaluate.metrics import query_records, ranks, summarise
from harness.evaluate.score_ranking import RankedQueries, cosine_steps, rank_features, rank_similarity

COLUMNS = ("rank", "ap", "inp", "positives", "top", "top_score")


def drawn(seed: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    queries, gallery, width = rng.integers(1, 300), rng.integers(1, 400), rng.integers(1, 40)
    sides = [rng.normal(size=(size, width)).astype(np.float32) for size in (queries, gallery)]
    text, image = map(np.round, sides) if ties else sides
    return text, image, rng.integers(0, 30, queries), rng.integers(0, 30, gallery)


def by_brute_force(similarity: np.ndarray, query: np.ndarray, gallery: np.ndarray) -> RankedQueries:
    """Every query by a sorted Python list."""
    rows = []
    for scores, person in zip(similarity.tolist(), query, strict=True):
        order = sorted(range(len(gallery)), key=lambda item: (-scores[item], item))
        places = [place for place, item in enumerate(order, 1) if gallery[item] == person]
        ap = float(np.mean([k / place for k, place in enumerate(places, 1)])) if places else np.nan
        last = len(places) / places[-1] if places else np.nan
        rows.append((places[0] if places else 0, ap, last, len(places), order[:10]))
    rank, ap, inp, positives, top = (list(column) for column in zip(*rows, strict=True))
    score = np.take_along_axis(similarity, np.array(top), axis=1).astype(np.float32)
    arrays = (np.array(column) for column in (rank, ap, inp, positives, top))
    return RankedQueries(query, *arrays, score, len(gallery))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_features_rank_without_torch_as_they_do_with_it(seed: int, ties: bool) -> None:
    text, image, query, gallery = drawn(seed, ties=ties)
    ours = rank_features(text, image, query, gallery)
    tensors = [torch.from_numpy(array) for array in (text, image, query, gallery)]
    theirs = query_records(ranks(*tensors), tensors[2])
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name).numpy(), err_msg=name)
    assert ours.summary() == pytest.approx(summarise(theirs), nan_ok=True)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("seed", range(3))
def test_similarities_of_any_scale_rank_as_a_sorted_list_does(seed: int, kind: type) -> None:
    rng = np.random.default_rng(seed)
    similarity = (rng.normal(size=(60, 45)) * 4).round(0 if seed else 3).astype(kind)
    query, gallery = rng.integers(0, 12, 60), rng.integers(0, 12, 45)
    ours, expected = rank_similarity(similarity, query, gallery), by_brute_force(similarity, query, gallery)
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(ours, name), getattr(expected, name), rtol=1e-12, err_msg=name)


def test_the_other_direction_is_that_of_the_transposed_matrix() -> None:
    rng = np.random.default_rng(5)
    similarity, query, gallery = rng.normal(size=(300, 40)), rng.integers(0, 9, 300), rng.integers(0, 9, 40)
    ours = rank_similarity(similarity, gallery, query, transposed=True)
    expected = rank_similarity(np.ascontiguousarray(similarity.T), gallery, query)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name), err_msg=name)


def test_similarities_made_of_the_cosines_give_the_records_of_the_features() -> None:
    text, image, query, gallery = drawn(3, ties=True)
    features = rank_features(text, image, query, gallery)
    matrix = rank_similarity(cosine_steps(text, image) / 2.0**24, query, gallery)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(features, name), getattr(matrix, name), err_msg=name)
