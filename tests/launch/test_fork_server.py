"""Where workers come from: a server that imported once what they need, and holds nothing of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.launch import fork_server
from harness.launch.local import LocalWorkers
from harness.launch.units import Resources, WorkerDied

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="this platform has no fork server"
)
THREADS = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1))
PROGRAM = """
import os, threading
import torch
asked = []
for name in ("_cuda_init", "_cuda_getDeviceCount", "_cuda_setDevice"):
    if hasattr(torch._C, name):
        setattr(torch._C, name, lambda *_, name=name: asked.append(name) or 0)
import harness.launch.preloaded
names = {open(f"/proc/self/task/{thread}/comm").read().strip() for thread in os.listdir("/proc/self/task")}
names.discard(open("/proc/self/comm").read().strip())
print(asked, torch.cuda.is_initialized(), threading.active_count(), sorted(names - {"jemalloc_bg_thd"}))
"""
"""Arrow's allocator cleans up in a thread of its own, which it starts again in a child."""


def seen(names: list[str]) -> dict[str, object]:
    return {
        "parent": os.getppid(),
        "imported": "torch" in sys.modules and "open_clip" in sys.modules,
        "folder": os.getcwd(),
        **{name: os.environ.get(name) for name in names},
    }


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_is_imported_before_the_fork_starts_no_thread_and_asks_for_no_cuda_device() -> None:
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, env=variables
    )
    assert done.stdout.strip() == "[] False 1 []", done.stderr


def test_a_worker_has_what_was_imported_and_the_variables_and_folder_of_its_own_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fork_server.start_server(THREADS):
        pytest.skip("workers of another number of threads ran in this process")
    monkeypatch.setenv("SET_LATER", "yes")
    monkeypatch.chdir(tmp_path)
    workers = LocalWorkers(Resources(workers=1, devices=("7",)))
    try:
        found = workers.submit(seen, ["SET_LATER", "CUDA_VISIBLE_DEVICES", "PYTHONSAFEPATH"]).result()
    finally:
        workers.shutdown()
    safe = os.environ.get("PYTHONSAFEPATH")
    variables = {"SET_LATER": "yes", "CUDA_VISIBLE_DEVICES": "7", "PYTHONSAFEPATH": safe}
    server = fork_server.server_pid()
    assert found == {"parent": server, "imported": True, "folder": str(tmp_path), **variables}


def test_workers_go_on_where_the_server_they_came_from_is_killed() -> None:
    workers = LocalWorkers(Resources(workers=1))
    try:
        first = workers.submit(os.getpid).result()
        server = fork_server.server_pid()
        assert server is not None
        os.kill(server, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            workers.submit(die).result()
        assert workers.submit(os.getpid).result() != first
    finally:
        workers.shutdown()


def test_workers_of_another_number_of_threads_come_from_no_server_that_loaded_its_libraries_for_one() -> None:
    fork_server.start_server(THREADS)
    assert not fork_server.start_server(THREADS + "0")
