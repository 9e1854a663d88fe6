"""Turns finished renderings into the archives of the package.

    python -m harness.data.release.pack OUT/plaza OUT/station OUT/campus OUT/fine OUT/coarse [--into FOLDER]

The same rendering gives the same archive, byte for byte. A planted population is named after the kind of its
difference (`rendered-fine`), any other after its domain (`rendered-plaza`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.data.rendered import (
    ANNOTATION,
    ATTRIBUTES,
    GENERATOR,
    IMAGE_FOLDER,
    IMAGES,
    INDEX,
    MANIFEST,
    PACKAGE,
    cuhk_record,
    read_records,
)
from harness.data.rendering.attributes import to_record
from harness.data.rendering.population import Sizes, population

EPOCH = (1980, 1, 1, 0, 0, 0)  # zip files carry times; ours must not differ


def pack(folder: Path, into: Path) -> dict[str, Any]:
    """Write the archive of one finished rendering; returns its entry of the package's manifest.

    Raises ValueError or OSError when the rendering is incomplete.
    """
    generator = json.loads((folder / MANIFEST).read_text("utf-8"))
    records = read_records(folder)
    names = [record["file_path"] for record in records]
    pictures = [(name, (folder / IMAGE_FOLDER / name).read_bytes()) for name in names]
    archive = into / f"rendered-{generator['plant'].partition(':')[0] or generator['domain']}.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        _add(packed, ANNOTATION, _json([cuhk_record(record) for record in records]))
        _add(packed, ATTRIBUTES, _json(_truth(generator, records)))
        _add(packed, GENERATOR, _json(generator))
        _add(packed, INDEX, _json([[name, len(data), zlib.crc32(data)] for name, data in pictures]))
        _add(packed, IMAGES, b"".join(data for _, data in pictures), zipfile.ZIP_STORED)
    content = archive.read_bytes()
    return {
        "file": archive.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "seed": generator["seed"],
        "splits": _counts(records),
    }


def _truth(generator: dict[str, Any], records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    people = population(
        generator["domain"], generator["seed"], Sizes(*generator["sizes"]), generator["plant"]
    )
    return {
        "persons": {person.number + 1: to_record(person) for person in people},
        "views": {record["file_path"]: record["view"] for record in records},
    }


def _counts(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    persons: dict[str, set[int]] = defaultdict(set)
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"person_ids": 0, "images": 0, "captions": 0})
    for record in records:
        split = record["split"]
        persons[split].add(record["id"])
        counts[split]["images"] += 1
        counts[split]["captions"] += len(record["captions"])
        counts[split]["person_ids"] = len(persons[split])
    return dict(counts)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _add(packed: zipfile.ZipFile, name: str, data: bytes, method: int = zipfile.ZIP_LZMA) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = method
    packed.writestr(info, data)


def main(arguments: Sequence[str] | None = None) -> None:
    """Pack every rendering named and write the manifest beside the archives."""
    parser = argparse.ArgumentParser(prog="python -m harness.data.release.pack", description=__doc__)
    parser.add_argument("renderings", nargs="+", type=Path, help="folders the generator has finished")
    parser.add_argument(
        "--into", type=Path, default=PACKAGE, help="where the archives go (default: the package)"
    )
    options = parser.parse_args(arguments)
    options.into.mkdir(parents=True, exist_ok=True)
    entries = {}
    for folder in options.renderings:
        entry = pack(folder, options.into)
        entries[Path(entry["file"]).stem] = entry
        print(f"{entry['file']}: {entry['bytes'] / 1e6:.2f} MB, {entry['splits']}")
    text = json.dumps({"licence": "CC0-1.0", "datasets": entries}, indent=1)
    (options.into / MANIFEST).write_text(text + "\n", "utf-8")
    print(f"{sum(entry['bytes'] for entry in entries.values()) / 1e6:.2f} MB in all")


if __name__ == "__main__":
    main()
