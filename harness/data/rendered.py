"""The rendered datasets that ship with the package, unpacked into the cache at first use. Torch-free.

`harness/data/rendered/` holds one archive per dataset and `manifest.json`, which says what each must be. An
archive is a zip file of `reid_raw.json` (records as in CUHK-PEDES), `attributes.json` (the ground
truth), `generator.json` (seed and versions of the rendering), `images.json` (name, bytes and CRC-32 of every
picture) and `images.bin` (the pictures, one after another: thousands of zip entries would be large).
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
import tempfile
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

from harness.data.dataset import SPLIT_NAMES, Dataset
from harness.data.dataset_files import load_folder
from harness.data.layout import Layout
from harness.data.rendering.attributes import Person, View, person_from_record, view_from_record
from harness.machine.errors import DataError
from harness.machine.paths import cache_dir
from harness.registry import register_dataset

PACKAGE = Path(__file__).with_name("rendered")
MANIFEST = "manifest.json"
ANNOTATION, ATTRIBUTES, GENERATOR = "reid_raw.json", "attributes.json", "generator.json"
INDEX, IMAGES = "images.json", "images.bin"
IMAGE_FOLDER = "imgs"
REPAIR = "install the package again (pip install --force-reinstall), or `git checkout` the file in a clone"

SUMMARIES = {
    "rendered-plaza": "rendered people on a sunny square, two captions; ships with the package",
    "rendered-station": "rendered people in a station's light, one long caption; ships with the package",
    "rendered-campus": "rendered people under trees, low cameras, two captions; ships with the package",
    "rendered-fine": "rendered people unlike in the colours of their shoes only; ships with the package",
    "rendered-coarse": "rendered people unlike in the colours of their clothes only; ships with the package",
}
GENERIC = "rendered-generic"
DRAW_GENERIC = (
    "draw it: python -m harness.data.rendering DATA_ROOT/rendered-generic --domain generic "
    "--people 10800 --val 200 --test 400 --views 2 --seed 1"
)
_log = logging.getLogger(__name__)


def manifest(package: Path = PACKAGE) -> dict[str, Any]:
    """What the package says its archives are: `{"datasets": {name: {"file", "bytes", "sha256", "splits"}}}`.

    Raises:
        DataError: the manifest is missing or not readable.
    """
    path = package / MANIFEST
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        content["datasets"].items()
        return content
    except FileNotFoundError:
        raise DataError([f"{path}: the list of rendered datasets is missing; {REPAIR}"]) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"{path}: the list of rendered datasets cannot be read ({error}); {REPAIR}"
        raise DataError([reason]) from error


_ANOTHER_CACHE = "point HARNESS_CACHE elsewhere, at a folder you may write to"


def unpack(name: str, package: Path = PACKAGE) -> Path:
    """The folder with the dataset's `reid_raw.json`, `attributes.json` and `imgs/`, unpacked at first use.

    The folder is complete or absent: it is filled under another name and renamed. Every picture is compared
    with its checksum each time; a damaged folder is named in a warning and unpacked again. Simultaneous
    processes wait for the first.

    Raises:
        DataError: the archive is missing or damaged, or the cache folder cannot be written.
    """
    from filelock import FileLock

    entry = _entry(name, package)
    folder: Path = cache_dir() / "rendered" / entry["sha256"][:12] / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{name}.lock"):
            damage = "" if not folder.exists() else _damage(folder, package / entry["file"])
            if damage:
                _log.warning("%s is damaged (%s): it is unpacked again", folder, damage)
            if damage or not folder.exists():
                _rebuild(folder, package / entry["file"], entry["sha256"])
    except OSError as error:
        where = f"cannot be unpacked into the cache {folder.parent}: {error.strerror or error}"
        problem = f"{name}: {where}; set HARNESS_CACHE to a folder with 40 MB free"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free space there, or point HARNESS_CACHE elsewhere" if full else _ANOTHER_CACHE
        raise DataError([problem], remedy=remedy) from error
    return folder


def load(name: str, data_root: Path | None = None, package: Path = PACKAGE) -> Dataset:
    """The shipped dataset `name`; no data root is needed.

    Raises:
        DataError: as `unpack`.
    """
    splits = _entry(name, package)["splits"]
    numbers = ("person_ids", "images", "captions")
    published = {split: tuple(splits[split][number] for number in numbers) for split in SPLIT_NAMES}
    return load_folder(_layout(name, published), name, unpack(name, package), shipped=True)


def load_rendering(name: str, folder: Path, data_root: Path | None = None) -> Dataset:
    """A rendering of the user's own, straight from the folder that the generator wrote.

    Register it from a plugin file, to use it in a study:

        register_dataset("crowd", summary="…", load=partial(load_rendering, "crowd", Path("crowd")))

    Raises:
        DataError: the folder holds no finished rendering.
    """
    try:
        records = read_records(folder)
    except (OSError, ValueError, KeyError) as error:
        reason = f"{name}: {folder} holds no finished rendering ({error}): run the generator again"
        raise DataError([reason]) from error
    annotation = folder / ANNOTATION
    text = json.dumps([cuhk_record(record) for record in records], indent=0)
    if not annotation.exists() or annotation.read_text("utf-8") != text:
        annotation.write_text(text, "utf-8")
    return load_folder(_layout(name, {}), name, folder)


def load_generic(data_root: Path | None = None) -> Dataset:
    """The people that `backbone: tiny` was pre-trained on, drawn by the user below the data root.

    Raises:
        DataError: there is no data root, or no finished rendering in it.
    """
    if data_root is None:
        hint = "name a data root with --data-root or HARNESS_DATA"
        raise DataError([f"{GENERIC}: not in the package; {DRAW_GENERIC}; then {hint}"])
    return load_rendering(GENERIC, data_root / GENERIC)


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The image records of a finished rendering, in the order of persons and views.

    Raises:
        ValueError: the rendering is not complete.
    """
    if not json.loads((folder / MANIFEST).read_text("utf-8"))["complete"]:
        raise ValueError("it is not complete")
    with (folder / "records.jsonl").open(encoding="utf-8") as lines:
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return sorted(records, key=lambda record: str(record["file_path"]))


