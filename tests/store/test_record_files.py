"""The files of per-query records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

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
