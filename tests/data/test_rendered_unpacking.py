"""Packing renderings into the package's archives, and unpacking these into the cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data import rendered
from harness.data.release import pack
from harness.data.rendering.annotate import image_record
from harness.data.rendering.attributes import GAITS, SIDES, View
from harness.data.rendering.population import Sizes, population
from harness.machine.errors import DataError

SIZES = Sizes(6, 2, 3)
VIEWS = 3


def draw(folder: Path, domain: str, seed: int = 1, plant: str = "") -> Path:
    """A finished rendering whose pictures are noise."""
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    (folder / "imgs").mkdir(parents=True)
    lines = []
    for person in population(domain, seed, SIZES, plant):
        for number in range(VIEWS):
            shown = dict.fromkeys(("skin", "hair", "upper", "outer", "lower", "shoes", "bag"), 0.04)
            view = View(rng.choice(SIDES), rng.random(), rng.choice(GAITS), visible=shown)
            record = image_record(domain, seed, SIZES, person, number, view, plant)
            lines.append(json.dumps(record))
            pixels = noise.integers(0, 256, (40, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "imgs" / record["file_path"])
    (folder / "records.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    order = {
        "domain": domain,
        "seed": seed,
        "sizes": [6, 2, 3],
        "views": VIEWS,
        "plant": plant,
        "complete": True,
    }
    (folder / "manifest.json").write_text(json.dumps(order))
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two small datasets, and an empty cache."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    drawn = [draw(tmp_path / domain, domain) for domain in ("plaza", "station")]
    pack.main([*map(str, drawn), "--into", str(tmp_path / "package")])
    return tmp_path / "package"


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_is_unpacked_is_what_was_drawn(package: Path, tmp_path: Path) -> None:
    folder = rendered.unpack("rendered-plaza", package)
    drawn = files(tmp_path / "plaza" / "imgs")
    assert files(folder / "imgs") == drawn
    records = json.loads((folder / "reid_raw.json").read_text())
    assert [record["file_path"] for record in records] == sorted(drawn)
    assert [set(record) for record in records] == [{"split", "captions", "file_path", "id"}] * len(drawn)


def test_the_same_rendering_packs_into_the_same_bytes(package: Path, tmp_path: Path) -> None:
    pack.main([str(tmp_path / "plaza"), str(tmp_path / "station"), "--into", str(tmp_path / "again")])
    assert files(tmp_path / "again") == files(package)


def test_a_planted_dataset_is_packed_beside_the_one_of_its_domain_and_keeps_its_planted_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    plants = {"plaza": "", "coarse": "coarse:colour", "fine": "fine:bag-pattern"}
    drawn = [draw(tmp_path / name, "plaza", seed, plant) for seed, (name, plant) in enumerate(plants.items())]
    pack.main([*map(str, drawn), "--into", str(tmp_path / "package")])
    entries = json.loads((tmp_path / "package" / "manifest.json").read_text())["datasets"]
    assert list(entries) == [f"rendered-{name}" for name in plants]
    for seed, (name, plant) in enumerate(plants.items()):
        entry = entries[f"rendered-{name}"]
        content = (tmp_path / "package" / entry["file"]).read_bytes()
        assert (entry["seed"], entry["bytes"]) == (seed, len(content))
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["splits"]["test"] == {"person_ids": 3, "images": 9, "captions": 18}
        persons, _ = rendered.ground_truth(f"rendered-{name}", tmp_path / "package")
        assert list(persons.values()) == population("plaza", seed, SIZES, plant)


def test_a_packed_dataset_loads_with_its_splits_and_ground_truth(package: Path) -> None:
    dataset = rendered.load("rendered-station", package=package)
    assert dataset.official
    counts = {name: tuple(split.counts().values()) for name, split in dataset.splits.items()}
    assert counts == {"train": (6, 18, 18), "val": (2, 6, 6), "test": (3, 9, 9)}
    assert all(path.is_file() for split in dataset.splits.values() for path in split.image_paths)
    persons, views = rendered.ground_truth("rendered-station", package)
    assert list(persons.values()) == population("station", 1, SIZES)
    assert len(views) == SIZES.total * VIEWS


def test_a_rendering_of_ones_own_loads_without_packing(tmp_path: Path) -> None:
    folder = draw(tmp_path / "mine", "generic", plant="coarse:colour")
    dataset = rendered.load_rendering("mine", folder)
    assert dataset.splits["test"].counts() == {"person_ids": 3, "images": 9, "captions": 18}


def test_an_unfinished_rendering_is_refused(tmp_path: Path) -> None:
    folder = draw(tmp_path / "mine", "generic")
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match="no finished rendering"):
        rendered.load_rendering("mine", folder)


@pytest.mark.parametrize("victim", ["imgs/00003_1.webp", "reid_raw.json", "attributes.json"])
@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
def test_a_damaged_cache_is_named_and_made_anew(
    package: Path, caplog: pytest.LogCaptureFixture, victim: str, harm: str
) -> None:
    folder = rendered.unpack("rendered-plaza", package)
    whole = files(folder)
    if harm == "gone":
        (folder / victim).unlink()
    else:
        data = bytearray(whole[victim])
        data[len(data) // 2] ^= 1
        (folder / victim).write_bytes(data if harm == "changed" else data[:-7])
    with caplog.at_level(logging.WARNING):
        assert rendered.unpack("rendered-plaza", package) == folder
    assert files(folder) == whole
    assert victim in caplog.text
    assert str(folder) in caplog.text


def test_an_intact_cache_is_left_alone(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = rendered.unpack("rendered-plaza", package)
    before = (folder / "reid_raw.json").stat().st_mtime_ns, folder.stat().st_ino
    rendered.unpack("rendered-plaza", package)
    assert before == ((folder / "reid_raw.json").stat().st_mtime_ns, folder.stat().st_ino)
    assert not caplog.records


@pytest.mark.parametrize("harm", ["changed", "cut", "gone", "replaced by text"])
def test_a_damaged_package_is_named_with_its_mend(package: Path, harm: str) -> None:
    archive = package / "rendered-station.zip"
    data = bytearray(archive.read_bytes())
    if harm == "gone":
        archive.unlink()
    elif harm == "replaced by text":
        archive.write_text("version https://git-lfs.github.com/spec/v1")
    else:
        data[len(data) // 2] ^= 1
        archive.write_bytes(data if harm == "changed" else data[:-99])
    with pytest.raises(DataError, match=r"rendered-station\.zip.*install the package again"):
        rendered.unpack("rendered-station", package)
    assert rendered.unpack("rendered-plaza", package).is_dir()


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"datasets": 3}'])
def test_a_damaged_manifest_is_named_with_its_mend(package: Path, text: str | None) -> None:
    path = package / "manifest.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json.*install the package again"):
        rendered.unpack("rendered-plaza", package)


def test_a_cache_that_cannot_be_written_is_named(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "file").write_text("in the way")
    monkeypatch.setenv("HARNESS_CACHE", str(package / "file"))
    with pytest.raises(DataError, match=r"file.*HARNESS_CACHE"):
        rendered.unpack("rendered-plaza", package)


UNPACK = """
import sys
from pathlib import Path
from harness.data import rendered
print(rendered.unpack("rendered-plaza", Path(sys.argv[1])))
"""
KILLED = """
import os, signal, sys
from pathlib import Path
write, written = Path.write_bytes, []
def write_and_die(self, data):
    written.append(write(self, data))
    if len(written) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = write_and_die
"""


def test_processes_that_come_at_once_get_one_whole_folder(package: Path) -> None:
    command = [sys.executable, "-c", UNPACK, str(package)]
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate()[0].strip() for process in racing}
    assert [process.returncode for process in racing] == [0, 0, 0]
    assert answers == {str(rendered.unpack("rendered-plaza", package))}
    assert len(files(Path(answers.pop()) / "imgs")) == SIZES.total * VIEWS


def test_a_process_killed_while_unpacking_leaves_nothing_half_done(package: Path, tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED + UNPACK, str(package)], check=False)
    assert killed.returncode == -signal.SIGKILL
    cache = Path(os.environ["HARNESS_CACHE"])
    assert not list(cache.rglob("rendered-plaza/reid_raw.json"))
    folder = rendered.unpack("rendered-plaza", package)
    assert files(folder / "imgs") == files(tmp_path / "plaza" / "imgs")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["rendered-plaza", "rendered-plaza.lock"]
