"""Parquet files read into plain arrays and rows, without pandas, which takes half a second to import."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read(path: Path, columns: Sequence[str] | None = None) -> Any:
    """A file as a pyarrow table, with its pages' checksums verified; all columns, or some.

    `pyarrow.parquet.read_table` would import what partitioned data needs, and pandas with it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(columns=None if columns is None else list(columns))


def columns(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Columns of a file as arrays `[rows]` by name; raises as `read`, and KeyError for one it has not."""
    table = read(path, names)
    return {name: _array(table.column(name)) for name in names}


def rows(path: Path, key: str, wanted: Collection[int]) -> list[dict[str, Any]]:
    """The rows of a file whose integer `key` is among those wanted, in order; raises as `columns`."""
    table = read(path)
    positions = np.flatnonzero(np.isin(_array(table.column(key)), list(wanted)))
    return [row for position in positions.tolist() for row in table.slice(position, 1).to_pylist()]


def _array(column: Any) -> NDArray[Any]:
    """A pyarrow column as numpy has it: None for a text that is missing, NaN for a number."""
    import pyarrow

    whole = column.combine_chunks()
    if pyarrow.types.is_string(whole.type) or pyarrow.types.is_large_string(whole.type):
        return np.array(whole.to_pylist(), dtype=object)
    kinds = pyarrow.types
    if (
        len(whole)
        and not whole.null_count
        and (kinds.is_integer(whole.type) or kinds.is_floating(whole.type))
    ):
        numbers = np.frombuffer(whole.buffers()[1], dtype=whole.type.to_pandas_dtype())
        return numbers[whole.offset :][: len(whole)]
    values: NDArray[Any] = column.to_numpy()  # a number is missing, or it is of another kind; imports pandas
    return values
