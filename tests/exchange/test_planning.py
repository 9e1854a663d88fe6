"""A plan is kept before the first cell; what was changed after the lock is named, and `--check` fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import stores
import yaml
from study_files import write_study
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from harness.machine.errors import StoreError
from harness.store.plan_lock import departures, read_lock, write_lock
from harness.store.run_files import CLAIMS

CLAIM = {"id": "tir", "better": "uit", "than": "weak", "dataset": "rendered-plaza"}


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_claims(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({"margin": 1.0, "claims": [CLAIM], **changes}))
    return path


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A run whose claim holds, as it was locked."""
    run = tmp_path / "planted"
    stores.write(tmp_path / "source", stores.Truth(r1={"uit": 60, "weak": 45}, people=60))
    study = {**yaml.safe_load((tmp_path / "source" / "study.yaml").read_text()), "tied_within": 1.0}
    run.mkdir()
    write_lock(run, study, write_claims(tmp_path / "claims.yaml"), "2026-01-01T00:00:00+00:00", "")
    stores.write(run, stores.Truth(r1={"uit": 60, "weak": 45}, people=60))
    (run / "study.yaml").write_text(yaml.safe_dump({**study, "claims": "claims.yaml"}, sort_keys=False))
    write_claims(run / "claims.yaml")
    return run


def test_a_run_that_keeps_to_its_plan_is_called_planned(locked: Path) -> None:
    done = invoke("report", locked, "--check")
    assert done.exit_code == 0, done.output
    page = (locked / "report.html").read_text("utf-8")
    assert "planted: planned. Locked 2026-01-01" in page
    assert "Departure" not in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"margin": 2.0}, "margin: was 1.0, is 2.0"),
        ({"claims": [{**CLAIM, "size": 30.0}]}, "claim tir: was changed after the lock"),
        ({"claims": [CLAIM, {**CLAIM, "id": "new"}]}, "claim new: was added after the lock"),
        ({"claims": []}, "claim tir: is gone after the lock"),
    ],
)
def test_check_fails_on_a_margin_or_claim_changed_after_the_lock(
    locked: Path, changes: dict[str, Any], said: str
) -> None:
    write_claims(locked / "claims.yaml", **changes)
    done = invoke("report", locked, "--check")
    assert done.exit_code == 4, done.output
    assert said in " ".join(done.stdout.split())
    page = (locked / "report.html").read_text("utf-8")
    assert said in page
    assert "departs from its plan" in page


def test_check_fails_when_methods_are_called_tied_within_more_than_was_planned(locked: Path) -> None:
    study = yaml.safe_load((locked / "study.yaml").read_text())
    (locked / "study.yaml").write_text(yaml.safe_dump({**study, "tied_within": 3.0}, sort_keys=False))
    done = invoke("report", locked, "--check")
    assert done.exit_code == 4, done.output
    assert "tied_within was 1.0, is 3.0" in " ".join(done.stdout.split())


def test_a_lock_that_was_edited_is_noticed(locked: Path) -> None:
    kept = json.loads((locked / "lock.json").read_text())
    kept["claims"]["margin"] = 3.0
    (locked / "lock.json").write_text(json.dumps(kept))
    write_claims(locked / "claims.yaml", margin=3.0)
    assert invoke("report", locked, "--check").exit_code == 4


def test_other_departures_are_listed_and_pass_a_check(locked: Path) -> None:
    study = yaml.safe_load((locked / "study.yaml").read_text())
    study["seeds"] = [0, 1]
    (locked / "study.yaml").write_text(yaml.safe_dump(study))
    done = invoke("report", locked, "--check")
    assert done.exit_code == 0, done.output
    page = (locked / "report.html").read_text("utf-8")
    assert "Departure: seeds was [0, 1, 2], is [0, 1]." in page


def test_a_later_look_that_was_planned_is_no_departure(tmp_path: Path) -> None:
    study = {"name": "s", "seeds": [0, 1, 2], "looks": [3, 5]}
    write_lock(tmp_path, study, None, "now", "")
    assert departures(tmp_path, {**study, "seeds": [0, 1, 2, 3, 4]}) == ([], [])
    assert departures(tmp_path, {**study, "seeds": [0, 1, 2, 3]})[1]


