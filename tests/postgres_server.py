"""A private PostgreSQL server on loopback, which a test may stop and start again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

INSTALLED = Path("/usr/lib/postgresql")
PASSWORD = "open-sesame-4711"


class Server:
    """Its data lies in `folder`; `url` has no password, which is `PASSWORD`."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        # initdb refuses root; Debian's package has made a user for it.
        self._user: dict[str, Any] = {"user": "postgres"} if os.geteuid() == 0 else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        (folder / "password").write_text(PASSWORD)
        if self._user:
            shutil.chown(folder, "postgres")
            shutil.chown(folder / "password", "postgres")
        self._run("initdb", "-U", "tester", "-A", "scram-sha-256", "--pwfile", folder / "password")
        self.url = f"postgresql+psycopg://tester@127.0.0.1:{self._port}/postgres"

    def _run(self, program: str, *words: object) -> None:
        command = [self._programs / program, "-D", self._folder / "data", *words]
        subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd="/", **self._user)

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self._port} -c fsync=off"
        options += f" -c unix_socket_directories={self._folder}"
        self._run("pg_ctl", "-w", "-o", options, "-l", self._folder / "log", "start")

    def stop(self) -> None:
        """Stop at once, as a crash would."""
        self._run("pg_ctl", "-m", "immediate", "stop")


@contextmanager
def running() -> Iterator[Server]:
    """A server of its own; skips the test where PostgreSQL is not installed."""
    tools = max(INSTALLED.glob("*/bin/initdb"), default=None, key=lambda path: int(path.parts[-3]))
    if tools is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Server(tools.parent, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
