"""The rows of annotation files in any of the supported formats, as plain dictionaries. Torch-free.

JSON lists, JSON Lines, CSV, TSV and Parquet are read row by row; COCO captions as a whole.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.data.json_lists import (
    MAX_RECORD_CHARACTERS,
    MAX_RECORDS,
    RepeatedKeyError,
    json_list,
    not_utf8,
    opened,
    unique_keys,
)
from harness.machine.errors import DataError

BY_SUFFIX = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
ROWS_AT_ONCE = 10_000


def format_of(path: Path, declared: str = "") -> str:
    """The format of an annotation file: the declared one, or by its name.

    Raises:
        DataError: the name has no known ending.
    """
    format_name = declared or BY_SUFFIX.get(path.suffix.lower(), "")
    if not format_name:
        endings = ", ".join(BY_SUFFIX)
        raise DataError([f"{path}: unknown format; give `format:` or one of the endings {endings}"])
    return format_name


def read_rows(path: Path, declared: str = "") -> Iterator[Any]:
    """The rows of an annotation file; of a JSON list, whatever its items are.

    Args:
        path: the file.
        declared: `json`, `jsonl`, `csv`, `tsv`, `parquet` or `coco`; by default known from the name.

    Raises:
        DataError: the file cannot be read as what it is; says where and why.
    """
    opened(path).close()
    format_name = format_of(path, declared)
    if format_name == "json":
        return json_list(path)
    if format_name == "jsonl":
        return _json_lines(path)
    if format_name in ("csv", "tsv"):
        return _table(path, "\t" if format_name == "tsv" else ",")
    return _parquet(path) if format_name == "parquet" else _coco(path)


def _text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file (or UTF-16 with its mark), without its byte-order mark."""
    with opened(path) as file:
        mark = file.read(2)
        file.seek(0)
        encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        with io.TextIOWrapper(file, encoding, newline="") as text:
            try:
                while line := text.readline(MAX_RECORD_CHARACTERS + 1):
                    if len(line) > MAX_RECORD_CHARACTERS:
                        longest = f"{MAX_RECORD_CHARACTERS:,}"
                        raise DataError([f"{path}: a line has over {longest} characters"])
                    yield line
            except UnicodeDecodeError as error:
                raise DataError([f"{path}: {not_utf8(error.reason, _bad_byte(path))}"]) from error
            except OSError as error:
                raise DataError([f"{path}: cannot be read: {error.strerror or error}"]) from error


def _bad_byte(path: Path) -> int:
    """The position of the first byte that is no UTF-8."""
    position = 0
    with path.open("rb") as file:
        for line in file:
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return position + error.start
            position += len(line)
    return position


def _json_lines(path: Path) -> Iterator[Any]:
    for number, line in enumerate(_text_lines(path), 1):
        if not line.strip():
            continue
        _within_limit(path, number)
        try:
            yield json.loads(line, object_pairs_hook=unique_keys)
        except RecursionError:
            raise DataError([f"{path}:{number}: nested too deeply"]) from None
        except RepeatedKeyError as error:
            raise DataError([f"{path}:{number}: {error}"]) from None
        except ValueError as error:
            raise DataError([f"{path}:{number}: not JSON: {getattr(error, 'msg', error)}"]) from None


def _table(path: Path, delimiter: str) -> Iterator[dict[str, Any]]:
    """The rows of a CSV or TSV file with a header."""
    reader = csv.reader(_text_lines(path), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header) or not header:
            raise DataError([f"{path}:1: a header of different column names is expected, got {header[:20]}"])
        width = len(header)
        for row in reader:
            if len(row) == width:
                yield dict(zip(header, row, strict=True))
            elif row:
                mistake = f"{len(row)} cells, the header has {width}"
                raise DataError([f"{path}:{reader.line_num}: {mistake} (is a text with commas quoted?)"])
            _within_limit(path, reader.line_num)
    except csv.Error as error:
        raise DataError([f"{path}:{reader.line_num}: not a table: {error}"]) from None


def _within_limit(path: Path, number: int) -> None:
    if number > MAX_RECORDS:
        raise DataError([f"{path}: more than {MAX_RECORDS:,} records; no dataset is that large"])


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as arrow
    from pyarrow import parquet

    opened(path).close()
    try:
        file = parquet.ParquetFile(path)
        _within_limit(path, file.metadata.num_rows)
        names = [name for name in file.schema_arrow.names if not _is_binary(file.schema_arrow.field(name))]
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=names):
            yield from batch.to_pylist()
    except (arrow.ArrowException, OSError) as error:
        raise DataError([f"{path}: not a Parquet file: {str(error).splitlines()[0]}"]) from error


def _is_binary(field: Any) -> bool:
    """Whether a column holds bytes, such as images stored in the table, which are not read."""
    return "binary" in str(field.type)


def _coco(path: Path) -> Iterator[dict[str, Any]]:
    """The images of a COCO caption file, each with the list of its `captions`."""
    with opened(path) as file:
        try:
            content = json.loads(file.read(), object_pairs_hook=unique_keys)
            images, annotations = content["images"], content["annotations"]
            captions: dict[Any, list[Any]] = {}
            further: dict[Any, dict[str, Any]] = {}
            for annotation in annotations:
                captions.setdefault(annotation["image_id"], []).append(annotation.get("caption"))
                further.setdefault(annotation["image_id"], annotation)
            for image in images:
                name = image["id"]
                yield {**further.get(name, {}), **image, "captions": captions.get(name, [])}
        except RecursionError:
            raise DataError([f"{path}: nested too deeply"]) from None
        except UnicodeDecodeError as error:
            raise DataError([f"{path}: {not_utf8(error.reason, error.start)}"]) from None
        except RepeatedKeyError as error:
            raise DataError([f"{path}: {error}"]) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            shape = "{images: [{id, …}], annotations: [{image_id, caption}]}"
            reason = f"{type(error).__name__}: {error}"
            raise DataError([f"{path}: not a COCO caption file ({reason}); expected {shape}"]) from None
