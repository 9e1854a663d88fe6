"""Files of per-query records: Parquet with a checksum a page, whole numbers as differences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.machine.errors import StoreError
from harness.machine.files import atomic_file
from harness.store import parquet_columns

if TYPE_CHECKING:
    import pandas as pd


def write(path: Path, frame: pd.DataFrame) -> None:
    """Write one row per query, the whole file at once."""
    with atomic_file(path) as file:
        frame.to_parquet(file, index=False, write_page_checksum=True, **_encodings(frame))


def _encodings(frame: pd.DataFrame) -> dict[str, Any]:
    """How pyarrow encodes the columns: whole numbers, most of which count up, by their differences.

    In a dictionary, which is pyarrow's choice, ids that never repeat would take half of a file.
    """
    whole = [name for name, kind in frame.dtypes.items() if kind.kind == "i"]
    others = [name for name in frame.columns if name not in whole]
    return {
        "use_dictionary": [*others, *(f"{name}.list.element" for name in others)],
        "column_encoding": dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
    }


def read(path: Path) -> pd.DataFrame:
    """The rows of a file. Raises `StoreError` when it is missing or damaged."""
    import pandas as pd

    try:
        return pd.read_parquet(path, page_checksum_verification=True)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise StoreError(f"{path}: {error}") from error


def columns(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Some columns of a file, as arrays `[queries]` by name.

    Reading the lists of gallery items as well would take ten times as long. Raises `StoreError` when the file
    is missing or damaged.
    """
    try:
        return parquet_columns.columns(path, names)
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are ValueErrors
        raise StoreError(f"{path}: {error}") from error


def rows(path: Path, queries: Collection[int]) -> list[dict[str, Any]]:
    """The whole rows of these queries, in order. Raises `StoreError` when the file is missing or damaged."""
    try:
        return parquet_columns.rows(path, "query", queries)
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are ValueErrors
        raise StoreError(f"{path}: {error}") from error
