import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from factories import write_icfg, write_rstp
from PIL import Image, ImageDraw

from harness.data import leakage
from harness.data.datasets import load_dataset
from harness.data.leakage import find_leakage, hash_images, transfer_leakage

VIEWS = 14


def scene(seed: int, size: tuple[int, int] = (128, 48)) -> Image.Image:
    """A drawing with enough structure to differ from others."""
    rng = np.random.default_rng(seed)
    height, width = size
    image = Image.new("RGB", (width, height), tuple(rng.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x0, y0 = rng.integers(0, width - 8), rng.integers(0, height - 8)
        x1, y1 = x0 + rng.integers(4, width // 2 + 4), y0 + rng.integers(4, height // 2)
        pen.ellipse([int(x0), int(y0), int(x1), int(y1)], fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def saved(folder: Path, **images: Image.Image) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    return sorted(folder.glob("*.png"))


def report(left: list[Path], right: list[Path], root: Path) -> leakage.LeakageReport:
    return find_leakage(hash_images(left, root), hash_images(right, root), "left", "right")


def test_a_copied_file_is_found_whatever_its_name(tmp_path: Path) -> None:
    left = saved(tmp_path / "l", **{f"a{n}": scene(n) for n in range(VIEWS)})
    (tmp_path / "r").mkdir()
    shutil.copy(left[3], tmp_path / "r" / "other.png")
    right = saved(tmp_path / "r", **{f"b{n}": scene(100 + n) for n in range(VIEWS)})
    found = report(left, right, tmp_path)
    assert (found.exact_files, found.exact_pixels, found.near) == (1, 0, 0)
    assert [(pair.left, pair.right) for pair in found.examples] == [(f"l/{left[3].name}", "r/other.png")]


def test_the_same_pixels_in_another_file_are_found(tmp_path: Path) -> None:
    left = saved(tmp_path / "l", a=scene(1))
    scene(1).save(tmp_path / "b.bmp")
    found = report(left, [tmp_path / "b.bmp"], tmp_path)
    assert (found.exact_files, found.exact_pixels, found.near) == (0, 1, 0)


@pytest.mark.parametrize("change", ["jpeg", "smaller", "larger", "brighter"])
def test_recompressed_resized_or_brightened_copies_are_near(change: str, tmp_path: Path) -> None:
    left = saved(tmp_path / "l", **{f"a{n}": scene(n) for n in range(VIEWS)})
    right = []
    for number in range(VIEWS):
        image, path = scene(number), tmp_path / f"{number}.jpg"
        if change == "smaller":
            image = image.resize((32, 90), Image.Resampling.BICUBIC)
        elif change == "larger":
            image = image.resize((96, 250), Image.Resampling.BICUBIC)
        elif change == "brighter":
            image = image.point(lambda value: min(255, round(value * 0.9 + 12)))
        image.save(path, quality=70)
        right.append(path)
    found = report(left, right, tmp_path)
    assert found.near == found.shared == VIEWS
    assert {(Path(p.left).stem[1:], Path(p.right).stem) for p in found.examples} == {
        (str(number), str(number)) for number in range(VIEWS)
    }


def test_different_scenes_are_not_near(tmp_path: Path) -> None:
    left = saved(tmp_path / "l", **{f"a{n}": scene(n) for n in range(60)})
    right = saved(tmp_path / "r", **{f"b{n}": scene(1000 + n) for n in range(60)})
    assert report(left, right, tmp_path).shared == 0


def test_blank_images_of_different_shades_are_not_near_copies(tmp_path: Path) -> None:
    left = saved(tmp_path / "l", a=Image.new("RGB", (20, 40), (10, 10, 10)))
    right = saved(tmp_path / "r", b=Image.new("RGB", (20, 40), (12, 12, 12)))
    assert report(left, right, tmp_path).shared == 0


def test_unreadable_images_are_counted_and_compared_with_nothing(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("not an image")
    found = report([tmp_path / "a.jpg"], [tmp_path / "b.jpg"], tmp_path)
    assert (found.unreadable, found.shared, found.left_images) == (2, 0, 0)


def test_pictures_after_an_unreadable_one_are_still_named_by_their_own_names(tmp_path: Path) -> None:
    left = saved(tmp_path / "l", **{f"a{n}": scene(n) for n in range(4)})
    right = saved(tmp_path / "r", **{f"b{n}": scene(20 + n) for n in range(4)})
    shutil.copy(left[2], right[3])
    for broken in (left[0], left[1], right[1]):
        broken.write_text("not an image")
    found = report(left, right, tmp_path)
    assert [(pair.left, pair.right) for pair in found.examples] == [
        (f"l/{left[2].name}", f"r/{right[3].name}")
    ]
    assert (found.exact_files, found.unreadable) == (1, 3)
    hashes = hash_images(left, tmp_path)
    alone = hash_images(left[3:], tmp_path)
    assert hashes.paths == (f"l/{left[2].name}", f"l/{left[3].name}")
    for name in ("files", "pixels", "gradients", "frequencies", "thumbnails"):
        assert np.array_equal(getattr(hashes, name)[1:], getattr(alone, name)), name


def test_the_search_in_small_blocks_finds_what_brute_force_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leakage, "PAIRS_AT_ONCE", 50)
    left = hash_images(saved(tmp_path / "l", **{f"a{n:02}": scene(n) for n in range(30)}), tmp_path)
    jpegs = []
    for number in range(20, 45):
        scene(number).save(tmp_path / f"{number}.jpg", quality=60)
        jpegs.append(tmp_path / f"{number}.jpg")
    right = hash_images(jpegs, tmp_path)
    near = set()
    for i in range(30):
        for j in range(25):
            bits = [
                bin(int(a[i]) ^ int(b[j])).count("1")
                for a, b in ((left.gradients, right.gradients), (left.frequencies, right.frequencies))
            ]
            agreement = np.corrcoef(left.thumbnails[i].astype(float), right.thumbnails[j].astype(float))[0, 1]
            if max(bits) <= leakage.NEAR_BITS and agreement >= leakage.NEAR_CORRELATION:
                near.add(right.paths[j])
    found = find_leakage(left, right, "l", "r")
    assert {pair.right for pair in found.examples} == near
    assert found.near == len(near) >= 10


def test_transfer_between_datasets_that_share_images_says_how_many(tmp_path: Path) -> None:
    icfg = write_icfg(tmp_path, {"train": 8, "test": 2})
    rstp = write_rstp(tmp_path, {"train": 3, "val": 1, "test": 3})
    for person in range(8):
        for view in range(2):
            folder = "test" if person % 2 else "train"
            scene(person * 2 + view).save(
                icfg / f"imgs/{folder}/{person:04d}/{person:04d}_{view}.jpg", quality=95
            )
    shutil.copy(icfg / "imgs/train/0000/0000_0.jpg", rstp / "imgs/0004_c0_0001.jpg")
    scene(3).resize((40, 100)).save(rstp / "imgs/0005_c1_0001.jpg")
    source, target = load_dataset("icfg-pedes", tmp_path), load_dataset("rstpreid", tmp_path)
    found = transfer_leakage(source, target, tmp_path / "cache")
    assert (found.exact_files, found.near, found.right_images) == (1, 1, 6)
    assert "2 (33.33 %) are in both" in found.sentence()
    assert str(tmp_path) not in json.dumps(found.as_dict())
    assert transfer_leakage(source, target, tmp_path / "cache") == found


def test_hashes_are_computed_once_and_recomputed_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rstp(tmp_path)
    dataset = load_dataset("rstpreid", tmp_path)
    first = transfer_leakage(dataset, dataset, tmp_path / "cache")
    assert first.shared == 0
    (path,) = (tmp_path / "cache/hashes").glob("*-test-*.npz")
    path.write_bytes(path.read_bytes()[:500])
    assert transfer_leakage(dataset, dataset, tmp_path / "cache") == first
    path.unlink()
    (path / "in the way").mkdir(parents=True)
    assert transfer_leakage(dataset, dataset, tmp_path / "cache") == first
    assert len(list(path.parent.glob("*.damaged*"))) == 2
    monkeypatch.setattr(leakage, "hash_images", lambda *_: pytest.fail("hashed again"))
    assert transfer_leakage(dataset, dataset, tmp_path / "cache") == first


def test_equal_hashes_of_unlike_pictures_are_no_near_copy() -> None:
    """The two 64-bit hashes may agree by chance; only thumbnails that correlate make a near copy."""
    ramp = np.arange(256, dtype=np.uint8)
    zero = np.zeros(1, dtype=np.uint64)

    def hashed(name: str, thumbnail: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> leakage.ImageHashes:
        names = np.array([name])
        return leakage.ImageHashes((name,), names, names, zero, zero, thumbnail[None], 0)

    assert find_leakage(hashed("a", ramp), hashed("b", ramp[::-1]), "a", "b").near == 0
    assert find_leakage(hashed("a", ramp), hashed("b", ramp), "a", "b").near == 1
