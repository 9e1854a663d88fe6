"""A trial is worth what its cell scored, and one whose cell failed is worth nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from light_runs import light_machine, light_study

from harness.launch.context import Context
from harness.search.creation import create_search
from harness.search.database import StorageError
from harness.search.plan import SearchPlan, TrialFailed
from harness.search.study import searches_of
from harness.search.trial_queue import trial_queue
from harness.search.trial_record import trial_record
from harness.search.trial_run import TrialEnd, run_next_trial

SPACE = {"lr": {"low": 1e-5, "high": 0.1, "log": True}}


@pytest.fixture
def search(tmp_path: Path, cuhk_root: Path) -> SearchPlan:
    """A search of the light method, of two trials of three epochs of three steps."""
    study = light_study(tmp_path, seeds=1, search={"trials": 2, "sampler": "random", "space": SPACE})
    (planned,) = searches_of(study, Context(light_machine(cuhk_root)), tmp_path / "out")
    return planned


@pytest.mark.parametrize(
    ("trouble", "reason", "detail"),
    [("oom@5", "oom", "CUDA out of memory"), ("error@5", "error", "RuntimeError: a bug of the method")],
)
def test_a_trial_that_fails_in_its_second_epoch_is_not_worth_its_first(
    search: SearchPlan, monkeypatch: pytest.MonkeyPatch, trouble: str, reason: str, detail: str
) -> None:
    monkeypatch.setenv("LIGHT_TROUBLE", trouble)
    reported: dict[int, float] = {}
    with pytest.raises(TrialFailed) as caught:
        search.objective({"lr": 0.05}, reported.__setitem__)
    assert caught.value.reason == reason
    assert detail in caught.value.detail
    assert list(reported) == [1]


def test_a_trial_of_whose_database_nothing_is_heard_is_neither_failed_nor_finished_and_resumes(
    search: SearchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_search(search)
    queue = trial_queue(search)

    def gone(*_: object) -> bool:
        raise StorageError("the search database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(queue, "report", gone)
        with pytest.raises(StorageError, match="is gone"):
            run_next_trial([search])
    (trial,) = queue.trials()
    assert trial_record(trial)["state"] == "running"
    outcome = run_next_trial([search])
    assert (outcome.end, outcome.number) == (TrialEnd.COMPLETE, 0)
    (trial,) = queue.trials()
    assert [epoch for epoch, _ in trial_record(trial)["intermediate"]] == [1, 2, 3]
    assert trial_record(trial)["resumed"] == 1
