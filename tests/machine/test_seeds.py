"""A seed depends on what it is for, and on nothing else."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from harness.machine.seeds import seed_for


def test_the_same_axes_give_the_same_seed_in_every_process_and_version() -> None:
    # The rule, written out: a change of it would change every number ever stored.
    digest = hashlib.sha256(b'[0,"cuhk-pedes","uit","training"]').hexdigest()
    assert seed_for(0, "cuhk-pedes", "uit", "training") == int(digest[:16], 16) // 2
    code = "from harness.machine.seeds import seed_for; print(seed_for(0, 'cuhk-pedes', 'uit', 'training'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == seed_for(0, "cuhk-pedes", "uit", "training")


def test_no_two_axes_of_a_large_study_share_a_seed() -> None:
    axes = [(seed, dataset, method) for seed in range(50) for dataset in "abcde" for method in "vwxyz"]
    assert len({seed_for(*axis) for axis in axes}) == len(axes)


@pytest.mark.parametrize(
    ("one", "other"), [((1,), ("1",)), (("ab", "c"), ("a", "bc")), (("a", "b"), ("b", "a"))]
)
def test_axes_that_look_alike_are_told_apart(
    one: tuple[str | int, ...], other: tuple[str | int, ...]
) -> None:
    assert seed_for(*one) != seed_for(*other)


def test_a_seed_fits_every_generator_that_takes_63_bits() -> None:
    assert all(0 <= seed_for("range", index) < 2**63 for index in range(1000))
