"""Names are looked up with help, plugins come in whole or not at all, and listing loads no torch."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness import registry
from harness.registry import PluginError, UnknownNameError

VARIANTS = (
    "uit",
    "uit-no-tir",
    "uit-no-cmt",
    "uit-no-aug",
    "uit-mlm",
    "baseline",
    "irra",
    "clip-itc",
    "clip-zero-shot",
)


@pytest.fixture(autouse=True)
def _restored() -> object:
    """What a test registers is gone after it."""
    registry.methods(), registry.datasets()
    shelves = (registry._methods, registry._datasets, registry._plugins)
    before = [dict(shelf) for shelf in shelves]
    yield
    for shelf, kept in zip(shelves, before, strict=True):
        shelf.clear()
        shelf.update(kept)


def write_plugin(folder: Path, body: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(body))
    return path


def test_the_methods_of_the_ablation_and_all_datasets_are_registered() -> None:
    assert set(VARIANTS) <= set(registry.methods())
    rendered = {"rendered-plaza", "rendered-station", "rendered-campus", "rendered-fine", "rendered-coarse"}
    assert rendered | {"cuhk-pedes", "icfg-pedes", "rstpreid"} <= set(registry.datasets())


def test_an_unknown_name_is_answered_with_the_nearest_known_one() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown method 'uti': did you mean 'uit'\? known: uit, "
    ) as found:
        registry.method("uti")
    assert found.value.nearest == "uit"
    with pytest.raises(UnknownNameError, match="did you mean 'cuhk-pedes'"):
        registry.dataset("CUHK_PEDES")


def test_a_name_like_nothing_known_gets_the_list_alone() -> None:
    with pytest.raises(UnknownNameError) as found:
        registry.method("zzzzzzzz")
    assert found.value.nearest is None
    assert "did you mean" not in str(found.value)


def test_a_variant_has_only_the_settings_that_can_change_its_numbers() -> None:
    assert "mask_ratio" in registry.method("uit").parameters()
    assert "mask_ratio" not in registry.method("uit-no-tir").parameters()
    assert "mask_ratio" not in registry.method("uit").parameters({"tir": False})
    assert registry.method("clip-zero-shot").parameters() == frozenset()


def test_a_plugin_registers_a_method_and_is_imported_once(tmp_path: Path) -> None:
    path = write_plugin(
        tmp_path,
        """
        from harness.registry import register_method

        @register_method("mine", summary="a method of mine")
        class Mine: ...
        """,
    )
    registry.load_plugin(path)
    registry.load_plugin(path)
    entry = registry.method("mine")
    assert entry.plugin == path
    assert entry.load().__name__ == "Mine"
    assert path in registry.plugins()


def test_a_plugin_finds_a_module_that_lies_beside_it_wherever_the_program_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_the_plugin.py").write_text("NAME = 'with-a-neighbour'\n")
    body = "from harness.registry import register_method\nfrom beside_the_plugin import NAME\n"
    body += "register_method(NAME, summary='s', build='methods.uit:ZeroShot')\n"
    registry.load_plugin(write_plugin(tmp_path, body))
    assert registry.method("with-a-neighbour").name == "with-a-neighbour"


def test_a_plugin_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write_plugin(
        tmp_path,
        """
        from harness.registry import register_method

        register_method("half", summary="registered before the failure", build=dict)
        raise RuntimeError("no more")
        """,
    )
    with pytest.raises(PluginError, match=r"mine\.py:5: RuntimeError: no more"):
        registry.load_plugin(path)
    assert "half" not in registry.methods()


def test_a_plugin_cannot_take_a_name_of_ours(tmp_path: Path) -> None:
    body = "from harness.registry import register_method\nregister_method('uit', summary='x', build=dict)\n"
    with pytest.raises(PluginError, match="already registered by this project"):
        registry.load_plugin(write_plugin(tmp_path, body))


def test_a_missing_plugin_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"absent\.py: no such plugin file"):
        registry.load_plugin(tmp_path / "absent.py")


def test_listing_and_validating_load_neither_torch_nor_pandas_nor_optuna() -> None:
    code = """
import sys
from pathlib import Path
from harness import registry
from harness.study.study import load_study
registry.methods(), registry.datasets()
load_study(Path("studies/ablation.yaml")).cells()
print([name for name in ("torch", "pandas", "optuna", "open_clip", "scipy") if name in sys.modules])
"""
    root = Path(registry.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


def test_a_package_s_plugin_is_found_without_an_option_and_named_when_it_is_broken(tmp_path: Path) -> None:
    package = tmp_path / "site"
    information = package / "their_package-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[tipr_harness.plugins]\ntheirs = their_methods\n")
    module = package / "their_methods.py"
    module.write_text(
        "from harness.registry import register_method\n"
        "register_method('theirs', summary='of another package', build=dict)\n"
    )
    code = (
        "from harness import registry\n"
        "try:\n"
        "    entry = registry.method('theirs')\n"
        "    print(entry.plugin, *registry.plugins())\n"
        "except registry.PluginError as error:\n"
        "    print(error)\n"
    )

    def printed(code: str = code) -> str:
        environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{Path(__file__).parents[2]}"}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert printed().split() == [str(module), str(module)]
    worker = (
        f"import pathlib\nfrom harness import registry\nregistry.load_plugin(pathlib.Path({str(module)!r}))\n"
    )
    assert printed(worker + code).split() == [str(module), str(module)]
    module.write_text("\nraise RuntimeError('broken')\n")
    assert "plugin 'theirs' of their-package (their_methods)" in printed()
    assert "their_methods.py:2: RuntimeError: broken" in printed()
    module.unlink()
    assert "plugin 'theirs' of their-package (their_methods): no such module" in printed()
