"""Numbers that are counted once per version of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.launch import count_cache
from harness.launch.count_cache import cached_count


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIPR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counter:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def count(self) -> int:
        self.asked += 1
        return self.asked


def test_a_count_is_made_once_for_the_same_question_and_code() -> None:
    counter = Counter()
    assert [cached_count(counter.count, ["a", 1]) for _ in range(2)] == [1, 1]
    assert cached_count(counter.count, ["b", 1]) == 2


def test_other_code_or_versions_are_counted_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter, code = Counter(), tmp_path / "code.py"
    code.write_text("one = 1\n")
    assert cached_count(counter.count, ["a"], code=[code]) == 1
    code.write_text("one = 2\n")
    assert cached_count(counter.count, ["a"], code=[code]) == 2
    monkeypatch.setattr(count_cache, "code_fingerprint", lambda *_: {"methods": "others"})
    assert cached_count(counter.count, ["a"], code=[code]) == 3
    monkeypatch.setattr(count_cache.environment, "versions", lambda: {"torch": "of another day"})
    assert cached_count(counter.count, ["a"], code=[code]) == 4


def test_a_damaged_count_is_counted_again(cache: Path) -> None:
    counter = Counter()
    cached_count(counter.count, ["a"])
    (file,) = (cache / "counts").iterdir()
    file.write_text("{")
    assert cached_count(counter.count, ["a"]) == 2
    assert cached_count(counter.count, ["a"]) == 2
