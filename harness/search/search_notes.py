"""What is stored of a search beside its trials: its terms and its counts, each with a checksum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optuna import Study
from optuna.storages import RDBStorage

from harness.search.database import StorageError, damaged
from harness.search.trial_checksums import digest

TERMS, COUNTS = "terms", "counts"


@dataclass(frozen=True)
class SearchCounts:
    """What the trials themselves cannot tell."""

    made: int = 0
    """Trials that were made, queued ones too: with fewer in the database, some were deleted."""
    trials: int = 0
    """The largest budget that was asked for."""
    forgiven: int = 0
    """Failures of earlier runs, which do not count against the budget."""


def write_terms(study: Study, terms: Mapping[str, Any]) -> None:
    """Store what a search must agree with to be continued."""
    _write(study, TERMS, dict(terms))


def write_counts(study: Study, counts: SearchCounts) -> None:
    """Store the counts of a search."""
    _write(study, COUNTS, asdict(counts))


def read_terms(storage: RDBStorage, name: str, url: str) -> dict[str, Any] | None:
    """The terms of the search `name`; None when its process died while making it.

    Raises:
        StorageError: they were altered, or written by another version.
    """
    notes = storage.get_study_user_attrs(storage.get_study_id_from_name(name))
    terms: dict[str, Any] | None = _read(notes, TERMS, name, url)
    return terms


def read_counts(study: Study, url: str) -> SearchCounts:
    """The counts of a search; zeros when its process died while making it.

    Raises:
        StorageError: they were altered, or written by another version.
    """
    counts = _read(study.user_attrs, COUNTS, study.study_name, url)
    return SearchCounts(**counts) if counts is not None else SearchCounts()


def _write(study: Study, name: str, value: dict[str, Any]) -> None:
    checksum = digest(study.study_name, name, value)
    study.set_user_attr(name, {"value": value, "checksum": checksum})


def _read(notes: Mapping[str, Any], name: str, search: str, url: str) -> Any:
    if name not in notes:
        return None
    note = notes[name]
    if not isinstance(note, dict) or note.keys() != {"value", "checksum"}:
        message = f"the search {search} was made by another version; use another --out, or move it away"
        raise StorageError(f"{url}: {message}")
    if note["checksum"] != digest(search, name, note["value"]):
        raise damaged(url, f"the {name} of {search} are not what was written")
    return note["value"]
