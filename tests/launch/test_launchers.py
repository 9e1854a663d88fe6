"""Launchers: the same units of work in this process, in local workers, on Ray, and as Slurm jobs."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.launch import launchers, local
from harness.launch.launchers import open_launcher
from harness.launch.local import InProcess, LocalWorkers
from harness.launch.ray import RayCluster
from harness.launch.slurm import Slurm
from harness.launch.units import LauncherError, Resources, WorkerDied


def square(number: int) -> int:
    return number * number


def stumble() -> None:
    raise ValueError("a planted mistake")


def process_id() -> int:
    return os.getpid()


def device() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def wait_for(path: str) -> int:
    while not Path(path).exists():
        time.sleep(0.02)
    return os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def answer_that_cannot_travel() -> threading.Lock:
    return threading.Lock()  # type: ignore[return-value]


@pytest.fixture(scope="module")
def two_workers():
    workers = LocalWorkers(Resources(workers=2, devices=("3", "5")))
    yield workers
    workers.shutdown(cancel_futures=True)


def test_one_slot_runs_in_this_process() -> None:
    launcher = open_launcher("local", Resources(workers=1))
    assert isinstance(launcher, InProcess)
    assert launcher.submit(process_id).result() == os.getpid()


def test_an_error_in_a_unit_is_the_futures_error_in_process() -> None:
    with pytest.raises(ValueError, match="planted"):
        InProcess().submit(stumble).result()


def test_two_local_workers_run_two_units_at_once(two_workers: LocalWorkers, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waiting = two_workers.submit(wait_for, str(gate))
    opened = two_workers.submit(process_id).result()
    gate.touch()
    assert waiting.result() != opened


def test_an_error_in_a_local_worker_is_the_futures_error(two_workers: LocalWorkers) -> None:
    with pytest.raises(ValueError, match="a planted mistake"):
        two_workers.submit(stumble).result()


def test_what_cannot_be_pickled_is_an_error_and_not_a_hang(two_workers: LocalWorkers) -> None:
    with pytest.raises(RuntimeError, match="lock"):
        two_workers.submit(answer_that_cannot_travel).result()
    with pytest.raises(Exception, match=r"pickle|local object"):
        two_workers.submit(lambda: 1).result()


def test_each_local_worker_sees_its_own_device_only(two_workers: LocalWorkers, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waiting = two_workers.submit(wait_for, str(gate))
    seen = {two_workers.submit(device).result()}
    gate.touch()
    waiting.result()
    assert seen <= {"3", "5"}
    shared = Resources(devices=("3", "5"), per_device=2)
    environments = [local.worker_environment(slot, shared) for slot in range(4)]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == ["3", "5", "3", "5"]


def test_a_killed_worker_fails_its_own_unit_only_and_is_replaced(
    two_workers: LocalWorkers, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    bystander = two_workers.submit(wait_for, str(gate))
    with pytest.raises(WorkerDied, match="exit code -9"):
        two_workers.submit(die).result()
    assert two_workers.submit(square, 7).result() == 49
    gate.touch()
    assert bystander.result() > 0


def test_a_worker_that_cannot_be_started_is_an_error_and_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = LocalWorkers(Resources(workers=1))
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_start", lambda *_: _no_more_processes())
        with pytest.raises(BlockingIOError):
            workers.submit(process_id).result()
    assert workers.submit(process_id).result() != os.getpid()
    workers.shutdown()


def _no_more_processes() -> None:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys, time
sys.path[:0] = [{str(Path(__file__).parents[2])!r}, {str(Path(__file__).parent)!r}]
from harness.launch.units import Resources
from harness.launch.local import LocalWorkers
from test_launchers import process_id, wait_for
if __name__ == "__main__":
    workers = LocalWorkers(Resources(workers=1))
    print(workers.submit(process_id).result(), flush=True)
    workers.submit(wait_for, {str(tmp_path / "never")!r})
    time.sleep(600)
"""
    program = tmp_path / "parent.py"
    program.write_text(script)
    parent = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert is_alive(worker)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    ended = not is_alive(worker)
    if not ended:
        os.kill(worker, signal.SIGKILL)
    assert ended


def test_slots_follow_the_devices_and_how_many_share_one() -> None:
    assert Resources().slots == 1
    assert Resources(devices=("0", "1"), per_device=3).slots == 6
    assert Resources(devices=("0", "1"), workers=3).slots == 3
    assert Resources(devices=("0", "1"), per_device=4).gpus_per_unit == 0.25
    assert Resources().gpus_per_unit == 0


