"""Every plugin whose code a cell depends on is in its identity and is recorded with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from light_runs import light_machine, light_study, run_light
from own_registry import without_plugins

from harness import registry
from harness.launch import fingerprints
from harness.launch.context import Context
from harness.launch.fingerprints import code_fingerprint
from harness.launch.kept_plugins import register_plugins_of
from harness.launch.plugin_files import plugins_behind
from harness.machine.errors import StudyError
from harness.store.cell_run import CellRun

DATASET = """
from dataclasses import replace
from harness.registry import dataset, register_dataset

@register_dataset("{name}", summary="people of a lab")
def load(root):
    return replace(dataset("{like}").loader()(root), name="{name}", official=False)
"""
METHOD = "from harness.registry import register_method\nregister_method({name!r}, summary='s', build=dict)\n"


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    without_plugins(monkeypatch)


def loaded(path: Path, source: str) -> Path:
    path.write_text(source)
    registry.load_plugin(path)
    return path


def fresh(method: str = "uit", dataset: str = "rendered-plaza") -> dict[str, str]:
    fingerprints._code_fingerprint.cache_clear()
    return code_fingerprint(registry.method(method).plugin, registry.dataset(dataset).plugin)


def changed_by(path: Path, **asked: str) -> set[str]:
    """The components that change when a line is added to a plugin."""
    before = fresh(**asked)
    path.write_text(path.read_text() + "\nMORE = 1\n")
    after = fresh(**asked)
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def test_every_plugin_of_a_joint_dataset_is_in_the_identity(tmp_path: Path) -> None:
    files = {
        name: loaded(tmp_path / f"{name}.py", DATASET.format(name=name, like="cuhk-pedes"))
        for name in ("one", "two", "other")
    }
    joint = {"dataset": "one+rendered-plaza+two"}
    assert changed_by(files["one"], **joint) == {"plugin (dataset)"}
    assert changed_by(files["two"], **joint) == {"plugin (dataset two.py)"}
    assert changed_by(files["other"], **joint) == set()
    assert plugins_behind([], ["one+two", "other"]) == list(files.values())


def test_a_plugin_that_registers_nothing_and_runs_something_is_in_every_identity(tmp_path: Path) -> None:
    hook = loaded(tmp_path / "hook.py", "import methods.losses\nmethods.losses.ADDED_BY_A_PLUGIN = 1\n")
    empty = loaded(tmp_path / "empty.py", '"""Nothing."""\n')
    assert changed_by(hook) == {"plugin (hook.py)"}
    assert plugins_behind(["uit"], ["rendered-plaza"]) == [hook]
    assert empty in registry.plugins()


def test_a_plugin_whose_method_another_ones_code_names_is_in_the_identity_of_both(tmp_path: Path) -> None:
    base = loaded(tmp_path / "base.py", METHOD.format(name="base-of-mine"))
    source = METHOD.format(name="mine") + "build = registry.method('base-of-mine').build\n"
    mine = loaded(tmp_path / "mine.py", "from harness import registry\n" + source)
    assert changed_by(base, method="mine") == {"plugin (base.py)"}
    assert changed_by(mine, method="base-of-mine") == set()
    assert plugins_behind(["mine"], []) == [base, mine]


def test_plugins_of_one_name_in_two_folders_both_count(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
    first, second = (loaded(tmp_path / each / "hook.py", f"NAME = {each!r}\n") for each in "ab")
    before = fresh()
    assert {name for name in before if "hook" in name} == {"plugin (hook.py)", "plugin (hook.py, 2)"}
    assert changed_by(first)
    assert changed_by(second)


def joint_run(data: Path, folder: Path) -> CellRun:
    """A finished cell on the union of two plugins' datasets, evaluated on a third plugin's."""
    for name, like in (("one", "cuhk-pedes"), ("two", "rstpreid"), ("third", "rstpreid")):
        loaded(folder / f"{name}.py", DATASET.format(name=name, like=like))
    asked = {"datasets": [["one", "two"]], "seeds": 1, "evaluate": {"targets": ["third"]}}
    study = light_study(folder, **asked)
    (run,) = run_light(study, folder / "out", Context(light_machine(data))).cells()
    assert run.status.state == "done"
    return run


def forget_plugins() -> None:
    """As in a new process, in which no plugin was given."""
    for shelf in (registry._methods, registry._datasets):
        for name in [name for name, entry in shelf.items() if entry.plugin is not None]:
            del shelf[name]
    registry._plugins.clear()


def test_a_cell_on_a_union_of_plugins_is_run_again_with_the_plugins_given_or_as_its_run_kept_them(
    two_datasets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = joint_run(two_datasets, tmp_path)
    code = run.parts["code"]
    assert {name for name in code if "plugin" in name} == {
        *("plugin (method)", "plugin (dataset)", "plugin (dataset two.py)")
    }
    names = [Path(file).name for file in run.recorded["plugins"]]
    assert names == ["one.py", "two.py", "third.py", "light_method.py"]
    register_plugins_of(run)
    assert capsys.readouterr().err == ""  # all were given
    forget_plugins()
    register_plugins_of(run)
    assert {"one", "two", "third"} <= registry.datasets().keys()
    said = capsys.readouterr().err
    assert said.count("dataset 'one+two': by ") == 2
    assert "target 'third': by " in said
    assert Context(light_machine(two_datasets)).parts(run.cell) == run.parts


def test_of_the_plugins_of_a_cell_only_those_that_nobody_gave_are_taken_from_its_run(
    two_datasets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = joint_run(two_datasets, tmp_path)
    forget_plugins()
    given = [tmp_path / "one.py", tmp_path / "two.py", Path(__file__).parents[1] / "light_method.py"]
    for file in given:
        registry.load_plugin(file)
    register_plugins_of(run)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("target 'third': by ")
    assert "third.py" in said
    assert set(given) <= set(registry.plugins())


def test_a_kept_copy_of_a_target_s_plugin_that_was_altered_is_not_run(
    two_datasets: Path, tmp_path: Path
) -> None:
    run = joint_run(two_datasets, tmp_path)
    (kept,) = (tmp_path / "out" / "plugins").rglob("third.py")
    kept.write_text(f"open({str(tmp_path / 'trap')!r}, 'w').close()\n" + kept.read_text())
    forget_plugins()
    with pytest.raises(StudyError, match=r"its target 'third' came from a plugin; give it with --plugin"):
        register_plugins_of(run)
    assert not (tmp_path / "trap").exists()


def test_a_cell_that_a_plugin_without_methods_took_part_in_asks_for_it(
    two_datasets: Path, tmp_path: Path
) -> None:
    loaded(tmp_path / "hook.py", "NOTHING = None\n")
    study = light_study(tmp_path, datasets=["cuhk-pedes"], seeds=1)
    (run,) = run_light(study, tmp_path / "out", Context(light_machine(two_datasets))).cells()
    assert "plugin (hook.py)" in run.parts["code"]
    forget_plugins()
    register_plugins_of(run)
    assert "hook.py" in {file.name for file in registry.plugins()}
    forget_plugins()
    run.describe(host="another machine")
    registry.load_plugin(next(file for file in Path(__file__).parents[1].glob("light_method.py")))
    with pytest.raises(StudyError, match=r"needs the plugin hook\.py, which takes part; give it with"):
        register_plugins_of(run)
    assert json.loads((run.directory / "cell.json").read_text())["recorded"]["plugins"][0].endswith("hook.py")
