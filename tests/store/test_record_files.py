"""The files of per-query records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from harness.machine.errors import StoreError
from harness.store import record_files


def records(queries: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame({
        "query": np.arange(queries),
        "caption_id": np.arange(queries) + 17,
        "person_id": [str(query // 2) for query in range(queries)],
        "rank": pd.array(generator.integers(1, 100, queries), dtype="Int64"),
        "ap": generator.random(queries),
        "top": [list(generator.integers(0, 100, 10)) for _ in range(queries)],
    })  # fmt: skip


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = records(50)
    written.loc[3, "rank"] = pd.NA  # a query without a right answer
    record_files.write(tmp_path / "a.parquet", written)
    read = record_files.read(tmp_path / "a.parquet")
    assert read.drop(columns="top").equals(written.drop(columns="top"))
    assert [list(row) for row in read["top"]] == [list(row) for row in written["top"]]
    assert record_files.columns(tmp_path / "a.parquet", ["ap"])["ap"].tolist() == written["ap"].tolist()


def test_ids_that_count_up_take_next_to_no_room(tmp_path: Path) -> None:
    whole = records(4000).drop(columns="top")
    record_files.write(tmp_path / "whole.parquet", whole)
    record_files.write(tmp_path / "rest.parquet", whole.drop(columns=["query", "caption_id"]))
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.parquet", "rest.parquet")]
    assert sizes[0] - sizes[1] < 2000


COLUMNS: dict[str, list[Any]] = {
    "whole": [3, 1, 2, 7],
    "share": [0.5, 0.25, 1.0, 0.0],
    "text": ["a", "bb", "", "longer than the others"],
    "yes or no": [True, False, False, True],
    "whole, some missing": [3, None, 2, None],
    "share, some missing": [0.5, None, 1.0, None],
    "text, some missing": ["a", None, "", None],
    "all missing": [None, None, None, None],
}


@pytest.mark.parametrize("rows_of_a_group", [4, 3, 1])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_read_with_the_values_and_kind_that_pandas_reads(
    tmp_path: Path, name: str, rows_of_a_group: int
) -> None:
    path, kind = tmp_path / "a.parquet", pyarrow.int64() if name.startswith("whole") else None
    table = pyarrow.table({name: pyarrow.array(COLUMNS[name], kind)})
    pyarrow.parquet.write_table(table, path, row_group_size=rows_of_a_group)
    found, expected = record_files.columns(path, [name])[name], pd.read_parquet(path)[name].to_numpy()
    assert found.dtype == expected.dtype
    for value, wanted, written in zip(found.tolist(), expected.tolist(), COLUMNS[name], strict=True):
        is_missing = value is None or value != value
        assert is_missing == (wanted is None or wanted != wanted) == (written is None)
        assert is_missing or value == written


def test_a_column_of_no_query_is_empty(tmp_path: Path) -> None:
    record_files.write(tmp_path / "a.parquet", records(1).iloc[:0])
    found = record_files.columns(tmp_path / "a.parquet", ["query", "ap", "person_id"])
    assert [len(found[name]) for name in ("query", "ap", "person_id")] == [0, 0, 0]


def test_the_rows_of_some_queries_are_whole_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    written = records(20).sample(frac=1, random_state=1)  # a file's order need not be that of the queries
    record_files.write(tmp_path / "a.parquet", written)
    rows = record_files.rows(tmp_path / "a.parquet", [11, 3, 99])
    wanted = [row for row in written.to_dict("records") if row["query"] in (3, 11)]
    assert [row["query"] for row in rows] == [row["query"] for row in wanted]
    for row, expected in zip(rows, wanted, strict=True):
        assert {name: list(value) if name == "top" else value for name, value in row.items()} == {
            name: list(value) if name == "top" else value for name, value in expected.items()
        }


def test_a_column_that_is_not_there_and_a_damaged_file_are_errors_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    record_files.write(path, records(50))
    with pytest.raises(StoreError, match=str(path)):
        record_files.columns(path, ["query", "no such column"])
    content = bytearray(path.read_bytes())
    content[20] ^= 1  # in the first page of values
    path.write_bytes(bytes(content))
    for reads in (
        lambda: record_files.read(path),
        lambda: record_files.columns(path, ["query"]),
        lambda: record_files.rows(path, [1]),
    ):
        with pytest.raises(StoreError, match=str(path)):
            reads()
    path.unlink()
    with pytest.raises(StoreError, match=str(path)):
        record_files.read(path)
