"""RO-Crate metadata of a bundle: what each file is, and which program made it."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from harness.machine.files import sha256

METADATA = "ro-crate-metadata.json"
_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_PROFILE = "https://w3id.org/ro/crate/1.1"
_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".yaml": "application/yaml",
    ".csv": "text/csv",
    ".html": "text/html",
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".tex": "application/x-tex",
    ".py": "text/x-python",
    ".gz": "application/gzip",
    ".parquet": "application/vnd.apache.parquet",
    ".safetensors": "application/octet-stream",
}
_SAID = {
    "study.yaml": "The study as resolved",
    "lock.json": "The plan, written before the first cell",
    "claims.yaml": "The claims that are judged",
    "environment.json": "The machine and its packages",
    "results.csv": "Scores, one row per cell, target, selection and direction",
    "verdicts.csv": "Comparisons, one row each",
    "certificate.json": "What the last verification found",
    "report.html": "The page",
}
_SOFTWARE = "#tipr-harness"
_CODE = (".py", ".html", ".css", ".js", ".yaml")


def crate(runs: Sequence[str], contents: Mapping[str, Path | bytes]) -> dict[str, Any]:
    """The metadata as JSON-LD: a file entity each, the runs as data sets, and the program that made them.

    Args:
        runs: names of the folders of runs in the bundle.
        contents: what is bundled, by its path.
    """
    now = datetime.now(UTC)
    version = importlib.metadata.version("tipr-harness")
    entities = [_file(name, value) for name, value in sorted(contents.items())]
    outside = [{"@id": entity["@id"]} for entity in entities if entity["@id"].partition("/")[0] not in runs]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Evidence of {', '.join(runs)}",
        "description": "Per-query records, studies, environments and reports of a comparison of methods of "
        "text-to-image person retrieval; every number and verdict can be computed again from the records.",
        "datePublished": now.date().isoformat(),
        "license": "Not stated by whoever made this bundle.",
        "hasPart": [*outside, *({"@id": f"{name}/"} for name in runs)],
        "mentions": [{"@id": "#made"}],
    }
    folders = [_folder(name, contents) for name in runs]
    made = {
        "@id": "#made",
        "@type": "CreateAction",
        "name": "The report and the bundle were made",
        "instrument": {"@id": _SOFTWARE},
        "object": [{"@id": f"{name}/study.yaml"} for name in runs],
        "result": {"@id": "./"},
        "endTime": now.isoformat(timespec="seconds"),
    }
    software = {"@id": _SOFTWARE, "@type": "SoftwareApplication", "name": "tipr-harness"}
    software |= {"version": version, "identifier": code_of_texts()}
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _PROFILE},
        "about": {"@id": "./"},
    }
    return {"@context": _CONTEXT, "@graph": [descriptor, root, *folders, *entities, software, made]}


def code_of_texts() -> str:
    """SHA-256 of the code that writes page, tables and texts of a bundle: the same code, the same words."""
    packages = {"reports": "**/*", "harness/exchange": "*"}
    roots = {"reports": resources.files("reports"), "harness/exchange": resources.files("harness.exchange")}
    digest = hashlib.sha256()
    for name, pattern in packages.items():
        root = Path(str(roots[name]))
        for path in sorted(root.glob(pattern)):
            if path.suffix in _CODE and "showcase" not in path.relative_to(root).parts:
                digest.update(f"{name}/{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def written_by(metadata: Any) -> str:
    """The `code_of_texts` of the version that wrote a bundle, by its metadata; empty where unknown."""
    software = (entity for entity in _entities(metadata) if entity.get("@id") == _SOFTWARE)
    return str(next(software, {}).get("identifier") or "")


def misdescribed(metadata: Any, folder: Path) -> list[str]:
    """The files of an unpacked bundle that are gone, or have another SHA-256 than its metadata say."""
    files = {str(each.get("@id")): each for each in _entities(metadata) if each.get("@type") == "File"}
    return [
        name
        for name, entity in files.items()
        if not (folder / name).is_file() or sha256(folder / name) != entity.get("sha256")
    ]


def _entities(metadata: Any) -> list[dict[str, Any]]:
    """The entities of a bundle's metadata, as far as it has the form of one."""
    graph = metadata.get("@graph") if isinstance(metadata, dict) else None
    return [each for each in graph if isinstance(each, dict)] if isinstance(graph, list) else []


def _folder(name: str, contents: Mapping[str, Path | bytes]) -> dict[str, Any]:
    parts = [{"@id": path} for path in sorted(contents) if path.startswith(f"{name}/")]
    return {"@id": f"{name}/", "@type": "Dataset", "name": name, "hasPart": parts}


def _file(name: str, value: Path | bytes) -> dict[str, Any]:
    content = value if isinstance(value, bytes) else value.read_bytes()
    last = name.rpartition("/")[2]
    return {
        "@id": name,
        "@type": "File",
        "name": last,
        **({"description": _SAID[last]} if last in _SAID else {}),
        "encodingFormat": _TYPES.get(Path(name).suffix, "application/octet-stream"),
        "contentSize": str(len(content)),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
