"""Retrieval metrics against a brute-force oracle in plain Python, and against the released code's numbers."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from harness.evaluate.metrics import (
    NonFiniteFeatures,
    QueryRecords,
    query_records,
    ranks,
    summarise,
)

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[1] / "golden" / "sen_small"))
MEANS = ("R1", "R5", "R10", "mAP", "mINP")


def oracle(query, gallery, query_person, gallery_person):
    """Ranks, AP and INP of every query by sorting (−cosine, index) in Python; None for a query without
    positives."""

    def cosine(a, b):
        length = math.hypot(*a) * math.hypot(*b)
        return sum(x * y for x, y in zip(a, b, strict=True)) / length if length else 0.0

    rows = []
    for feature, person in zip(query, query_person, strict=True):
        cosines = [cosine(feature, other) for other in gallery]
        order = sorted(range(len(gallery)), key=lambda index: (-cosines[index], index))
        places = [place for place, index in enumerate(order, 1) if gallery_person[index] == person]
        if not places:
            rows.append((order[:10], None))
            continue
        ap = sum(k / place for k, place in enumerate(places, 1)) / len(places)
        rows.append((order[:10], (places, ap, len(places) / places[-1])))
    return rows


def score(query, gallery, query_person, gallery_person, **options) -> QueryRecords:
    person = torch.tensor(query_person, dtype=torch.int64)
    ranking = ranks(
        torch.as_tensor(query, dtype=torch.float32),
        torch.as_tensor(gallery, dtype=torch.float32),
        person,
        torch.tensor(gallery_person, dtype=torch.int64),
        **options,
    )
    return query_records(ranking, person)


# Multiples of one-hot vectors and of (±1, ±1, ±1, ±1), and zero: their cosines are quarters, exact in binary,
# so ties and duplicates are common and real.
one_hot = st.builds(
    lambda place, length: [length * (place == k) for k in range(4)], st.integers(0, 3), st.integers(-3, 3)
)
corner = st.builds(
    lambda signs, length: [length * sign for sign in signs],
    st.lists(st.sampled_from([-1, 1]), min_size=4, max_size=4),
    st.integers(1, 3),
)
small_vectors = one_hot | corner


@st.composite
def retrieval_cases(draw):
    queries = draw(st.lists(small_vectors, min_size=1, max_size=8))
    gallery = draw(st.lists(small_vectors, min_size=1, max_size=40))
    people = draw(st.integers(1, 6))
    person = st.integers(0, people)
    query_person = draw(st.lists(person, min_size=len(queries), max_size=len(queries)))
    gallery_person = draw(st.lists(person, min_size=len(gallery), max_size=len(gallery)))
    return queries, gallery, query_person, gallery_person


@given(retrieval_cases(), st.tuples(st.integers(1, 9), st.integers(1, 17)))
@settings(max_examples=150, deadline=None)
def test_ranks_ap_inp_and_top_agree_with_sorting_in_plain_python_whatever_the_chunk(case, chunk):
    records = score(*case, chunk=chunk)
    expected = oracle(*case)
    for query, (top, positives) in enumerate(expected):
        assert records.top[query].tolist() == top
        assert bool(records.valid[query]) == (positives is not None)
        if positives is None:
            assert records.rank[query] == 0
            assert records.ap[query].isnan()
            continue
        places, ap, inp = positives
        assert records.rank[query] == places[0]
        assert records.positives[query] == len(places)
        assert float(records.ap[query]) == pytest.approx(ap, rel=1e-12)
        assert float(records.inp[query]) == pytest.approx(inp, rel=1e-12)


@given(retrieval_cases())
@settings(max_examples=50, deadline=None)
def test_summary_is_the_mean_over_queries_that_have_a_positive_and_counts_the_others(case):
    summary = summarise(score(*case))
    valid = [positives for _, positives in oracle(*case) if positives is not None]
    assert summary["queries"] == len(valid)
    assert summary["excluded"] == len(case[0]) - len(valid)
    assert summary["gallery"] == len(case[1])
    if not valid:
        assert all(math.isnan(summary[name]) for name in MEANS)
        return
    for k in (1, 5, 10):
        hits = sum(places[0] <= k for places, _, _ in valid)
        assert summary[f"R{k}"] == pytest.approx(100 * hits / len(valid))
    assert summary["mAP"] == pytest.approx(100 * sum(ap for _, ap, _ in valid) / len(valid))
    assert summary["mINP"] == pytest.approx(100 * sum(inp for _, _, inp in valid) / len(valid))


def random_case(queries, gallery, width, people, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(queries, width, generator=generator),
        torch.randn(gallery, width, generator=generator),
        torch.randint(people, (queries,), generator=generator).tolist(),
        torch.randint(people, (gallery,), generator=generator).tolist(),
    )


@pytest.mark.parametrize("people", [2, 9, 400])
def test_chunk_size_changes_no_bit_of_anything_for_wide_real_valued_features(people):
    case = random_case(73, 301, 96, people)
    whole = score(*case, chunk=(1000, 1000))
    for chunk in ((1, 301), (7, 10), (73, 1), (64, 300)):
        pieces = score(*case, chunk=chunk)
        for name in ("rank", "positives", "top", "top_score"):
            assert torch.equal(getattr(whole, name), getattr(pieces, name)), name
        for name in ("ap", "inp"):
            assert torch.equal(getattr(whole, name).nan_to_num(-1), getattr(pieces, name).nan_to_num(-1)), (
                name
            )


def test_many_and_few_positives_are_counted_the_same_way():
    query, gallery, _, _ = random_case(5, 200, 16, 1)
    gallery_person = [0] * 150 + [1] * 45 + [2] * 5
    records = score(query, gallery, [0, 1, 2, 0, 2], gallery_person)
    cosines = (
        torch.nn.functional.normalize(query.double(), dim=1)
        @ torch.nn.functional.normalize(gallery.double(), dim=1).T
    )
    for row, person in enumerate([0, 1, 2, 0, 2]):
        order = cosines[row].argsort(descending=True).tolist()
        places = [place for place, index in enumerate(order, 1) if gallery_person[index] == person]
        assert records.rank[row] == places[0]
        assert float(records.inp[row]) == pytest.approx(len(places) / places[-1])
        assert float(records.ap[row]) == pytest.approx(
            sum(k / place for k, place in enumerate(places, 1)) / len(places)
        )


def test_duplicated_gallery_features_rank_in_gallery_order_and_scores_are_equal():
    query, gallery, _, _ = random_case(4, 25, 64, 3)
    doubled = torch.cat([gallery, gallery, gallery])
    person = [0] * 25 + [1] * 25 + [2] * 25
    records = [score(query, doubled, [copy] * 4, person) for copy in range(3)]
    assert [record.rank.tolist() for record in records] == [[1] * 4, [2] * 4, [3] * 4]
    assert records[0].top_score[:, 0].equal(records[0].top_score[:, 2])


def test_scores_are_cosines_and_lengths_of_features_do_not_matter():
    query, gallery, query_person, gallery_person = random_case(6, 30, 32, 4)
    records = score(query, gallery, query_person, gallery_person)
    scaled = score(query * 1e-20, gallery * 1e15, query_person, gallery_person)
    expected = torch.nn.functional.cosine_similarity(query[:, None], gallery[records.top], dim=2)
    assert torch.allclose(records.top_score, expected, atol=2e-7)
    assert torch.equal(records.top, scaled.top)
    assert torch.equal(records.rank, scaled.rank)


def test_a_gallery_of_one_item_is_ranked_first_or_the_query_is_excluded():
    records = score([[1.0, 0.0], [-1.0, 0.0]], [[0.5, 0.5]], [7, 8], [7])
    assert records.rank.tolist() == [1, 0]
    assert summarise(records) == {
        "R1": 100.0,
        "R5": 100.0,
        "R10": 100.0,
        "mAP": 100.0,
        "mINP": 100.0,
        "queries": 1,
        "gallery": 1,
        "excluded": 1,
    }


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("side", ["query", "gallery"])
def test_features_that_are_not_finite_are_refused_rather_than_ranked_first(bad, side):
    query, gallery, query_person, gallery_person = random_case(3, 5, 4, 2)
    (query if side == "query" else gallery)[1, 2] = bad
    with pytest.raises(NonFiniteFeatures, match=side):
        score(query, gallery, query_person, gallery_person)


def test_an_empty_gallery_and_lengths_that_do_not_match_are_refused():
    query, gallery, query_person, gallery_person = random_case(3, 5, 4, 2)
    with pytest.raises(ValueError, match="gallery is empty"):
        score(query, gallery[:0], query_person, [])
    with pytest.raises(ValueError, match="5 gallery items have 4"):
        score(query, gallery, query_person, gallery_person[:4])


def test_without_ties_the_unstable_order_of_the_released_code_gives_the_same_ranks():
    case = random_case(20, 50, 16, 5)
    stable, unstable = score(*case), score(*case, tie_order="released", chunk=(7, 1))
    for name in ("rank", "ap", "inp", "positives", "top"):
        assert torch.equal(getattr(stable, name), getattr(unstable, name)), name
    assert torch.allclose(stable.top_score, unstable.top_score, atol=1e-6)


def test_with_ties_the_unstable_order_is_still_one_valid_order():
    gallery = [[1.0, 0.0]] * 10 + [[0.0, 1.0]] * 10
    records = score([[1.0, 0.1]], gallery, [3], [0] * 9 + [3] + [3] + [0] * 9, tie_order="released")
    assert 1 <= int(records.rank) <= 10
    assert sorted(records.top[0].tolist()) == list(range(10))


@pytest.mark.parametrize("tie_order", ["index", "released"])
@pytest.mark.parametrize(
    ("direction", "queries", "gallery"), [("t2i", "query", "gallery"), ("i2t", "gallery", "query")]
)
def test_metrics_equal_the_released_code_on_its_own_features(tie_order, direction, queries, gallery):
    tensors = load_file(GOLDEN / "retrieval.safetensors")
    expected = json.loads((GOLDEN / "expected_eval.json").read_text())["retrieval"][direction]
    person = tensors[f"{queries}_person_ids"]
    ranking = ranks(
        tensors[f"{queries}_features"],
        tensors[f"{gallery}_features"],
        person,
        tensors[f"{gallery}_person_ids"],
        tie_order=tie_order,
    )
    summary = summarise(query_records(ranking, person))
    assert {name: summary[name] for name in MEANS} == pytest.approx(expected, abs=1e-4)
