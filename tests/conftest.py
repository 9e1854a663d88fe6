"""Being here puts `tests/` on the import path, so any test may `from factories import write_cuhk`."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
from factories import write_cuhk, write_rstp


@pytest.fixture(scope="module")
def cuhk_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data root with a small CUHK-PEDES, and a cache of its own."""
    root = tmp_path_factory.mktemp("data")
    write_cuhk(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield root


@pytest.fixture(scope="module")
def two_datasets(cuhk_root: Path) -> Iterator[Path]:
    """The same with a small RSTPReid beside it, known to every verb by the variable HARNESS_DATA."""
    write_rstp(cuhk_root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_DATA", str(cuhk_root))
        yield cuhk_root


@pytest.fixture(scope="module")
def own_fork_server() -> Iterator[None]:
    """Processes of a module come from a fork server of its own.

    The one of the harness, which an earlier test may have started, has other modules and never gets Ctrl-C.
    """
    server = forkserver._forkserver  # type: ignore[attr-defined]
    server._stop()
    yield
    server._stop()