def cuhk_record(record: dict[str, Any]) -> dict[str, Any]:
    """The part of an image record that CUHK-PEDES' annotation has."""
    return {key: record[key] for key in ("split", "captions", "file_path", "id")}


def ground_truth(name: str, package: Path = PACKAGE) -> tuple[dict[str, Person], dict[str, View]]:
    """What was drawn: the person of every identity, and the view of every image (by its `file_path`)."""
    truth = json.loads((unpack(name, package) / ATTRIBUTES).read_text("utf-8"))
    persons = {str(key): person_from_record(record) for key, record in truth["persons"].items()}
    return persons, {key: view_from_record(record) for key, record in truth["views"].items()}


def generator(name: str, package: Path = PACKAGE) -> dict[str, Any]:
    """How the dataset was drawn: `domain`, `sizes`, `views`, `seed`, `plant`, and the drawing versions."""
    made: dict[str, Any] = json.loads((unpack(name, package) / GENERATOR).read_text("utf-8"))
    return made


def _layout(name: str, published: dict[Any, Any]) -> Layout:
    return Layout(
        folder=name, annotations=(ANNOTATION,), how_to_get=REPAIR, expected=published, images=IMAGE_FOLDER
    )


def _entry(name: str, package: Path) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = manifest(package)["datasets"]
    if name not in known:
        raise DataError([f"{name}: not in {package / MANIFEST}, which has {', '.join(known)}; {REPAIR}"])
    return known[name]


def _rebuild(folder: Path, archive: Path, sha256: str) -> None:
    _verify(archive, sha256)
    for left_over in folder.parent.glob(
        f".{folder.name}-*"
    ):  # of a process that was killed: we hold the lock
        shutil.rmtree(left_over, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _extract(archive, fresh)
        if folder.exists():
            folder.rename(Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)) / "damaged")
        fresh.rename(folder)
    finally:
        for left_over in folder.parent.glob(f".{folder.name}-*"):
            shutil.rmtree(left_over, ignore_errors=True)


def _verify(archive: Path, sha256: str) -> None:
    try:
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(
            [f"{archive}: the dataset's file cannot be read ({error.strerror}); {REPAIR}"]
        ) from error
    if digest != sha256:
        reason = f"its sha256 is {digest[:12]}…, not {sha256[:12]}…"
        raise DataError([f"{archive}: the dataset's file is damaged: {reason}; {REPAIR}"])


def _extract(archive: Path, folder: Path) -> None:
    images = folder / IMAGE_FOLDER
    images.mkdir()
    with zipfile.ZipFile(archive) as packed:
        for part in (ANNOTATION, ATTRIBUTES, GENERATOR):
            (folder / part).write_bytes(packed.read(part))
        with packed.open(IMAGES) as pictures:
            for name, size, _ in json.loads(packed.read(INDEX)):
                (images / name).write_bytes(pictures.read(size))


def _damage(folder: Path, archive: Path) -> str:
    """What is wrong with an unpacked folder; "" if every file is that of the archive."""
    try:
        with zipfile.ZipFile(archive) as packed:
            expected = {part: packed.getinfo(part).CRC for part in (ANNOTATION, ATTRIBUTES)}
            expected |= {f"{IMAGE_FOLDER}/{name}": crc for name, _, crc in json.loads(packed.read(INDEX))}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError([f"{archive}: the dataset's file cannot be read ({error}); {REPAIR}"]) from error
    for relative, crc in expected.items():
        try:
            if zlib.crc32((folder / relative).read_bytes()) != crc:
                return f"{relative} is not what was unpacked"
        except OSError as error:
            return f"{relative}: {error.strerror}"
    return ""


for _name, _summary in SUMMARIES.items():
    register_dataset(_name, summary=_summary, load=partial(load, _name), home="embedded", how_to_get=REPAIR)
register_dataset(
    GENERIC,
    summary="rendered people of no particular place, for pre-training `tiny`; not shipped",
    load=load_generic,
    home=GENERIC,
    how_to_get=DRAW_GENERIC,
)