def test_lock_keeps_study_claims_margins_seeds_and_a_hash(tmp_path: Path) -> None:
    claims = write_claims(tmp_path / "claims.yaml", claims=[{**CLAIM, "than": "baseline"}])
    path = write_study(tmp_path, datasets=["rendered-plaza"], seeds=4, claims=str(claims))
    done = invoke("lock", path, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "run" / "lock.json").read_text())
    assert (kept["margin"], kept["seeds"], kept["study"]["name"]) == (1.0, [0, 1, 2, 3], "small")
    assert kept["sha256"] in done.stdout
    assert invoke("lock", path, "--out", tmp_path / "run").exit_code == 0
    other = invoke("lock", path, "--out", tmp_path / "run", "--seeds", 5)
    assert other.exit_code == 2, other.output
    assert "another plan was locked" in other.stderr


def test_nothing_is_planned_after_the_first_cell(tmp_path: Path) -> None:
    stores.write(tmp_path / "run", stores.Truth(r1={"uit": 60}, people=20))
    path = write_study(tmp_path, datasets=["rendered-plaza"])
    done = invoke("lock", path, "--out", tmp_path / "run")
    assert done.exit_code == 2, done.output
    assert "has begun, so nothing can be planned before the first cell" in done.stderr
    assert not (tmp_path / "run" / "lock.json").exists()


@pytest.mark.parametrize("has_claims", [True, False])
def test_a_plan_is_read_back_as_it_was_locked(tmp_path: Path, has_claims: bool) -> None:
    run, study = tmp_path / "run", {"name": "s", "seeds": [0, 1], "looks": (2, 5), "methods": ["uit"]}
    run.mkdir()
    assert read_lock(run) is None
    claims = write_claims(tmp_path / "mine.yaml") if has_claims else None
    written = write_lock(run, study, claims, "2026-01-01T00:00:00+00:00", "0123abc")
    lock = read_lock(run)
    assert lock == written
    assert lock is not None
    assert lock.is_sound
    # The claims lie in the run's folder, wherever they were written.
    named = {"claims": CLAIMS} if has_claims else {}
    assert lock.study == {**study, "looks": [2, 5], **named}
    assert lock.claims == ({"margin": 1.0, "claims": [CLAIM]} if has_claims else None)
    kept = json.loads((run / "lock.json").read_text())
    assert (kept["when"], kept["commit"]) == ("2026-01-01T00:00:00+00:00", "0123abc")
    assert (kept["seeds"], kept["looks"]) == ([0, 1], [2, 5])
    assert kept["margin"] == (1.0 if has_claims else None)
    again = write_lock(run, study, claims, "2027-01-01T00:00:00+00:00", "later")
    assert again == written, "a plan that is locked twice keeps its date"


@pytest.mark.parametrize("content", ["{", "[]", "3", "{}", '{"when": "now", "study": 3, "claims": null}'])
def test_a_damaged_lock_is_named_and_a_check_fails(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock.json").write_text(content)
    with pytest.raises(StoreError, match=r"lock\.json"):
        read_lock(tmp_path)
    graver, others = departures(tmp_path, {"name": "s"})
    assert "lock.json" in graver[0]
    assert others == []


def test_each_departure_from_a_plan_is_named_with_what_was_and_what_is(tmp_path: Path) -> None:
    study = {"name": "s", "seeds": [0, 1], "train": {"lr": 1.0, "epochs": 3}, "tied_within": 1.0}
    write_lock(tmp_path, study, None, "now", "")
    assert departures(tmp_path, study) == ([], [])
    now = {"name": "s", "seeds": [0, 1], "train": {"lr": 2.0}, "tied_within": 2.0, "subset": 9}
    graver, others = departures(tmp_path, now)
    assert graver == ["tied_within was 1.0, is 2.0"]
    assert sorted(others) == [
        "subset was null, is 9",
        "train.epochs was 3, is null",
        "train.lr was 1.0, is 2.0",
    ]
    write_claims(tmp_path / CLAIMS)
    graver, _ = departures(tmp_path, study)
    assert graver == ["claims: were added after the lock"]
