"""The items of a JSON list, one by one, from a file that is not trusted. Torch-free.

Only a window of the file is in memory, and an item that does not fit into it is refused, so neither a list of
millions nor a caption of a hundred megabytes takes more than some megabytes.
"""

from __future__ import annotations

import codecs
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from harness.machine.errors import DataError

# The largest published annotations (SYNTH-PEDES) have some five million records.
MAX_FILE_BYTES = 4 * 2**30
MAX_RECORDS = 20_000_000
MAX_RECORD_CHARACTERS = 1_000_000
CHUNK = 2**20

_SPACE = re.compile(r"[ \t\n\r]*")
_AT_THE_END = 12
"""Characters before the end of a text that was cut in which its first mistake may be found: an escape's."""


def json_list(path: Path) -> Iterator[Any]:
    """The items of the JSON list in a file.

    Raises:
        DataError: not a file, too large, not a JSON list, an item that is broken, too long or nested too
            deeply, more items than any benchmark has.
    """
    with opened(path) as file:
        yield from _items(_Window(path, file))


def not_utf8(reason: str, position: int) -> str:
    """What to say of a file in another encoding, such as GBK or Latin-1."""
    return f"not UTF-8 ({reason} at byte {position:,}): save it as UTF-8"


def opened(path: Path) -> IO[bytes]:
    """Open an annotation file.

    Raises:
        DataError: it is no plain file, cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError([f"{path}: not a file; the annotation is expected here"])
        if status.st_size > MAX_FILE_BYTES:
            raise DataError(
                [
                    f"{path}: {status.st_size:,} bytes; an annotation may have {MAX_FILE_BYTES:,}, "
                    "more than any published one: this is a wrong file"
                ]
            )
        return path.open("rb")
    except OSError as error:
        raise DataError([f"{path}: cannot be read: {error.strerror or error}"]) from error


class _Window:
    """The part of a file's text that is in memory, and the position up to which it was read."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self._file = path, file
        self.text, self.at, self.ended = "", 0, False
        self._bytes, self._lines = 0, 0
        start = self._read()
        self._decoder = codecs.getincrementaldecoder(json.detect_encoding(start))()
        self._decode(start)

    def _read(self) -> bytes:
        try:
            return self._file.read(CHUNK)
        except OSError as error:
            raise DataError([f"{self.path}: cannot be read: {error.strerror or error}"]) from error

    def _decode(self, chunk: bytes) -> None:
        self.ended = not chunk
        try:
            self.text += self._decoder.decode(chunk, final=self.ended)
        except UnicodeDecodeError as error:
            # The object begins with what was left of the chunk before.
            place = self._bytes + len(chunk) - len(error.object) + error.start
            raise DataError([f"{self.path}: not a JSON text: {not_utf8(error.reason, place)}"]) from error
        self._bytes += len(chunk)

    def reach(self, characters: int) -> None:
        """Read until this many characters from the position on are in memory; drop those before."""
        if self.ended or len(self.text) - self.at >= characters:
            return
        self._lines += self.text.count("\n", 0, self.at)
        self.text, self.at = self.text[self.at :], 0
        while not self.ended and len(self.text) < characters + CHUNK:
            self._decode(self._read())

    def skip_space(self) -> str:
        """Move to the next character that is no space and return it; empty at the end of the file."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.reach(1)

    def line(self, position: int) -> int:
        """The number of the line of a position in the window."""
        return self._lines + self.text.count("\n", 0, position) + 1


def _items(window: _Window) -> Iterator[Any]:
    if window.skip_space() != "[":
        shown = window.text[window.at : window.at + 20]
        raise DataError([f"{window.path}: not a list of records (it begins with {shown!r})"])
    window.at += 1
    if window.skip_space() == "]":
        return
    count = 0
    while True:
        yield _item(window, count)
        count += 1
        if count > MAX_RECORDS:
            raise DataError([f"{window.path}: more than {MAX_RECORDS:,} records; no dataset is that large"])
        following = window.skip_space()
        if following == "]":
            return
        if following != ",":
            raise DataError([_broken(window, window.at, count, "expected ',' or ']'")])
        window.at += 1
        window.skip_space()


class RepeatedKeyError(ValueError):
    """A key that stands twice in one object: which of its values is meant cannot be known."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key[:60]!r} is written twice in one object")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of its pairs, for `json`'s `object_pairs_hook`. Raises `RepeatedKeyError`."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return values


_decoder = json.JSONDecoder(object_pairs_hook=unique_keys)


def _item(window: _Window, count: int) -> Any:
    window.reach(MAX_RECORD_CHARACTERS + _AT_THE_END)
    began, item = window.at, None
    try:
        item, window.at = _decoder.raw_decode(window.text, began)
    except RecursionError:
        raise DataError([f"{window.path}: record {count:,} is nested too deeply"]) from None
    except json.JSONDecodeError as error:
        unterminated = "Unterminated" in error.msg
        if window.ended and unterminated:
            raise DataError([_incomplete(window, count)]) from None
        cut = unterminated or error.pos >= len(window.text) - _AT_THE_END
        if window.ended or not cut:
            raise DataError([_broken(window, error.pos, count, error.msg)]) from None
        window.at = began + MAX_RECORD_CHARACTERS + 1
    except RepeatedKeyError as error:
        line = window.line(began)
        raise DataError([f"{window.path}:{line}: record {count:,}, which begins here: {error}"]) from None
    except ValueError:  # an integer of more digits than Python converts
        raise DataError([_broken(window, began, count, "a number of too many digits")]) from None
    if window.at - began > MAX_RECORD_CHARACTERS:
        raise DataError([f"{window.path}: record {count:,} has over {MAX_RECORD_CHARACTERS:,} characters"])
    return item


def _broken(window: _Window, position: int, count: int, reason: str) -> str:
    if window.ended and not window.text[position:].strip():
        return _incomplete(window, count)
    return f"{window.path}:{window.line(position)}: not JSON, in record {count:,}: {reason}"


def _incomplete(window: _Window, count: int) -> str:
    return f"{window.path}: ends in the middle, after {count:,} records: the download is incomplete"
