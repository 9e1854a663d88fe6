import contextlib
import errno
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories import write_cuhk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode, Resize
from torchvision.transforms.functional import pil_to_tensor

from harness.data import decoding
from harness.data.dataset import Dataset
from harness.data.datasets import load_dataset
from harness.data.decoding import BrokenImageError, decode, resized
from harness.data.images import ImageCache, image_cache
from harness.machine.errors import DataError

SIZE = (48, 16)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_cuhk(tmp_path, {"train": 20, "val": 2, "test": 2}, images=3)
    return tmp_path


def opened(root: Path, size: tuple[int, int] = SIZE, **options: Any) -> ImageCache:
    dataset: Dataset = load_dataset("cuhk-pedes", root)
    return cached(dataset, root, size, **options)


def cached(dataset: Dataset, root: Path, size: tuple[int, int] = SIZE, **options: Any) -> ImageCache:
    return image_cache(
        dataset.splits["train"],
        size,
        root / "cache",
        fingerprint=dataset.fingerprint,
        digests=dataset.digests["train"],
        **options,
    )


def expected(paths: tuple[Path, ...], size: tuple[int, int] = SIZE) -> torch.Tensor:
    resize = Resize(size, InterpolationMode.BILINEAR, antialias=True)
    return torch.stack([pil_to_tensor(resize(Image.open(path).convert("RGB"))) for path in paths])


def jpeg(height: int, width: int, mode: str = "RGB", kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 4), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, kind)
    return content.getvalue()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 200), st.integers(1, 120), st.sampled_from([(96, 32), (384, 128), (48, 16), (7, 5)]),
    st.sampled_from(["RGB", "L", "RGBA", "P", "1"]),
)  # fmt: skip
def test_resizing_equals_torchvision_on_the_pil_image_bit_for_bit(
    height: int, width: int, size: tuple[int, int], mode: str
) -> None:
    content = jpeg(height, width, mode)
    image = Image.open(io.BytesIO(content)).convert("RGB")
    theirs = pil_to_tensor(Resize(size, InterpolationMode.BILINEAR, antialias=True)(image))
    assert torch.equal(torch.from_numpy(resized(content, size)), theirs)


@pytest.mark.parametrize("workers", [1, 3])
def test_cached_pixels_are_the_resized_images_row_by_row(tree: Path, workers: int) -> None:
    seen: list[tuple[int, int]] = []
    cache = opened(tree, workers=workers, progress=lambda done, total: seen.append((done, total)))
    assert torch.equal(cache.pixels, expected(cache.split.image_paths))
    assert cache.pixels.shape == (60, 3, *SIZE)
    assert seen == [(32, 60), (60, 60)]


def test_a_second_opening_decodes_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(tree)
    monkeypatch.setattr("harness.data.images.resized", lambda *_, **__: pytest.fail("decoded again"))
    second = opened(tree)
    assert second.sha256 == first.sha256
    assert torch.equal(second.pixels, first.pixels)


def test_each_size_has_a_cache_of_its_own(tree: Path) -> None:
    assert opened(tree).pixels.shape[2:] == SIZE
    assert opened(tree, (24, 8)).pixels.shape[2:] == (24, 8)


def test_a_moved_dataset_uses_the_cache_it_has(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tree)
    for path in (tree / "CUHK-PEDES/imgs").rglob("*.jpg"):
        os.utime(path, (1, 1))
    monkeypatch.setattr("harness.data.images.resized", lambda *_, **__: pytest.fail("decoded again"))
    opened(tree)


def test_an_image_changed_behind_our_back_is_noticed_though_its_size_is_the_same(tree: Path) -> None:
    before = opened(tree)
    image = before.split.image_paths[0]
    size = image.stat().st_size
    content = bytearray(image.read_bytes())
    content[-40] ^= 1
    image.write_bytes(bytes(content))
    assert image.stat().st_size == size
    after = opened(tree)
    assert torch.equal(after.pixels, expected(after.split.image_paths))


def test_an_image_replaced_after_its_dataset_was_read_is_refused_by_name_and_leaves_no_cache(
    tree: Path,
) -> None:
    dataset = load_dataset("cuhk-pedes", tree)
    first, second, *_ = dataset.splits["train"].image_paths
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError) as refusal:
        cached(dataset, tree)
    assert refusal.value.lines == [f"{first}: changed while it was in use; run again"]
    assert not list((tree / "cache/images").glob("*.pixels"))
    assert torch.equal(opened(tree).pixels, expected(dataset.splits["train"].image_paths))


def test_pixels_made_from_other_images_are_never_used(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(tree)
    (path,) = (tree / "cache/images").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "source_sha256": "0" * 64}))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(opened(tree).pixels, expected(opened(tree).split.image_paths))
    assert "made from other images" in caplog.text


