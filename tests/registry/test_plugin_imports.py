"""A plugin's modules are those that are recorded as its own, wherever the program is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.registry.plugin_imports import plugin_files

ROOT = Path(__file__).parents[2]
PLUGIN = (
    "from harness.registry import register_method\n{imports}\nregister_method('mine', summary={summary})\n"
)
EAGER = PLUGIN.format(imports="import margins", summary="margins.NAME, build=dict")
LATE = PLUGIN.format(
    imports="class Mine:\n    def __init__(self):\n        import margins\n        self.name = margins.NAME",
    summary="'s', build=Mine",
)
SHOW = """
import sys
from pathlib import Path
from harness import registry
{before}
try:
    registry.load_plugins(map(Path, sys.argv[1:]))
    entry = registry.method("mine")
    print(entry.summary if entry.summary != "s" else entry.build().name)
except registry.PluginError as error:
    print(error)
    print("mine" in registry.methods())
"""


def printed(start: Path, *plugins: Path, before: str = "") -> str:
    """What a process prints that starts in a folder, whose files come first on its import path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SHOW.format(before=before), *map(str, plugins)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=start, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def written(folder: Path, source: str = EAGER, name: str = "mine.py", helper: str = "own") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "margins.py").write_text(f"NAME = {helper!r}\n")
    (folder / name).write_text(source)
    return folder / name


@pytest.mark.parametrize("source", [EAGER, LATE])
def test_a_plugin_gets_the_module_beside_it_where_the_working_folder_has_one_of_that_name(
    tmp_path: Path, source: str
) -> None:
    plugin = written(tmp_path / "theirs", source)
    (tmp_path / "margins.py").write_text("NAME = 'of the working folder'\n")
    assert printed(tmp_path, plugin) == "own"
    assert plugin_files(plugin) == [plugin, plugin.with_name("margins.py")]


@pytest.mark.parametrize("source", [EAGER, LATE])
def test_a_kept_plugin_gets_the_modules_kept_with_it_whatever_the_working_folder_has(
    tmp_path: Path, source: str
) -> None:
    top = tmp_path / "run" / "plugins" / "mine.0123456789ab"
    written(top)
    (top / "mine.py").unlink()
    (top / "methods_of_mine").mkdir()
    plugin = top / "methods_of_mine" / "mine.py"
    plugin.write_text(source)
    (tmp_path / "margins.py").write_text("NAME = 'of the working folder'\n")
    assert printed(tmp_path, plugin) == "own"
    assert plugin_files(plugin) == [plugin, top / "margins.py"]


def test_a_plugin_whose_module_was_imported_from_another_file_is_refused_with_both_files(
    tmp_path: Path,
) -> None:
    plugin = written(tmp_path / "theirs", LATE)
    other = tmp_path / "margins.py"
    other.write_text("NAME = 'of the working folder'\n")
    said = printed(tmp_path, plugin, before="import margins").splitlines()
    wanted = (
        f"{plugin}: its module 'margins' is imported from {other}, which was imported before, "
        f"and recorded as {plugin.with_name('margins.py')}, which has another content; rename one of the two"
    )
    assert said == [wanted, "False"]


@pytest.mark.parametrize("source", [EAGER, LATE])
def test_two_plugins_with_unlike_modules_of_one_name_are_refused_and_with_like_ones_taken(
    tmp_path: Path, source: str
) -> None:
    one = written(tmp_path / "one", source.replace("'mine'", "'first'"), "first.py", "of one")
    two = written(tmp_path / "two", source, helper="of two")
    said = printed(tmp_path, one, two).splitlines()
    assert said[0].startswith(f"{two}: its module 'margins' is imported from {one.with_name('margins.py')}, ")
    assert f"recorded as {two.with_name('margins.py')}, which has another content" in said[0]
    assert said[1:] == ["False"]
    (two.with_name("margins.py")).write_text("NAME = 'of one'\n")
    assert printed(tmp_path, one, two) == "of one"


@pytest.mark.parametrize(
    "source",
    [
        "register_method('m', summary='s', build='parts.loss:Mine')",
        "import importlib\nloss = importlib.import_module('parts.loss')",
        "loss = __import__('parts.loss')",
        "from parts import loss",
    ],
)
def test_a_module_that_a_plugin_names_in_a_text_is_one_of_its_files(tmp_path: Path, source: str) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "loss.py").write_text("")
    (tmp_path / "mine.py").write_text(source)
    names = [file.relative_to(tmp_path).as_posix() for file in plugin_files(tmp_path / "mine.py")]
    assert names == ["mine.py", "parts/__init__.py", "parts/loss.py"]


def test_the_modules_of_an_installed_plugins_own_package_are_its_files_and_those_of_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda kind: str(tmp_path / "site"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    for name in ("theirs/__init__", "theirs/entry", "theirs/loss", "theirs/margins", "installed_package"):
        (tmp_path / "site" / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / f"{name}.py").write_text("")
    plugin = tmp_path / "site" / "theirs" / "entry.py"
    plugin.write_text("import installed_package\nfrom . import loss\nfrom theirs.margins import MARGIN\n")
    names = [file.stem for file in plugin_files(plugin)]
    assert names == ["entry", "__init__", "loss", "margins"]
