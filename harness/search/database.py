"""Where trials are stored: an Optuna database that is checked before it is opened, with a lock."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url

from harness.machine import files
from harness.machine.errors import HarnessError, LockedError
from harness.machine.passwords import masked, split_password
from harness.machine.seeds import seed_for

T = TypeVar("T")

HEARTBEAT_SECONDS = 10
GRACE_SECONDS = 60
"""A worker on another machine that has been silent for so long is taken for dead."""
PATIENCE_SECONDS = 90.0
"""How long a database may be away (restarted, locked, disk full) before a worker gives up."""
_LOOK_SECONDS = 10.0


class StorageError(HarnessError):
    """The database cannot be used; one line, without any password."""


class NoSearchYet(StorageError):
    """The database exists and is empty."""


def search_url(storage: str | None, run_dir: Path) -> str:
    """The URL of a search's database: the study's own with `$VARIABLES` filled in, or a file in `run_dir`.

    Its password moves into `PGPASSWORD`, where libpq looks and workers inherit it: the URL that is pickled
    into job files and printed in errors has none. Raises `StorageError` for a URL that cannot be a search's.
    """
    if storage is None:
        return sqlite_url(run_dir / "search.db")
    bare, password = split_password(os.path.expandvars(storage))
    url = _parsed(bare)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    kind = url.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise StorageError(f"search.storage: a search is kept in SQLite or PostgreSQL, not in {kind!r}")
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise StorageError("search.storage: a database in memory ends with the process; name a file")
        url = url.set(database=str(Path(url.database).expanduser().absolute()))
    elif password is not None:
        os.environ["PGPASSWORD"] = password
    return url.render_as_string()


def sqlite_url(path: Path) -> str:
    """The URL of a database file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string(hide_password=False)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        message = "not a database URL (sqlite:///… or postgresql://…)"
        raise StorageError(f"search.storage: {masked(url)}: {message}") from None


