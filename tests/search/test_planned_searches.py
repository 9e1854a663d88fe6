"""A search is what its study asks for; what it found is known once its whole budget is spent."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from light_runs import RECIPE, light_machine, light_study

from harness.launch.context import Context
from harness.machine.errors import StudyError
from harness.search.plan import SearchPlan
from harness.search.space import Parameter
from harness.search.study import awaiting_search, known_winners, search_seed, searches_of
from harness.search.trial_training import CellObjective
from harness.store.run_files import SEARCH
from harness.store.seals import write_sealed
from harness.study.study import Study

LR = {"low": 1e-5, "high": 0.1, "log": True}
BATCH = {"choices": [4, 8, 12]}


@pytest.fixture
def context(cuhk_root: Path) -> Context:
    return Context(light_machine(cuhk_root))


def searched(folder: Path, **changes: Any) -> Study:
    search = {"trials": 7, "space": {"lr": LR, "batch_size": BATCH}, **changes.pop("search", {})}
    return light_study(folder, seeds=2, search=search, **changes)


def test_every_setting_of_a_search_section_reaches_its_search(tmp_path: Path, context: Context) -> None:
    asked = {"sampler": "grid", "pruner": "hyperband", "points": 5, "epochs": 2}
    study = searched(tmp_path, search=asked, select={"metric": "mAP"})
    (plan,) = searches_of(study, context, tmp_path / "out")
    assert plan.name == f"{study.name}/light/cuhk-pedes"
    assert plan.url == f"sqlite:///{tmp_path / 'out' / 'search.db'}"
    assert plan.space == {
        "lr": Parameter("lr", 1e-5, 0.1, log=True),
        "batch_size": Parameter("batch_size", choices=(4, 8, 12)),
    }
    assert plan.recipe == {"lr": RECIPE["lr"], "batch_size": RECIPE["batch_size"]}
    assert (plan.trials, plan.epochs, plan.sampler, plan.pruner) == (7, 2, "grid", "hyperband")
    assert (plan.seed, plan.grid_points) == (1000, 5)
    assert plan.about["metric"] == "mAP"
    validation = context.dataset("cuhk-pedes", None).splits["val"]
    assert plan.about["validation"] == {"queries": len(validation.captions), "people": 3}
    objective = plan.objective
    assert isinstance(objective, CellObjective)
    assert (objective.recipe.seed, objective.recipe.train.epochs) == (1000, 2)
    assert objective.machine == context.machine
    other = replace(context.machine, device="cuda")
    (elsewhere,) = searches_of(study, context, tmp_path / "out", other)
    assert elsewhere == replace(plan, objective=replace(objective, machine=other))


def test_a_search_of_a_study_with_transfer_trains_on_its_own_dataset_and_tests_on_none(
    tmp_path: Path, context: Context
) -> None:
    study = searched(tmp_path, evaluate={"targets": ["rstpreid"]})
    (plan,) = searches_of(study, context, tmp_path / "out")
    assert isinstance(plan.objective, CellObjective)
    assert plan.objective.recipe.targets == ()
    trial = plan.objective.cell({"lr": 0.05, "batch_size": 12})
    assert (trial.targets, trial.train.lr, trial.train.batch_size) == ((), 0.05, 12)
    unchanged = {"seed", "dataset", "method", "base", "preset", "subset", "select", "tie_order"}
    assert all(getattr(trial, name) == getattr(plan.objective.recipe, name) for name in unchanged)


def test_a_search_draws_by_a_seed_that_no_cell_of_the_comparison_has(tmp_path: Path) -> None:
    study = light_study(tmp_path, seeds=[0, 1000, 1002])
    assert [search_seed(study, repeat) for repeat in (1, 2, 3)] == [1001, 1003, 1004]


def test_a_database_with_a_password_is_in_no_text_of_a_search(tmp_path: Path, context: Context) -> None:
    (plan,) = searches_of(searched(tmp_path), context, tmp_path / "out")
    secret = SearchPlan(**{**vars(plan), "url": "postgresql://me:open-sesame@host/db"})
    assert "open-sesame" not in f"{secret} {secret!r}"
    assert pickle.loads(pickle.dumps(secret)).url == secret.url


def record(name: str, repeat: int, finished: int, winner: int | None = 1) -> dict[str, Any]:
    trials = [{"number": number, "params": {"lr": number / 100}} for number in range(finished)]
    about = {"method": "light", "dataset": "cuhk-pedes", "repeat": repeat}
    return {**about, "name": name, "finished": finished, "winner": winner, "trials": trials}


def test_winners_are_known_of_searches_whose_whole_budget_is_spent_and_the_other_arms_wait(
    tmp_path: Path,
) -> None:
    study = searched(tmp_path, search={"repeats": 3, "arms": ["recipe", "tuned"]})
    place, out = f"{study.name}/light/cuhk-pedes", tmp_path / "out"
    tuned = {("cuhk-pedes", f"light-tuned-{repeat}") for repeat in (1, 2, 3)}
    assert known_winners(study, out) == {}
    assert awaiting_search(study, {}) == tuned
    out.mkdir()
    kept = [record(place, 1, 7), record(f"{place}/2", 2, 6), record(f"{place}/3", 3, 8, winner=4)]
    write_sealed(out / SEARCH, {"searches": [*kept, record("another study/light/cuhk-pedes", 1, 9)]})
    winners = known_winners(study, out)
    assert winners == {
        ("light", "cuhk-pedes", 1): {"lr": 0.01},
        ("light", "cuhk-pedes", 3): {"lr": 0.04},
    }
    assert awaiting_search(study, winners) == {("cuhk-pedes", "light-tuned-2")}
    assert known_winners(light_study(tmp_path / "plain"), out) == {}
    write_sealed(out / SEARCH, {"searches": [record(place, 1, 7, winner=None)]})
    assert known_winners(study, out) == {}


def test_a_switch_cannot_be_searched_as_a_range(tmp_path: Path) -> None:
    space = {"caption_cleaning": {"low": 0, "high": 1}}
    with pytest.raises(StudyError, match=r"search\.space\.caption_cleaning: must be true or false, got 0"):
        light_study(tmp_path, search={"trials": 2, "space": space})
