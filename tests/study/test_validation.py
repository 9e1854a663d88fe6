"""What a study's settings mean is checked at once, each mistake at its place, before torch is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from study_files import SMALL, write_study

from harness import registry
from harness.machine.errors import StudyError
from harness.study.study import Study, load_study

ROOT = Path(__file__).parents[2]
TRAIN = SMALL["train"]

PLUGIN = '''
"""A method whose setting has the name of another method's."""
from pydantic import BaseModel
from harness.registry import register_method


class HingeSettings(BaseModel):
    """The method's own settings."""

    margin: float = 0.2


register_method("hinge-test", summary="a test's", settings=HingeSettings, build="methods.uit:ZeroShot")
'''
RECIPE_NAME = """
from pydantic import BaseModel
from harness.registry import register_method


class Settings(BaseModel):
    lr: float = 0.5


register_method("own-lr-test", summary="a test's", settings=Settings, build="methods.uit:ZeroShot")
"""


def plugin(folder: Path, text: str, name: str) -> None:
    """Register a plugin once in this process."""
    if name not in registry.methods():
        path = folder / f"{name}.py"
        path.write_text(text)
        registry.load_plugin(path)


def mistakes(folder: Path, **changes: Any) -> list[str]:
    """What is wrong with a small study, each as `line: key: message`."""
    with pytest.raises(StudyError) as caught:
        load_study(write_study(folder, **changes))
    return [line.partition("study.yaml:")[2] for line in str(caught.value).splitlines()]


def settings(study: Study, label: str) -> dict[str, Any]:
    return dict(study.plan(label).method_settings)


# -- what `train:` reaches ------------------------------------------------------------------------


def test_a_switch_of_train_never_turns_a_variant_into_another(tmp_path: Path) -> None:
    methods = ["uit", "uit-no-tir", {"name": "plain", "base": "uit", "tir": False}]
    study = load_study(write_study(tmp_path, methods=methods, train={**TRAIN, "tir": True}))
    assert [settings(study, label)["tir"] for label in ("uit", "uit-no-tir", "plain")] == [True, False, False]
    assert study.reach()["tir"] == ("uit",)


def test_a_switch_that_no_method_takes_from_train_is_refused(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, methods=["uit-no-tir", "baseline"], train={**TRAIN, "tir": True})
    assert mistake.endswith("train.tir: no method of this study has it")


def test_a_registered_name_keeps_its_switches_and_another_name_may_change_them(tmp_path: Path) -> None:
    entry = {"name": "uit-no-tir", "tir": True}
    (mistake,) = mistakes(tmp_path, methods=[entry])
    assert "methods.0.tir: 'uit-no-tir' is registered with tir: false; call it something else" in mistake
    study = load_study(write_study(tmp_path, methods=[{"name": "mine", "base": "uit-no-tir", "tir": True}]))
    assert settings(study, "mine")["tir"] is True


def test_which_methods_each_key_of_train_reaches_is_known(tmp_path: Path) -> None:
    methods = [
        "uit",
        "uit-no-tir",
        "clip-zero-shot",
        {"name": "slow", "base": "uit", "lr": 1e-6, "margin": 0.1},
    ]
    study = load_study(
        write_study(tmp_path, methods=methods, train={**TRAIN, "lr": 2e-5, "margin": 0.3, "mask_ratio": 0.5})
    )
    reach = study.reach()
    assert reach["lr"] == ("uit", "uit-no-tir")
    assert reach["margin"] == ("uit", "uit-no-tir")
    assert reach["mask_ratio"] == ("uit", "slow")
    assert reach["backbone"] == ("uit", "uit-no-tir", "clip-zero-shot", "slow")


def test_a_plugins_key_that_is_also_another_methods_is_noted_and_each_may_have_its_own(
    tmp_path: Path,
) -> None:
    plugin(tmp_path, PLUGIN, "hinge-test")
    shared = load_study(write_study(tmp_path, methods=["uit", "hinge-test"], train={**TRAIN, "margin": 0.3}))
    assert [settings(shared, label)["margin"] for label in ("uit", "hinge-test")] == [0.3, 0.3]
    (note,) = shared.notes
    assert note.startswith(
        "train.margin sets the margin of methods that mean different things by it: uit (of UIT"
    )
    assert "hinge-test (of HingeSettings in hinge-test.py)" in note
    methods = ["uit", {"name": "hinge-test", "margin": 0.4}]
    apart = load_study(write_study(tmp_path, methods=methods, train={**TRAIN, "margin": 0.1}))
    assert [settings(apart, label)["margin"] for label in ("uit", "hinge-test")] == [0.1, 0.4]
    assert apart.notes == ()


def test_variants_of_one_method_share_a_key_without_a_note(tmp_path: Path) -> None:
    assert load_study(write_study(tmp_path, train={**TRAIN, "margin": 0.3})).notes == ()


def test_a_plugins_setting_with_a_name_of_the_recipes_is_refused(tmp_path: Path) -> None:
    plugin(tmp_path, RECIPE_NAME, "own-lr-test")
    assert any(
        "'lr' has the name of the recipe's" in line for line in mistakes(tmp_path, methods=["own-lr-test"])
    )


# -- every mistake at once ------------------------------------------------------------------------


def test_a_mistyped_method_does_not_hide_the_mistakes_of_the_recipe(tmp_path: Path) -> None:
    train = {**TRAIN, "epochs": -3, "mask_ratio": 0.5}
    found = mistakes(tmp_path, methods=["uit-no-tri"], train=train)
    assert len(found) == 2
    assert "did you mean 'uit-no-tir'?" in found[0]
    assert "train.epochs: must be at least 1, got -3" in found[1]


@pytest.mark.parametrize(
    ("pretrained", "words"),
    [
        ("nosuch.pt", "neither a file nor a tag"),
        ("opneai", "neither a file nor a tag"),
        ("no/such", "neither"),
    ],
)
def test_pretrained_weights_that_cannot_exist_are_named_with_their_line(
    tmp_path: Path, pretrained: str, words: str
) -> None:
    (mistake,) = mistakes(tmp_path, train={**TRAIN, "pretrained": pretrained})
    assert mistake.startswith("13: train.pretrained: ")
    assert words in mistake


def test_weights_that_are_shipped_for_another_backbone_are_named_at_the_entry_that_asks(
    tmp_path: Path,
) -> None:
    entry = {"name": "big", "base": "uit", "backbone": "ViT-B-32", "pretrained": "rendered"}
    (mistake,) = mistakes(tmp_path, methods=["uit", entry])
    assert mistake.endswith("methods.1.pretrained: no weights `rendered` are shipped for ViT-B-32")


@pytest.mark.parametrize("tag", ["openai", "laion2b_s34b_b79k", "none"])
def test_tags_of_open_clip_pass(tmp_path: Path, tag: str) -> None:
    assert load_study(write_study(tmp_path, train={**TRAIN, "pretrained": tag}))


def test_a_study_is_refused_without_loading_torch(tmp_path: Path) -> None:
    path = write_study(tmp_path, train={**TRAIN, "pretrained": "nosuch.pt"})
    code = (
        "import sys; from pathlib import Path\n"
        "from harness.study.study import load_study\n"
        "try: load_study(Path(sys.argv[1]))\n"
        "except Exception as error: print(error, 'torch' in sys.modules, 'open_clip' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "nosuch.pt" in done.stdout
    assert done.stdout.split()[-2:] == ["False", "False"]


# -- search ---------------------------------------------------------------------------------------


def search(**space: Any) -> dict[str, Any]:
    return {"trials": 3, "space": space}


def test_a_list_of_values_in_a_search_says_how_choices_are_written(tmp_path: Path) -> None:
    found = mistakes(tmp_path, methods=["uit"], search=search(margin=[0.1, 0.2]))
    assert len(found) == 1
    assert "search.space.margin: a list of values is written {choices: [0.1, 0.2]}" in found[0]


def test_a_search_does_not_switch_off_what_makes_a_variant(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, methods=["uit-no-tir"], search=search(tir={"choices": [True, False]}))
    assert mistake.endswith("search.space.tir: tir is what makes uit-no-tir, so it is not searched")


def test_a_search_over_weights_that_cannot_exist_is_refused(tmp_path: Path) -> None:
    space = search(pretrained={"choices": ["none", "nosuch.pt"]})
    (mistake,) = mistakes(tmp_path, methods=["uit"], search=space)
    assert "search.space.pretrained: 'nosuch.pt' is neither" in mistake


def test_where_a_setting_was_written_is_known_for_messages(tmp_path: Path) -> None:
    methods = ["uit", {"name": "slow", "base": "uit", "pretrained": "rendered"}]
    path = write_study(tmp_path, methods=methods)
    study = load_study(path, ["train.epochs=3"])
    assert study.where("uit", "pretrained") == f"{path}:13: train.pretrained"
    assert study.where("slow", "pretrained") == f"{path}:6: methods.1.pretrained"
    assert study.where("uit", "epochs") == "--set: train.epochs"


def test_a_rate_for_weights_that_no_method_has_is_refused_with_the_groups_there_are(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, train={**TRAIN, "group_lr": {"clasifier": 1e-3}})
    assert "train.group_lr.clasifier: no such group of weights (known: classifier, " in mistake
    entry = {"name": "fast", "base": "uit", "group_lr": {"token_selection": 1e-3}}
    (mistake,) = mistakes(tmp_path, methods=[entry])
    assert "methods.0.group_lr.token_selection: no such group of weights" in mistake
    study = load_study(write_study(tmp_path, train={**TRAIN, "group_lr": {"classifier": 1e-3}}))
    assert study.plan("uit").train.group_lr == {"classifier": 1e-3}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("epochs", "train.epochs"), ("mask_ratio", "train.mask_ratio"), ("transfer", "evaluate.transfer")],
)
def test_a_key_outside_its_section_is_answered_with_the_section(
    tmp_path: Path, typed: str, meant: str
) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(write_study(tmp_path), [f"{typed}=2"])
    assert caught.value.lines == [f"--set: {typed}: unknown key: did you mean {meant!r}?"]


def test_a_misspelt_path_is_answered_with_the_file_beside_it(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    wrong = path.with_name(f"{path.stem}s.yaml")
    with pytest.raises(StudyError, match="no such file: did you mean") as caught:
        load_study(wrong)
    assert caught.value.lines == [f"{wrong}: no such file: did you mean {str(path)!r}?"]
