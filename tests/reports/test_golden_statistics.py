"""The estimator against numbers of an independent implementation; see `tests/golden/statistics/README.md`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.score_block import ScoreBlock
from reports.statistics import compare_methods, score_block

FOLDER = Path(os.environ.get("STATISTICS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden" / "statistics")
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())


def scores_of(case: str) -> tuple[dict[str, np.ndarray], np.ndarray, frozenset[str]]:
    """Scores by method, the person of every query, and the untrained methods of a case."""
    with np.load(FOLDER / "scores.npz") as stored:
        person = stored[f"{case}.person"]
        names = [name.removeprefix(f"{case}.") for name in stored if name.startswith(f"{case}.")]
        scores = {name: stored[f"{case}.{name}"].astype(float) for name in names if name != "person"}
    return scores, person, frozenset({"still"} & set(scores))


def block_of(case: str) -> ScoreBlock:
    """The block of a case."""
    return score_block(*scores_of(case))


@pytest.mark.parametrize("case", EXPECTED)
def test_the_mean_squares_and_their_degrees_of_freedom_are_the_golden_ones(case: str) -> None:
    block, expected = block_of(case), EXPECTED[case]
    assert (len(block.trained), block.means.shape[1], block.people) == (
        expected["methods"],
        expected["seeds"],
        expected["people"],
    )
    assert block.variances.df == expected["k"]
    assert block.variances.ms == pytest.approx(expected["ms_res"], rel=1e-6)
    assert block.variances.noise == pytest.approx(expected["ms_int"], rel=1e-6)


@pytest.mark.parametrize("case", EXPECTED)
def test_every_contrast_has_the_golden_value_standard_error_degrees_of_freedom_and_interval(
    case: str,
) -> None:
    block = block_of(case)
    for expected in EXPECTED[case]["contrasts"]:
        weights = expected.get("weights") or {expected["one"]: 1.0, expected["other"]: -1.0}
        # The golden numbers leave out what is done about a method whose seeds vary far more.
        found = block.contrast(weights, own_seeds=False)
        for name in ("value", "se", "df", "low", "high"):
            if name in expected:
                assert getattr(found, name) == pytest.approx(expected[name], rel=1e-6), (weights, name)


@pytest.mark.parametrize("case", EXPECTED)
def test_the_comparisons_with_a_reference_are_the_golden_ones_unless_a_methods_seeds_stand_out(
    case: str,
) -> None:
    scores, person, untrained = scores_of(case)
    pairs = [one for one in EXPECTED[case]["contrasts"] if one.get("other") == "m0"]
    found = {one.one: one for one in compare_methods(scores, person, reference="m0", untrained=untrained)}
    for expected in pairs:
        item = found[expected["one"]]
        for name in ("value", "se", "df", "low", "high"):
            if not item.note:
                assert getattr(item, name) == pytest.approx(expected[name], rel=1e-6)
        assert item.value == pytest.approx(expected["value"], rel=1e-6)
        assert item.high - item.low >= (expected["high"] - expected["low"]) * (1 - 1e-6)
