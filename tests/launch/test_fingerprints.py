"""The code's fingerprint changes with what is executed, component by component, and with nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from harness.launch import fingerprints
from harness.launch.fingerprints import (
    COMPONENTS,
    NOT_COUNTED,
    code_fingerprint,
    source_meaning,
    weights_fingerprint,
)
from harness.launch.plugin_files import keep_plugins
from harness.registry.plugin_imports import plugin_files

SOURCE = '''
"""Module."""
RATE: float = 0.5
"""What it is."""


def loss(a, b=2):
    """Doc."""
    # why
    return (a - b) ** 2 if a else f"{b!r}"
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages of a few files to change."""
    for name in ("harness/train/loop.py", "harness/evaluate/metrics.py", "methods/uit.py", "methods/cost.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(SOURCE)
    monkeypatch.setattr(fingerprints, "package_folder", lambda package: tmp_path / package)
    return tmp_path


def fresh_fingerprint(plugin: Path | None = None) -> dict[str, str]:
    fingerprints._code_fingerprint.cache_clear()
    try:
        return code_fingerprint(plugin)
    finally:
        fingerprints._code_fingerprint.cache_clear()


def test_comments_docstrings_and_layout_mean_nothing() -> None:
    plain = "RATE: float = .5\ndef loss(a, b=2):\n    return ((a - b)**2) if a else f'{b!r}'\n"
    assert source_meaning(SOURCE) == source_meaning(plain)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.6"),
        ("b=2", "b=3"),
        ("(a - b)", "(b - a)"),
        ("** 2", "** 3"),
        ("!r", "!s"),
        ("if a", "if b"),
    ],
)
def test_any_change_of_what_is_executed_is_seen(old: str, new: str) -> None:
    assert old in SOURCE
    assert source_meaning(SOURCE) != source_meaning(SOURCE.replace(old, new))


def test_text_that_is_used_is_no_docstring() -> None:
    assert source_meaning('x = "a"') != source_meaning('x = "b"')
    assert source_meaning('f("a")') != source_meaning('f("b")')


