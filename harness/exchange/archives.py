"""Bundles as archives: written the same for the same files, unpacked without trusting what they say."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from harness.machine.errors import HarnessError
from harness.machine.files import atomic_file
from harness.store.bundled import MANIFEST as MANIFEST

REPEATED = ".parquet"
"""Ends the names of files that are stored once where their bytes are equal."""
MOST_BYTES = 8 * 2**30
"""Of all unpacked files together; more is no bundle."""
_DATE = (1980, 1, 1, 0, 0, 0)


class BundleError(HarnessError):
    """An archive that is no sound bundle: a line for every reason. Nothing of it is unpacked."""


def stored_once(contents: Mapping[str, Path | bytes]) -> dict[str, Path | bytes]:
    """The contents that an archive stores: of tables of records with equal bytes the first alone.

    Where the same epoch was the last and the best, its records are the same for every selection.
    """
    first: dict[str, str] = {}
    repeated = {
        name
        for name, value in sorted(contents.items())
        if name.endswith(REPEATED) and first.setdefault(_sha256(value), name) != name
    }
    return {name: value for name, value in contents.items() if name not in repeated}


def write_archive(path: Path, contents: Mapping[str, Path | bytes]) -> None:
    """Write an archive of files and texts by their path in it, with a manifest of their checksums.

    What `stored_once` leaves out stands in the manifest alone, and is restored when the archive is unpacked.
    """
    digests = {name: _sha256(value) for name, value in contents.items()}
    manifest = json.dumps(digests, indent=1, sort_keys=True).encode()
    with (
        atomic_file(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for name, value in sorted({**stored_once(contents), MANIFEST: manifest}.items()):
            # The same date for all, so that the same contents make the same archive.
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, value if isinstance(value, bytes) else value.read_bytes())


def _sha256(value: Path | bytes) -> str:
    return hashlib.sha256(value if isinstance(value, bytes) else value.read_bytes()).hexdigest()


def unpack(path: Path, folder: Path) -> list[str]:
    """Unpack a bundle into `folder`; what in it is not as it was bundled, a sentence for each file.

    Raises:
        BundleError: it is damaged, is no bundle, or has a name that leaves the folder, a link, or a name
            twice; nothing is written then.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            mistakes = [f"{path}: {text}" for text in _unsafe(archive)]
            if mistakes:
                raise BundleError(mistakes)
            contents = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    except FileNotFoundError:
        raise
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"{path}: damaged, or no archive: {error}") from error
    manifest = _manifest(path, contents)
    contents |= _repeated(path, contents, manifest)
    for name, value in contents.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(value)
    return list(_altered(contents, manifest))


def unpack_beside(path: Path) -> tuple[Path, list[str]]:
    """Unpack a bundle into the folder `NAME-bundle` beside it; the folder, and what is not as it was bundled.

    Raises:
        BundleError: as `unpack` does; or the folder holds something else.
    """
    folder = path.with_name(f"{path.stem}-bundle")
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder}: is no unpacked bundle; move it, or the bundle, elsewhere")
    return folder, unpack(path, folder)


def _unsafe(archive: zipfile.ZipFile) -> Iterator[str]:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    for entry in entries:
        name = entry.filename
        if _leaves(name):
            yield f"{name!r} leaves the folder"
        elif stat.S_ISLNK(entry.external_attr >> 16):
            yield f"{name!r} is a link"
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{name!r} is there {count} times"
    if (size := sum(entry.file_size for entry in entries)) > MOST_BYTES:
        yield f"unpacked it would be {size / 2**30:.0f} GiB"


def _leaves(name: str) -> bool:
    """Whether a path in an archive may lead out of the folder it is unpacked into, on any system."""
    parts = PurePosixPath(name).parts
    return not parts or name[0] == "/" or ".." in parts or any(letter in name for letter in "\\:\0")


def _manifest(path: Path, contents: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        manifest = json.loads(contents[MANIFEST])
    except KeyError:
        raise BundleError(f"{path}: no bundle: it has no {MANIFEST}") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: {MANIFEST}: damaged: {error}") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{path}: {MANIFEST}: must be a mapping of paths to checksums")
    return manifest


def _repeated(path: Path, contents: Mapping[str, bytes], manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """What the manifest names and the archive stores under another name."""
    by_digest = {_sha256(value): value for name, value in contents.items() if name.endswith(REPEATED)}
    absent = [name for name in manifest if name not in contents and str(manifest[name]) in by_digest]
    if leaving := [name for name in absent if _leaves(name)]:
        raise BundleError([f"{path}: {name!r} leaves the folder" for name in leaving])
    found = {name: by_digest[str(manifest[name])] for name in absent}
    if (size := sum(map(len, (*contents.values(), *found.values())))) > MOST_BYTES:
        raise BundleError(f"{path}: unpacked it would be {size / 2**30:.0f} GiB")
    return found


def _altered(contents: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(contents.keys() - {MANIFEST} | manifest.keys()):
        if name not in contents:
            twins = [other for other in contents if manifest.get(other) == manifest[name]]
            lacks = "no file of the bundle has its bytes" if name.endswith(REPEATED) else "is gone"
            yield f"{name} is stored once, as {twins[0]}, which was changed" if twins else f"{name} {lacks}"
        elif name not in manifest:
            yield f"{name} was added after the bundle was written"
        elif hashlib.sha256(contents[name]).hexdigest() != manifest[name]:
            yield f"{name} is not as it was bundled"
