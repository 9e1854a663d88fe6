"""Searches under fire: workers and runs killed at any moment, two runs at once, SQLite and PostgreSQL."""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import postgres_server
import pytest
import search_stub as stub

from harness.launch.local import LocalWorkers
from harness.launch.ray import RayCluster
from harness.launch.slurm import Slurm
from harness.launch.units import Resources
from harness.search.creation import create_search
from harness.search.plan import SearchPlan
from harness.search.search_json import search_record
from harness.search.search_loop import run_searches
from harness.search.trial_queue import trial_queue

PROGRAM = """
import json, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
import search_stub as stub
from harness.launch.units import Resources
from harness.launch.local import LocalWorkers
from harness.search.creation import create_search
from harness.search.search_loop import run_searches

if __name__ == "__main__":
    folder, url, workers, changes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
    hill = stub.Hill(folder / "cells", epochs=4, epoch_seconds=0.05)
    search = stub.search(folder, url=url, objective=hill, epochs=4, **changes)
    create_search(search)
    launcher = LocalWorkers(Resources(workers=workers))
    print("ready", flush=True)
    run_searches([search], launcher, lambda progress, outcome: None)
    launcher.shutdown()
"""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with postgres_server.running() as server:
        yield server.url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'search.db'}"
    monkeypatch.setenv("PGPASSWORD", "open-sesame-4711")
    server: str = request.getfixturevalue("postgresql")
    return server


def start(tmp_path: Path, url: str, workers: int, **changes: Any) -> subprocess.Popen[str]:
    program = tmp_path / "program.py"
    program.write_text(
        PROGRAM.format(root=str(Path(__file__).parents[2]), tests=str(Path(__file__).parents[1]))
    )
    return subprocess.Popen(
        [sys.executable, str(program), str(tmp_path), url, str(workers), json.dumps(changes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(pid: int) -> list[int]:
    """The workers: children of the server that forks them, or started one by one."""
    below = {child: Path(f"/proc/{child}/cmdline").read_text() for child in direct_children(pid)}
    servers = [child for child, command in below.items() if "forkserver" in command]
    started = [child for child, command in below.items() if "spawn_main" in command]
    return [*started, *(child for server in servers for child in direct_children(server))]


def direct_children(pid: int) -> list[int]:
    # A process may be started by any thread, so every thread's children count.
    threads = Path(f"/proc/{pid}/task").glob("*")
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()


def record_of(tmp_path: Path, url: str, **changes: Any) -> dict[str, Any]:
    search = stub.search(tmp_path, url=url, epochs=4, **changes)
    return search_record(search, trial_queue(search).trials())


def diaries(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        path.parent.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in folder.glob("cells/*/diary")
    }


def test_workers_killed_at_random_lose_no_trial_and_repeat_no_epoch_but_the_one_they_died_in(
    tmp_path: Path, url: str
) -> None:
    changes = {"name": f"kills/{tmp_path.name}", "trials": 14, "sampler": "tpe"}
    process = start(tmp_path, url, 2, **changes)
    wait_until_ready(process)
    chance, killed = random.Random(4), 0
    while killed < 3 and process.poll() is None:
        time.sleep(chance.uniform(0.3, 0.9))
        for worker in children(process.pid)[:1]:
            os.kill(worker, signal.SIGKILL)
            killed += 1
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert killed == 3
    record = record_of(tmp_path, url, **changes)
    assert [trial["state"] for trial in record["trials"]] == ["complete"] * 14
    assert len({json.dumps(trial["params"]) for trial in record["trials"]}) == 14
    assert all([epoch for epoch, _ in trial["intermediate"]] == [1, 2, 3, 4] for trial in record["trials"])
    written = diaries(tmp_path)
    assert len(written) == 14
    repeated = sum(len(diary) - len({line["epoch"] for line in diary}) for diary in written.values())
    assert repeated <= 3


def test_a_run_killed_with_all_its_workers_continues_where_it_was(tmp_path: Path, url: str) -> None:
    changes = {"name": f"run/{tmp_path.name}", "trials": 10, "sampler": "random"}
    for pause in (0.5, 0.8):
        process = start(tmp_path, url, 2, **changes)
        wait_until_ready(process)
        time.sleep(pause)
        process.kill()
        process.communicate()
    last = start(tmp_path, url, 2, **changes)
    _, errors = last.communicate()
    assert last.returncode == 0, errors
    record = record_of(tmp_path, url, **changes)
    assert [trial["state"] for trial in record["trials"]] == ["complete"] * 10
    assert len(diaries(tmp_path)) == 10


def test_two_runs_of_one_search_share_the_trials_and_never_train_the_same(tmp_path: Path, url: str) -> None:
    changes = {"name": f"two/{tmp_path.name}", "trials": 12, "sampler": "random"}
    runs = [start(tmp_path, url, 2, **changes) for _ in range(2)]
    for process in runs:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    record = record_of(tmp_path, url, **changes)
    assert [trial["state"] for trial in record["trials"]] == ["complete"] * 12
    written = diaries(tmp_path)
    assert len(written) == 12
    assert all([line["epoch"] for line in diary] == [1, 2, 3, 4] for diary in written.values())
    assert all(len({line["pid"] for line in diary}) == 1 for diary in written.values())
    assert len({diary[0]["pid"] for diary in written.values()}) > 1


@pytest.mark.service
def test_a_password_is_nowhere_in_what_a_search_leaves_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from harness.search.database import search_url
    from harness.search.search_json import write_search_json

    server: str = request.getfixturevalue("postgresql")
    monkeypatch.setenv("PGPASSWORD", "")
    url = search_url(server.replace("tester@", "tester:open-sesame-4711@"), tmp_path)
    search = stub.search(tmp_path, url=url, name=f"secret/{tmp_path.name}", trials=2)
    create_search(search)
    workers = LocalWorkers(Resources(workers=1))
    run_searches([search], workers, lambda progress, outcome: None)
    workers.shutdown()
    write_search_json([search], tmp_path)
    monkeypatch.setenv("HARNESS_SLURM_CLUSTER", "local")
    more = stub.search(tmp_path, url=url, name=f"secret2/{tmp_path.name}", trials=1)
    create_search(more)
    run_searches(
        [more], Slurm(Resources(folder=tmp_path / "slurm", workers=1)), lambda progress, outcome: None
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert all(b"open-sesame-4711" not in path.read_bytes() for path in files)


@pytest.mark.service
@pytest.mark.slow
def test_trials_run_on_a_ray_cluster_of_two_workers(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'tipr-harness[ray]'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 1024**2)
    try:
        hill = stub.Hill(tmp_path / "cells", epochs=2, epoch_seconds=0.1)
        search: SearchPlan = stub.search(tmp_path, trials=6, objective=hill)
        create_search(search)
        run_searches([search], RayCluster(Resources()), lambda progress, outcome: None)
    finally:
        ray.shutdown()
    record = search_record(search, trial_queue(search).trials())
    assert [trial["state"] for trial in record["trials"]] == ["complete"] * 6
    workers = collections.Counter(diary[0]["pid"] for diary in diaries(tmp_path).values())
    assert len(workers) >= 2
    assert os.getpid() not in workers
