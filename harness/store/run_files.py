"""The files of a run folder beside its cells, read back; one that is missing or damaged is empty.

Their contents are what their writers describe: `leakage.json` and `overhead.json` are lists of mappings,
`environment.json`, `certificate.json` and `search.json` mappings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.machine.errors import StoreError

STUDY, ENVIRONMENT, CLAIMS, CERTIFICATE = "study.yaml", "environment.json", "claims.yaml", "certificate.json"
DEFAULT_REFERENCE = "uit"
"""The method everything is compared with when a study has it; otherwise the first one listed."""
SEARCH, OVERHEAD, LEAKAGE = "search.json", "overhead.json", "leakage.json"


def read_study(directory: Path) -> dict[str, Any]:
    """The resolved study of a run folder.

    Raises FileNotFoundError when the folder holds no run, `StoreError` when its study is damaged.
    """
    path = directory / STUDY
    if not path.is_file():
        raise FileNotFoundError(f"{directory}: no run here (no {STUDY}); give the folder of `run --out`")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: damaged: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise StoreError(f"{path}: damaged: a study is a mapping; `run` writes it again")
    return values


def listed_methods(study: Mapping[str, Any]) -> list[str]:
    """The labels of a study's methods, in its order."""
    entries = study.get("methods", ())
    return [str(entry.get("name") if isinstance(entry, Mapping) else entry) for entry in entries]


def targets_of(study: Mapping[str, Any], dataset: str) -> frozenset[str] | None:
    """Where a resolved study tests what was trained on a dataset; None where it does not say."""
    evaluate = study.get("evaluate")
    if not isinstance(evaluate, Mapping) or "targets" not in evaluate:
        return None
    crossed = study.get("datasets") if evaluate.get("transfer") else ()
    return frozenset({dataset, *(crossed or ()), *(evaluate["targets"] or ())})


def reference_of(labels: Sequence[str]) -> str:
    """The method that the others are compared with: `uit`, or the first listed; empty of none."""
    return DEFAULT_REFERENCE if DEFAULT_REFERENCE in labels else next(iter(labels), "")


def read_mapping(path: Path) -> dict[str, Any]:
    """A JSON mapping; an empty one where the file is missing or damaged."""
    value = _read(path)
    return value if isinstance(value, dict) else {}


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The mappings of a JSON list; none where the file is missing or damaged."""
    value = _read(path)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
