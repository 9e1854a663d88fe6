"""Recipes are data: every value of a shipped one has a source and reaches the methods it is meant for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_files import write_study

from harness import registry
from harness.machine.errors import StudyError
from harness.study.method_plan import strictly
from harness.study.schema import TrainSettings
from harness.study.shipped import shipped_studies
from harness.study.study import Study, load_study
from methods.recipe_files import recipe, recipe_names


def own_settings() -> set[str]:
    """Names of the settings of all methods of this project."""
    entries = [entry for entry in registry.methods().values() if entry.plugin is None]
    return {name for entry in entries for name in entry.settings.model_fields}


@pytest.mark.parametrize("name", recipe_names())
def test_every_value_of_a_recipe_is_a_setting_with_a_source(name: str) -> None:
    found = recipe(name)
    assert found.summary
    assert found.values.keys() <= TrainSettings.model_fields.keys() | own_settings()
    assert all(len(found.sources[key]) > 8 for key in found.values)
    of_training = {key: value for key, value in found.values.items() if key in TrainSettings.model_fields}
    assert strictly(TrainSettings, of_training)


def test_every_method_of_this_project_that_trains_names_a_recipe_that_ships_or_none() -> None:
    for entry in registry.methods().values():
        if entry.plugin is None and entry.recipe:
            assert entry.recipe in recipe_names(), entry.name
    assert registry.method("uit").recipe == "uit"
    assert registry.method("irra").recipe == "irra"


def study(folder: Path, **changes: Any) -> Study:
    return load_study(write_study(folder, **{"train": None, **changes}))


def test_own_trains_each_method_as_it_was_published_and_shared_all_alike(tmp_path: Path) -> None:
    methods = ["uit", "irra", "clip-zero-shot"]
    own, shared = (study(tmp_path, methods=methods, recipe=word) for word in ("own", "shared"))
    assert [own.plan(label).train.batch_size for label in methods[:2]] == [128, 64]
    assert [own.plan(label).train.sampler for label in methods[:2]] == ["released", "shuffle"]
    assert shared.plan("uit").train == shared.plan("irra").train
    assert {cell.protocol for cell in own.cells()} == {"own"}
    assert {cell.protocol for cell in shared.cells()} == {"clean"}


def test_a_named_recipe_reaches_every_method_and_gives_each_only_the_settings_it_has(tmp_path: Path) -> None:
    found = study(tmp_path, methods=["uit", "baseline", "clip-zero-shot"], recipe="rendered")
    assert {cell.train.backbone for cell in found.cells()} == {"tiny"}
    assert found.plan("uit").method_settings["decoder_depth"] == 1
    assert "decoder_depth" not in found.plan("baseline").method_settings
    assert found.plan("baseline").method_settings["temperature"] == 0.05
    assert {cell.protocol for cell in found.cells()} == {"clean"}


def test_train_overrides_a_recipe_and_a_methods_entry_overrides_both(tmp_path: Path) -> None:
    methods = ["uit", {"name": "slow", "base": "irra", "lr": 1e-6, "temperature": 0.1}]
    found = study(tmp_path, methods=methods, recipe="own", train={"lr": 2e-5, "temperature": 0.03})
    assert [found.plan(label).train.lr for label in ("uit", "slow")] == [2e-5, 1e-6]
    assert [found.plan(label).method_settings["temperature"] for label in ("uit", "slow")] == [0.03, 0.1]
    assert found.plan("slow").train.batch_size == 64


def test_a_recipe_says_no_more_than_the_study_resolved(tmp_path: Path) -> None:
    found = study(tmp_path, methods=["uit", "irra"], recipe="own")
    again = load_study(write_study(tmp_path, **{**found.resolved(), "train": None}))
    assert [plan.train for plan in again.plans] == [plan.train for plan in found.plans]
    assert [plan.method_settings for plan in again.plans] == [plan.method_settings for plan in found.plans]


PLUGIN = """
from harness.registry import register_method

register_method("no-recipe-test", summary="a test's", build="methods.uit:ZeroShot")
"""


def test_a_recipe_that_cannot_be_is_refused_at_its_line(tmp_path: Path) -> None:
    if "no-recipe-test" not in registry.methods():
        (tmp_path / "no_recipe.py").write_text(PLUGIN)
        registry.load_plugin(tmp_path / "no_recipe.py")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"recipe": "uti"}, "recipe: unknown recipe 'uti': did you mean 'uit'?"),
        ({"recipe": "own", "preset": "released"}, "recipe: preset: released already trains each method"),
        (
            {"recipe": "own", "methods": ["no-recipe-test"]},
            "'no-recipe-test' has no published recipe of its own",
        ),
    ]
    for changes, message in cases:
        with pytest.raises(StudyError) as caught:
            study(tmp_path, **changes)
        assert message in str(caught.value)


def test_studies_on_rendered_people_that_train_alike_say_so_by_the_recipes_name() -> None:
    recipes = {"demo": "rendered", "mask-ratio": "rendered", "search": "rendered", "field": "rendered"}
    recipes |= dict.fromkeys(("ablation", "factorial", "transfer"), "rendered-long")
    for name, shared in recipes.items():
        found = load_study(shipped_studies()[name])
        assert found.recipe == shared
        assert found.plan("uit").train.pretrained == "rendered"
        assert found.plan("uit").train.adam_eps == 1e-8
