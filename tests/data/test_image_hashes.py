"""What an image file contains is known without reading it again, until the file was touched."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from harness.data import image_hashes
from harness.data.image_hashes import UNREADABLE, image_digests

LATER = 10 * 10**9


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a clock that is well past the writing of the pictures."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    now = time.time_ns
    monkeypatch.setattr(image_hashes.time, "time_ns", lambda: now() + LATER)
    return tmp_path / "cache"


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "data" / f"{name}.jpg" for name in "abc"]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(path.stem.encode() * 100)
    return paths


def digests(images: list[Path]) -> tuple[bytes, ...]:
    """As a new process sees them."""
    image_hashes._indexes.clear()
    return image_digests(images, images[0].parent)


def expected(images: list[Path]) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(path.read_bytes()).digest() for path in images)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read from now on."""
    read: list[Path] = []
    was = image_hashes.digest_of
    monkeypatch.setattr(image_hashes, "digest_of", lambda path: (read.append(path), was(path))[1])
    return read


def test_a_file_that_was_not_touched_is_not_read_again(
    images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert digests(images) == expected(images)
    read = counting(monkeypatch)
    assert digests(images) == expected(images)
    assert read == []


def test_a_file_replaced_at_the_same_size_and_time_is_read_again_and_no_other(
    images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests(images)
    was = images[1].stat()
    time.sleep(0.05)  # past a tick of the file system's clock
    images[1].write_bytes(b"x" * was.st_size)
    os.utime(images[1], ns=(was.st_atime_ns, was.st_mtime_ns))
    read = counting(monkeypatch)
    assert digests(images) == expected(images)
    assert read == [images[1]]


def test_what_was_written_a_moment_ago_is_read_again(
    images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = max(path.stat().st_ctime_ns for path in images)
    monkeypatch.setattr(image_hashes.time, "time_ns", lambda: newest + 1)
    digests(images)
    read = counting(monkeypatch)
    digests(images)
    assert sorted(read) == images


@pytest.mark.parametrize("damage", [b"", b"[]\n", b'{"files": {"x": 1}}\n', b"\xff\x00"])
def test_a_damaged_index_is_not_believed(images: list[Path], cache: Path, damage: bytes) -> None:
    digests(images)
    (index,) = (cache / "contents").iterdir()
    index.write_bytes(damage)
    assert digests(images) == expected(images)


def test_an_edited_index_is_not_believed(images: list[Path], cache: Path) -> None:
    first, *_ = digests(images)
    (index,) = (cache / "contents").iterdir()
    index.write_text(index.read_text().replace(first.hex(), "0" * 64))
    assert digests(images) == expected(images)


def test_without_a_folder_for_the_index_the_files_are_read_each_time(images: list[Path], cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    assert digests(images) == expected(images)


def test_a_file_that_cannot_be_read_is_told_and_read_once_it_can(images: list[Path]) -> None:
    images[2].unlink()
    assert digests(images) == (*expected(images[:2]), UNREADABLE)
    images[2].write_bytes(b"back")
    assert digests(images) == expected(images)


def test_a_part_of_a_dataset_keeps_what_is_known_of_the_rest(
    images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests(images[:1])
    digests(images[1:])
    read = counting(monkeypatch)
    digests(images)
    assert read == []


def test_progress_counts_the_files_that_are_read(images: list[Path]) -> None:
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        image_hashes._indexes.clear()
        image_digests(images, images[0].parent, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