def test_an_unknown_launcher_names_the_known_ones() -> None:
    with pytest.raises(LauncherError, match=r"'kubernetes'.*local, ray, slurm"):
        open_launcher("kubernetes", Resources())


def test_slurm_without_slurm_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HARNESS_SLURM_CLUSTER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LauncherError, match="--launcher slurm"):
        Slurm(Resources(folder=tmp_path))


@pytest.mark.parametrize("extra", ["ray", "submitit"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    launcher = {"ray": RayCluster, "submitit": Slurm}[extra]
    with pytest.raises(LauncherError, match=r"pip install 'tipr-harness\["):
        launcher(Resources())


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("HARNESS_SLURM_CLUSTER", "local")
    jobs = Slurm(Resources(workers=2, folder=tmp_path / "slurm"))
    yield jobs
    jobs.shutdown(cancel_futures=True)


def test_slurm_jobs_bring_back_results_and_errors(slurm: Slurm) -> None:
    squares = [slurm.submit(square, number) for number in (3, 4)]
    failing = slurm.submit(stumble)
    assert [future.result() for future in squares] == [9, 16]
    with pytest.raises(ValueError, match="planted"):
        failing.result()


def test_a_killed_slurm_job_is_a_dead_worker(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    import submitit

    # It waits that long for the file of a job that left none.
    monkeypatch.setattr(submitit.core.core.Job, "_results_timeout_s", 1)
    with pytest.raises(WorkerDied):
        slurm.submit(die).result()


def test_a_password_in_the_environment_stays_out_of_slurms_job_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("HARNESS_SLURM_CLUSTER", "local")
    monkeypatch.setenv("PGPASSWORD", "open-sesame-4711")
    jobs = Slurm(Resources(folder=tmp_path / "slurm"))
    assert jobs.submit(square, 2).result() == 4
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert all(b"open-sesame-4711" not in path.read_bytes() for path in files)


def test_each_launcher_is_opened_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("HARNESS_SLURM_CLUSTER", "local")
    monkeypatch.setattr(launchers, "RayCluster", lambda resources: ("ray", resources))
    resources = Resources(workers=3, folder=tmp_path)
    assert launchers.open_launcher("ray", resources) == ("ray", resources)
    slurm = launchers.open_launcher("slurm", resources)
    assert isinstance(slurm, Slurm)
    assert slurm.slots == 3
    assert isinstance(launchers.open_launcher("local", Resources(workers=1)), InProcess)


class Broken(Exception):
    """What Ray says of a task whose own code failed."""


def test_a_task_that_ray_could_not_run_is_an_error_and_only_a_lost_one_a_dead_worker() -> None:
    cluster = RayCluster.__new__(RayCluster)
    cluster._ray = SimpleNamespace(exceptions=SimpleNamespace(RayTaskError=Broken))
    for error, kind, text in (
        (Broken("ray::task\nModuleNotFoundError: no module mine\n"), RuntimeError, "no module mine"),
        (OSError("the node died\nsee the log"), WorkerDied, "the node died"),
    ):
        done, answer = Future[Any](), Future[Any]()
        done.set_exception(error)
        cluster._pass_on(done, answer)
        with pytest.raises(kind, match=text) as caught:
            answer.result()
        assert "\n" not in str(caught.value)
    for failed, result in ((False, 9), (True, ValueError("planted"))):
        done, answer = Future[Any](), Future[Any]()
        done.set_result((failed, result))
        cluster._pass_on(done, answer)
        assert (answer.exception() or answer.result()) is result


@pytest.fixture(scope="module")
def ray_cluster():
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'tipr-harness[ray]'")
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 1024**2)
    try:
        yield RayCluster(Resources())
    finally:
        ray.shutdown()


@pytest.mark.service
@pytest.mark.slow
def test_a_ray_cluster_of_two_workers_runs_units_at_once_and_survives_a_death(
    ray_cluster: RayCluster, tmp_path: Path
) -> None:
    assert ray_cluster.slots == 2
    gate = tmp_path / "gate"
    waiting = ray_cluster.submit(wait_for, str(gate))
    other = ray_cluster.submit(process_id).result()
    gate.touch()
    assert waiting.result() != other
    with pytest.raises(ValueError, match="planted"):
        ray_cluster.submit(stumble).result()
    with pytest.raises(WorkerDied):
        ray_cluster.submit(die).result()
    assert ray_cluster.submit(square, 5).result() == 25


def test_a_worker_that_may_have_no_thread_ends_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    monkeypatch.setattr(local.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit, match="cannot begin its work: can't start new thread"):
        local.work(None, dict(os.environ))