def test_the_meaning_is_the_same_whatever_the_python() -> None:
    code = (
        f"from harness.launch.fingerprints import source_meaning; print(source_meaning({SOURCE!r}), end='')"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout == source_meaning(SOURCE)
    # No field that only some versions of Python have.
    assert "type_params" not in done.stdout
    assert "=None" not in done.stdout


def test_a_change_is_named_by_its_component(project: Path) -> None:
    before = fresh_fingerprint()
    (project / "methods" / "uit.py").write_text(SOURCE.replace("0.5", "0.7"))
    after = fresh_fingerprint()
    assert {name for name in before if before[name] != after[name]} == {"methods"}


def test_a_fingerprint_from_the_cache_is_the_one_that_the_sources_give(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPR_CACHE", str(tmp_path / "cache"))
    made = fresh_fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(fingerprints, "source_meaning", lambda text: pytest.fail("read again"))
        assert fresh_fingerprint() == made
    for cached in (tmp_path / "cache" / "code").iterdir():
        digest, _, checksum = cached.read_text().partition(" ")
        cached.write_text(f"{digest[::-1]} {checksum}")
    assert fresh_fingerprint() == made


def test_the_ends_of_lines_mean_nothing(project: Path) -> None:
    before = fresh_fingerprint()
    (project / "methods" / "uit.py").write_bytes(SOURCE.replace("\n", "\r\n").encode())
    assert fresh_fingerprint() == before


def test_code_that_no_number_passes_through_does_not_count(project: Path) -> None:
    before = fresh_fingerprint()
    (project / "methods" / "cost.py").write_text("changed = True")
    (project / "harness" / "registry").mkdir()
    (project / "harness" / "registry" / "errors.py").write_text("changed = True")
    assert fresh_fingerprint() == before


def test_a_plugin_counts_for_the_cells_that_use_it(project: Path) -> None:
    plugin = project / "mine.py"
    plugin.write_text(SOURCE)
    before = fresh_fingerprint(plugin)
    plugin.write_text(SOURCE.replace("b=2", "b=5"))
    assert fresh_fingerprint(plugin) != before
    assert "plugin (method)" not in fresh_fingerprint()


@pytest.mark.parametrize(
    "style", ["import helper", "from helper import RATE", "def later():\n    import helper"]
)
def test_a_module_that_a_plugin_imports_counts_with_it(project: Path, style: str) -> None:
    plugin, helper = project / "mine.py", project / "helper.py"
    plugin.write_text(style)
    helper.write_text("import deeper\nRATE = 1")
    (project / "deeper.py").write_text("DEPTH = 1")
    before = fresh_fingerprint(plugin)
    helper.write_text("import deeper\nRATE = 2")
    changed = fresh_fingerprint(plugin)
    assert changed != before
    (project / "deeper.py").write_text("DEPTH = 2")
    assert fresh_fingerprint(plugin) != changed


def test_a_plugin_brings_in_packages_and_relative_imports_of_its_own_and_nothing_installed(
    tmp_path: Path,
) -> None:
    package = tmp_path / "parts"
    package.mkdir()
    (tmp_path / "mine.py").write_text("import json\nimport torch\nfrom parts.loss import hinge\n")
    (package / "__init__.py").write_text("")
    (package / "loss.py").write_text("from . import margins\nfrom methods.base import Method\n")
    (package / "margins.py").write_text("MARGIN = 0.2\n")
    (package / "unused.py").write_text("")
    found = [path.relative_to(tmp_path).as_posix() for path in plugin_files(tmp_path / "mine.py")]
    assert found == ["mine.py", "parts/__init__.py", "parts/loss.py", "parts/margins.py"]


def test_a_runs_folder_keeps_the_sources_of_its_plugins_and_the_helpers_they_import(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("RATE = 1\n")
    keep_plugins(tmp_path / "run", [tmp_path / "mine.py"])
    (tmp_path / "helper.py").write_text("RATE = 2\n")
    keep_plugins(tmp_path / "run", [tmp_path / "mine.py"])
    kept = sorted((tmp_path / "run" / "plugins").glob("mine.*/helper.py"))
    assert {path.read_text() for path in kept} == {"RATE = 1\n", "RATE = 2\n"}
    assert all((path.parent / "mine.py").is_file() for path in kept)


def test_the_identity_is_made_of_the_methods_that_were_imported(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    shutil.copytree(root / "methods", tmp_path / "methods")
    with (tmp_path / "methods" / "losses.py").open("a") as file:
        file.write("\n\ndef another() -> int:\n    return 1\n")
    program = (
        "import json; from harness.launch.fingerprints import code_fingerprint;"
        "print(json.dumps(code_fingerprint()))"
    )
    found = []
    for first in (root, tmp_path):
        path = {**os.environ, "PYTHONPATH": f"{first}{os.pathsep}{root}"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path.parent,
            env=path,
        )
        found.append(json.loads(done.stdout))
    assert {name for name in found[0] if found[0][name] != found[1][name]} == {"methods"}


def passed_through(folder: Path) -> set[str]:
    """Our modules of which a line inside a function runs while one small cell is trained and evaluated."""
    program = """
import json, sys, threading
seen = set()

def note(frame, event, arg):
    if event == "call" and frame.f_code.co_name != "<module>":
        seen.add(frame.f_code.co_filename)
    return None

sys.setprofile(note)
threading.setprofile(note)
import importlib, pathlib
sys.path.insert(0, TESTS)
from factories import write_cuhk
from study_files import write_study
from harness.launch.cell import run_cell
from harness.launch.context import Context
from harness.machine.environment import Machine
from harness.store.runs import RunStore
from harness.study.study import load_study
folder = pathlib.Path(FOLDER)
write_cuhk(folder)
train = {"backbone": "tiny", "pretrained": "none", "image_size": [96, 32], "epochs": 1, "batch_size": 8,
         "precision": "bf16"}
for method in ("uit", "uit-mlm", "clip-itc"):
    study = load_study(write_study(folder, methods=[method], datasets=["cuhk-pedes"], seeds=1, train=train))
    context = Context(Machine(data_root=folder, device="cpu"))
    assert run_cell(study.cells()[0], RunStore(folder / "out"), context).state == "done"
sys.setprofile(None)
print(json.dumps(sorted(seen)))
"""
    root = Path(__file__).parents[2]
    program = program.replace("TESTS", repr(str(root / "tests"))).replace("FOLDER", repr(str(folder)))
    environment = {**os.environ, "PYTHONPATH": str(root), "HARNESS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    names = {Path(name) for name in json.loads(done.stdout)}
    ours = {name.relative_to(root).as_posix() for name in names if name.is_relative_to(root)}
    return {name for name in ours if name.startswith(("harness/", "methods/"))}


def test_every_module_that_a_run_passes_through_is_in_the_identity_or_left_out_for_a_reason(
    tmp_path: Path,
) -> None:
    root = Path(__file__).parents[2]
    counted = {
        path.relative_to(root).as_posix()
        for name in COMPONENTS
        for path in fingerprints.component_files(name)
    }
    passed = passed_through(tmp_path)
    assert {"harness/launch/cell.py", "harness/train/loop.py", "methods/uit.py"} <= passed
    reasoned = {name for name in passed if any(fnmatchcase(name, pattern) for pattern in NOT_COUNTED)}
    assert passed - counted - reasoned == set()
    assert all(NOT_COUNTED.values())


@pytest.mark.parametrize(
    "name",
    [
        *("harness/train/loop.py", "harness/train/optimiser.py", "harness/train/checkpoint.py"),
        *("harness/launch/cell.py", "harness/launch/context.py", "harness/evaluate/metrics.py"),
        *("harness/data/sampler.py", "harness/data/augment.py", "harness/machine/devices.py"),
        *("methods/uit.py", "methods/losses.py", "methods/configs/tiny.json"),
    ],
)
def test_code_that_can_change_a_number_is_in_the_identity(name: str) -> None:
    root = Path(__file__).parents[2]
    counted = [path for component in COMPONENTS for path in fingerprints.component_files(component)]
    assert root / name in counted


def test_weights_count_by_content_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"weights")
    (tmp_path / "b.pt").write_bytes(b"weights")
    (tmp_path / "c.pt").write_bytes(b"others!")
    first, second, third = (weights_fingerprint("tiny", str(tmp_path / f"{name}.pt")) for name in "abc")
    assert first == second != third
    assert weights_fingerprint("tiny", "none") == ""
