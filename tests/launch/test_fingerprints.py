"""The code's fingerprint changes with what is executed, room by room, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.launch import fingerprints
from harness.launch.fingerprints import code_fingerprint, source_meaning, weights_fingerprint

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
    """A copy of two rooms to change."""
    for name in ("harness/train/loop.py", "harness/evaluate/metrics.py", "methods/uit.py", "methods/cost.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(SOURCE)
    monkeypatch.setattr(fingerprints, "ROOT", tmp_path)
    return tmp_path


def fresh_fingerprint(plugin: Path | None = None) -> dict[str, str]:
    code_fingerprint.cache_clear()
    try:
        return code_fingerprint(plugin)
    finally:
        code_fingerprint.cache_clear()


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


def test_a_change_is_told_by_room(project: Path) -> None:
    before = fresh_fingerprint()
    (project / "methods" / "uit.py").write_text(SOURCE.replace("0.5", "0.7"))
    after = fresh_fingerprint()
    assert {room for room in before if before[room] != after[room]} == {"methods"}


def test_code_that_no_number_passes_through_does_not_count(project: Path) -> None:
    before = fresh_fingerprint()
    (project / "methods" / "cost.py").write_text("changed = True")
    (project / "harness" / "registry.py").write_text("changed = True")
    assert fresh_fingerprint() == before


def test_a_plugin_counts_for_the_cells_that_use_it(project: Path) -> None:
    plugin = project / "mine.py"
    plugin.write_text(SOURCE)
    before = fresh_fingerprint(plugin)
    plugin.write_text(SOURCE.replace("b=2", "b=5"))
    assert fresh_fingerprint(plugin) != before
    assert "plugin (method)" not in fresh_fingerprint()


def test_weights_count_by_content_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"weights")
    (tmp_path / "b.pt").write_bytes(b"weights")
    (tmp_path / "c.pt").write_bytes(b"others!")
    first, second, third = (weights_fingerprint("tiny", str(tmp_path / f"{name}.pt")) for name in "abc")
    assert first == second != third
    assert weights_fingerprint("tiny", "none") == ""