@pytest.mark.parametrize("part", ["pixels", "json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "empty"])
def test_a_damaged_cache_is_named_set_aside_and_rebuilt(
    tree: Path, part: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = opened(tree).pixels.clone()
    (path,) = (tree / "cache/images").glob(f"*.{part}")
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "remove":
        path.unlink()
    else:
        flipped = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
        path.write_bytes({"flip": flipped, "cut": content[:middle], "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert torch.equal(opened(tree).pixels, good)
    if (part, damage) != ("json", "remove"):
        assert path.with_suffix(".pixels").name in caplog.text
        assert list(path.parent.glob("*.damaged"))


def test_a_truncated_image_is_named_and_stops_the_build(tree: Path) -> None:
    image = tree / "CUHK-PEDES/imgs/CUHK03/0004_1.jpg"
    image.write_bytes(image.read_bytes()[:-150])
    with pytest.raises(DataError) as caught:
        opened(tree)
    assert caught.value.lines[0].startswith(f"{image}: truncated")
    assert not list((tree / "cache/images").glob("*.pixels"))


def test_skipping_leaves_out_broken_images_and_their_captions_and_counts_them(tree: Path) -> None:
    for name in ("0001_0", "0001_1", "0001_2", "0004_1"):
        (tree / f"CUHK-PEDES/imgs/CUHK03/{name}.jpg").write_text("<html>")
    cache = opened(tree, skip_broken=True)
    assert cache.broken == (0, 1, 2, 10)
    assert cache.split.counts() == {"person_ids": 19, "images": 56, "captions": 112}
    assert torch.equal(cache.pixels, expected(cache.split.image_paths))
    again = opened(tree, skip_broken=True)
    assert again.broken == cache.broken
    with pytest.raises(DataError, match="0004_1"):
        opened(tree)


def test_hundreds_of_broken_images_do_not_make_hundreds_of_lines(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path, {"train": 60, "val": 1, "test": 1})
    for path in (folder / "imgs").rglob("*.jpg"):
        path.write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        opened(tmp_path)
    assert len(caught.value.lines) == 52
    assert "and 70 more broken images" in caught.value.lines[50]


def test_a_decompression_bomb_is_refused_from_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = io.BytesIO()
    Image.new("1", (9000, 9000)).save(bomb, "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(BrokenImageError, match="9000×9000"):
        decode(bomb.getvalue())


def test_formats_that_run_other_programs_are_not_opened() -> None:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "EPS")
    with pytest.raises(BrokenImageError, match="not an image"):
        decode(content.getvalue())


def test_a_pipe_among_the_images_is_not_waited_for(tree: Path) -> None:
    os.mkfifo(tree / "pipe.jpg")
    (fact,) = decoding.examine_images([tree / "pipe.jpg"])
    assert fact.broken == "not a file"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1), st.data())
def test_damage_to_an_image_file_never_ends_in_another_error(kind: int, data: st.DataObject) -> None:
    content = bytearray(jpeg(40, 30, kind=("JPEG", "PNG")[kind]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    with contextlib.suppress(BrokenImageError):
        assert decode(bytes(content[:cut])).mode == "RGB"


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        opened(tree)
    assert [path.suffix for path in (tree / "cache/images").iterdir()] == [".lock"]


def test_a_file_system_that_cannot_reserve_space_is_written_all_the_same(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    cache = opened(tree)
    assert torch.equal(cache.pixels, expected(cache.split.image_paths))


BUILD = """
import sys, time
from pathlib import Path
from harness.data import images
from harness.data.datasets import load_dataset
slow = images.resized
images.resized = lambda *a, **k: (time.sleep(float(sys.argv[2])), slow(*a, **k))[1]
root = Path(sys.argv[1])
dataset = load_dataset("cuhk-pedes", root)
cache = images.image_cache(dataset.splits["train"], (48, 16), root / "cache",
                           fingerprint=dataset.fingerprint, digests=dataset.digests["train"],
                           workers=1, progress=print)
print("built", cache.sha256)
"""


def test_a_build_killed_in_the_middle_leaves_no_cache_and_the_next_one_succeeds(tree: Path) -> None:
    building = subprocess.Popen([sys.executable, "-c", BUILD, str(tree), "0.02"], stdout=subprocess.PIPE)
    folder = tree / "cache/images"
    while not list(folder.glob("*.building")):
        time.sleep(0.01)
        assert building.poll() is None
    time.sleep(0.1)
    building.send_signal(signal.SIGKILL)
    building.wait()
    assert not list(folder.glob("*.pixels"))
    cache = opened(tree)
    assert torch.equal(cache.pixels, expected(cache.split.image_paths))
    assert not list(folder.glob("*.building"))


def test_two_processes_at_once_end_with_one_and_the_same_cache(tree: Path) -> None:
    command = [sys.executable, "-c", BUILD, str(tree), "0.01"]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate()[0] for process in pair]
    assert [text.splitlines()[-1] for text in printed] == [f"built {opened(tree).sha256}"] * 2
    assert sorted("60 60" in text for text in printed) == [False, True]  # only one of them decoded
    assert len(list((tree / "cache/images").glob("*.pixels"))) == 1