@dataclass(frozen=True)
class Database:
    """An open Optuna database."""

    url: str
    storage: RDBStorage

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process at a time, on any machine, take or finish a trial.

        The lock is a file's for SQLite and an advisory one for PostgreSQL: both vanish with their holder,
        however it dies. Raises `StorageError` when it cannot be had for a long time.
        """
        if self.storage.engine.dialect.name == "sqlite":
            with _file_lock(_sqlite_path(self.url)):
                yield
        else:
            with self.storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                key = {"key": seed_for("search lock")}
                connection.execute(sqlalchemy.text(f"SET lock_timeout = '{int(PATIENCE_SECONDS)}s'"))
                connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), key)
                try:
                    yield
                finally:
                    connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:key)"), key)


def is_there(url: str, run_dir: Path) -> bool:
    """Whether a search's database can hold something already; nothing is made.

    Raises `StorageError` for a missing SQLite file that could not be made either: only the run's own folder
    is made when it is missing.
    """
    if not url.startswith("sqlite"):
        return True
    path = _sqlite_path(url)
    if not path.exists() and path.parent != run_dir.absolute():
        try:
            # Permissions do not tell: the folder may lie on a read-only or a special file system.
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise StorageError(f"{path}: the search database cannot be made: {error.strerror}") from None
    return path.exists()


@contextmanager
def _file_lock(database: Path) -> Iterator[None]:
    try:
        with files.lock(database.with_name(f"{database.name}.lock"), PATIENCE_SECONDS):
            yield
    except LockedError as error:
        raise StorageError(f"{database}: another process holds its lock for too long ({error})") from None


def open_database(url: str, *, create: bool) -> Database:
    """Open the database at `url`, after a look at it that changes nothing.

    With `create`, a missing SQLite file or empty database gets Optuna's tables. Raises `StorageError` when
    it is unreachable, locked, corrupt, of another program, or (without `create`) not there.
    """
    try:
        return reach_database(url, create=create)
    except _AWAY as error:
        raise _unusable(url, error) from None


def reach_database(url: str, *, create: bool) -> Database:
    """As `open_database`, for use inside `retry_while_unavailable`, which waits for a database that is away.

    Raises:
        NoSearchYet: there is no database, and none is to be made.
        StorageError: it cannot be used. What `retry_while_unavailable` waits for is raised unchanged.
    """
    if url.startswith("sqlite"):
        look_at_sqlite(_sqlite_path(url), may_be_missing=create)
        if create:
            _sqlite_path(url).parent.mkdir(parents=True, exist_ok=True)
        arguments: dict[str, Any] = {"connect_args": {"timeout": _LOOK_SECONDS}}
    else:
        arguments = {
            "connect_args": {"connect_timeout": int(_LOOK_SECONDS)},
            "pool_pre_ping": True,
            "pool_size": 2,
        }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for attempt in count(1):
        try:
            return Database(url, _rdb(url, arguments, create))
        except Exception as error:  # without files to open, Optuna fails by an assertion of its own
            if not create and _is_empty(url, arguments):
                raise NoSearchYet(f"{url}: there is no search database") from None
            # Two runs make the same tables at once: the second tries again and finds them made.
            if not (create and attempt < 5 and _lost_a_race(error)):
                if isinstance(error, _AWAY):
                    raise
                raise _unusable(url, error) from None
        time.sleep(0.2 * attempt)
    raise AssertionError("counts for ever")


def _unusable(url: str, error: Exception) -> StorageError:
    return StorageError(f"{url}: cannot be used as a search database: {why(error)}")


def _is_empty(url: str, arguments: Mapping[str, Any]) -> bool:
    try:
        return not sqlalchemy.inspect(sqlalchemy.create_engine(url, **arguments)).get_table_names()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError):
        return False


def _rdb(url: str, arguments: dict[str, Any], create: bool) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return RDBStorage(
            url,
            engine_kwargs=arguments,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            skip_table_creation=not create,
        )


def _lost_a_race(error: BaseException) -> bool:
    races = (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError)
    return isinstance(error, races) or "already exists" in str(error)


def _sqlite_path(url: str) -> Path:
    database = make_url(url).database
    assert database is not None
    return Path(database)


def look_at_sqlite(path: Path, *, may_be_missing: bool) -> None:
    """Raise `StorageError` unless `path` is a healthy, unlocked SQLite file of Optuna's (or may be made)."""
    if not path.exists():
        if not may_be_missing:
            raise StorageError(f"{path}: there is no search database")
        return
    if not path.is_file():
        raise StorageError(f"{path}: is no file")
    try:
        # `mode=rw` never creates; BEGIN IMMEDIATE takes the write lock and gives it back unused.
        with sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_LOOK_SECONDS
        ) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            tables = {
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            connection.execute("ROLLBACK")
        connection.close()
    except UnicodeError:  # the error message quotes the damaged bytes
        raise StorageError(
            f"{path}: the search database is corrupt; restore a copy, or move it away"
        ) from None
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {_sqlite_reason(error)}") from None
    if verdict != "ok":
        raise StorageError(
            f"{path}: the search database is corrupt ({verdict}); restore a copy, or move it away"
        )
    if tables and "studies" not in tables:
        raise StorageError(f"{path}: is a database of another program (it has no table of studies)")


def _sqlite_reason(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text:
        return "the search database is locked by another program; close it, then run again"
    if "readonly" in text:
        return "the search database cannot be written (read-only)"
    if "not a database" in text or "malformed" in text:
        return f"the search database is corrupt ({text}); restore a copy, or move it away"
    return f"the search database cannot be opened ({text})"


def damaged(url: str, damage: str) -> StorageError:
    """The error for a database whose content is not what was written."""
    return StorageError(f"{url}: the search database is damaged ({damage}); restore a copy, or move it away")


@contextmanager
def readable(url: str) -> Iterator[None]:
    """Raise `StorageError` for what Optuna raises over values that it never wrote."""
    try:
        yield
    except (LookupError, ValueError, TypeError, AssertionError) as error:
        message = " ".join(str(error).split())
        raise damaged(url, f"{type(error).__name__}: {message[:200]}") from error


def why(error: BaseException) -> str:
    """The innermost reason of a database error, in one line."""
    while error.__cause__ is not None or isinstance(getattr(error, "orig", None), BaseException):
        error = error.__cause__ or error.orig  # type: ignore[attr-defined]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


_AWAY = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.InternalError,
    optuna.exceptions.StorageInternalError,
)


def retry_while_unavailable(act: Callable[[], T], url: str, patience: float | None = None) -> T:
    """Do `act`, again and again while the database is away, then raise `StorageError`.

    `act` must be safe to repeat. A database that is restarted, or locked by a backup, costs a search nothing.
    One that refuses what it is asked raises `StorageError` at once.
    """
    deadline = time.monotonic() + (PATIENCE_SECONDS if patience is None else patience)
    pause = 0.05
    while True:
        try:
            return act()
        except _AWAY as error:
            if time.monotonic() + pause > deadline:
                raise StorageError(f"{url}: the search database is gone: {why(error)}") from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise _unusable(url, error) from None
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
