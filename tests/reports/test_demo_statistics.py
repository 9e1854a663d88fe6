"""The hits of a demo study of an earlier version: seven methods, two seeds, 2,000 captions of 250 people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reports.statistics import compare_methods

STORED = Path(__file__).parents[1] / "golden" / "statistics-demo.npz"


def test_the_demo_study_read_again_has_an_interval_of_1_6_points_and_not_of_3() -> None:
    with np.load(STORED) as stored:
        person = stored["person"].astype(int)
        hits = {name: np.unpackbits(stored[name], axis=1) for name in stored if name != "person"}
    scores = {name: matrix[:, : len(person)].astype(float) for name, matrix in hits.items()}
    untrained = frozenset({"clip-zero-shot"})
    found = {one.one: one for one in compare_methods(scores, person, reference="uit", untrained=untrained)}
    one = found["uit-no-tir"]
    assert (one.value, one.low, one.high) == pytest.approx((-0.58, -2.13, 0.98), abs=0.006)
    assert one.verdict == "cannot tell"
    # With two seeds the degrees of freedom no longer jump between neighbouring rows.
    assert {round(item.df) for item in found.values()} == {249}
