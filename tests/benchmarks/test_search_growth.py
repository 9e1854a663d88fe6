"""A search of 5,000 trials stays usable: how long it takes to find what is left, and to make a report."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import search_stub as stub
import stores
from pytest_benchmark.fixture import BenchmarkFixture

from harness.launch.local import InProcess
from harness.search.creation import create_search
from harness.search.plan import SearchPlan
from harness.search.search_json import write_search_json
from harness.search.search_loop import run_searches
from harness.search.trial_checksums import OUTCOME, TrialChecksums
from harness.search.trial_history import HISTORY
from harness.search.trial_queue import ClaimedTrial, trial_queue
from harness.search.trial_record import trial_record
from reports.assemble import ReportResult, build

TRIALS = 5000


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SearchPlan, Path]]:
    """A finished search of 5,001 trials; in memory where that is, as making it commits 50,000 times."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else tmp_path_factory.mktemp("grown")
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield _grown(Path(folder)), Path(folder)


def _grown(folder: Path) -> SearchPlan:
    search = stub.search(folder, trials=TRIALS + 1)
    create_search(search)
    rng = np.random.default_rng(0)
    distributions = {name: parameter.distribution() for name, parameter in stub.SPACE.items()}
    checksums, trials = TrialChecksums(search), []
    for number in range(1, TRIALS):
        point = {"mask_ratio": rng.uniform(0.3, 0.9), "temperature": float(10 ** rng.uniform(-2, -1))}
        score = stub.height(point)
        pruned = number % 3 == 0
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE,
            params=point,
            distributions=distributions,
            value=score,
            intermediate_values={1: score / 2} if pruned else {1: score / 2, 2: score},
            user_attrs={HISTORY: {"seconds": 60.0}, **({"pruned_at": 1} if pruned else {})},
        )
        trial.number = number
        trial.set_user_attr(OUTCOME, checksums.outcome(trial_record(trial)))
        trials.append(trial)
    trial_queue(search).study.add_trials(trials)
    run_searches([search], InProcess(), lambda progress, outcome: None)
    return search


def test_finding_what_is_left_of_a_search_of_five_thousand_trials(
    benchmark: BenchmarkFixture, grown: tuple[SearchPlan, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wanted: under 5 s, from an unopened database."""
    search, _ = grown

    def left() -> int:
        monkeypatch.setattr("harness.search.trial_queue._queues", {})
        create_search(search)
        return trial_queue(search).budget().missing

    assert benchmark.pedantic(left, rounds=3) == 0


def test_drawing_one_more_trial_after_five_thousand(
    benchmark: BenchmarkFixture, grown: tuple[SearchPlan, Path]
) -> None:
    """What TPE takes to learn from all of them."""
    queue = trial_queue(replace(grown[0], trials=TRIALS + 100))

    def draw() -> dict[str, Any]:
        claim = queue.claim()
        assert isinstance(claim, ClaimedTrial)
        queue.fail(claim, "error", "drawn for its time only")
        return claim.trial.params

    point = benchmark.pedantic(draw, rounds=3)
    assert all(stub.SPACE[name].admits(point[name]) for name in stub.SPACE)


def test_a_report_over_a_search_of_five_thousand_trials(
    benchmark: BenchmarkFixture, grown: tuple[SearchPlan, Path], tmp_path: Path
) -> None:
    """Wanted: under a minute; only the page's size and the memory can fail."""
    search, _ = grown
    stores.write(tmp_path, stores.Truth(r1={"uit": 50.0}, seeds=2, people=20))
    write_search_json([search], tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made: ReportResult = benchmark.pedantic(lambda: build([tmp_path]), rounds=1)
    benchmark.extra_info["page_bytes"] = made.path.stat().st_size
    benchmark.extra_info["grown_mebibytes"] = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ) / 1024
    assert benchmark.extra_info["page_bytes"] < 20_000_000
    assert benchmark.extra_info["grown_mebibytes"] < 1024
