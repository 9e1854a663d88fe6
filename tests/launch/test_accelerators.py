"""GPUs without a GPU: which device a worker asks for, what a fault ends, and what memory a cell leaves."""

from __future__ import annotations

import gc
import os
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from light_runs import PLUGIN, light_machine, light_study

from harness.data import loader
from harness.launch.cell import run_cell
from harness.launch.cells import LaunchOptions, accelerators, run_cells
from harness.launch.context import Context
from harness.launch.local import InProcess, LocalWorkers
from harness.launch.units import Resources
from harness.machine import accelerator_faults
from harness.machine.devices import make_fabric, use_deterministic_algorithms
from harness.machine.environment import Machine, arithmetic
from harness.machine.errors import reason_of
from harness.store.runs import RunStore
from harness.train import loop

ASSERTION = "CUDA error: device-side assert triggered"


@pytest.fixture(autouse=True)
def no_fault_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator_faults, "_seen", [])


def see_devices(patch: pytest.MonkeyPatch, count: int, visible: str | None) -> None:
    patch.setattr(torch.cuda, "device_count", lambda: count)
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        patch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize(
    ("count", "visible", "device", "expected"),
    [
        (4, None, "auto", ("0", "1", "2", "3")),
        (2, "5,7", "cuda", ("5", "7")),
        (4, None, "cuda:2", ("2",)),
        (2, "5,7", "cuda:1", ("7",)),
        (2, "GPU-a,GPU-b", "cuda:0", ("GPU-a",)),
        (2, "5,7", "cpu", ()),
    ],
)
def test_workers_share_the_devices_that_this_process_sees(
    monkeypatch: pytest.MonkeyPatch, count: int, visible: str | None, device: str, expected: tuple[str, ...]
) -> None:
    see_devices(monkeypatch, count, visible)
    assert accelerators(device, devices=1) == expected


def test_a_worker_asks_for_its_only_device_whatever_number_the_device_has_here() -> None:
    machine = Machine(device="cuda:1")
    shared = LaunchOptions(machine, cells_per_device=2, accelerators=("1",))
    assert shared.worker_machine.device == "cuda"
    alone = LaunchOptions(machine, accelerators=("1",))
    assert alone.worker_machine.device == "cuda:1"  # in this process, which sees all of them
    for launcher in ("ray", "slurm"):
        assert LaunchOptions(machine, launcher=launcher, accelerators=("1",)).worker_machine.device == "cuda"
    on_cpu = LaunchOptions(Machine(device="cpu"), workers=2)
    assert on_cpu.worker_machine == on_cpu.machine


def test_a_remote_launcher_asks_for_gpus_on_a_host_that_has_none() -> None:
    machine = Machine(device="auto")
    options = LaunchOptions(machine, launcher="slurm", gpus_per_cell=1)
    assert options.resources.gpus_per_unit == 1
    assert options.worker_machine.device == "cuda"
    assert LaunchOptions(machine, launcher="ray", gpus_per_cell=0.5).resources.gpus_per_unit == 0.5
    assert LaunchOptions(machine, launcher="ray", accelerators=("0",)).resources.gpus_per_unit == 1
    assert LaunchOptions(machine, launcher="local", gpus_per_cell=1).resources.gpus_per_unit == 0


@pytest.mark.parametrize(("gpus", "calls"), [(1.0, 1), (0.0, 0)])
def test_ray_gives_each_unit_with_a_gpu_a_fresh_process(
    monkeypatch: pytest.MonkeyPatch, gpus: float, calls: int
) -> None:
    from harness.launch.ray import RayCluster

    asked: list[dict[str, Any]] = []

    def remote(**options: Any) -> Any:
        asked.append(options)
        never = SimpleNamespace(future=lambda: SimpleNamespace(add_done_callback=lambda _: None))
        return lambda _: SimpleNamespace(remote=lambda *_: never)

    cluster = object.__new__(RayCluster)
    cluster.__dict__.update(_ray=SimpleNamespace(remote=remote), _gpus=gpus)
    cluster.submit(os.getpid)
    (options,) = asked
    assert (options["num_gpus"], options["max_calls"], options["max_retries"]) == (gpus, calls, 0)


# -- faults ---------------------------------------------------------------------------------------


def stumble_on_the_device() -> None:
    raise torch.AcceleratorError(ASSERTION)


def process_id() -> int:
    return os.getpid()


def test_after_an_accelerator_fault_the_next_unit_runs_in_another_process() -> None:
    launcher = InProcess()
    assert launcher.submit(process_id).result() == os.getpid()
    with pytest.raises(torch.AcceleratorError):
        launcher.submit(stumble_on_the_device).result()
    assert launcher.submit(process_id).result() != os.getpid()
    launcher.shutdown()


def visible_devices() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_a_device_keeps_its_number_for_cells_and_trials_that_run_elsewhere_after_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    options = LaunchOptions(Machine(device="cuda:1"), accelerators=("5",))
    planned = options.worker_machine  # as a search plans its trials, once
    launcher = InProcess(options.resources)
    with pytest.raises(torch.AcceleratorError):
        launcher.submit(stumble_on_the_device).result()
    assert (planned.device, options.worker_machine.device) == ("cuda:1", "cuda:1")
    assert launcher.submit(visible_devices).result() == "4,5"
    launcher.shutdown()


def test_a_worker_with_an_accelerator_fault_answers_and_is_replaced() -> None:
    workers = LocalWorkers(Resources(workers=1))
    first = workers.submit(process_id).result()
    with pytest.raises(torch.AcceleratorError, match="device-side assert"):
        workers.submit(stumble_on_the_device).result()
    assert workers.submit(process_id).result() != first
    workers.shutdown()


def test_a_study_goes_on_in_another_process_after_a_cells_accelerator_fault(
    tmp_path: Path, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: list[int] = []
    train = loop.train

    def stumbling(*arguments: Any, **options: Any) -> Any:
        here.append(1)
        if len(here) == 1:
            raise torch.AcceleratorError(ASSERTION)
        return train(*arguments, **options)

    monkeypatch.setattr(loop, "train", stumbling)
    study, machine = light_study(tmp_path, seeds=3), light_machine(cuhk_root)
    runs = run_cells(study.cells(), RunStore(tmp_path / "out"), Context(machine), LaunchOptions(machine, 1))
    assert [run.status.state for _, run in runs] == ["failed", "done", "done"]
    assert len(here) == 1  # the others were not trained in this process


@pytest.mark.parametrize(
    ("error", "fatal"),
    [
        (torch.AcceleratorError(ASSERTION), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False),
        (ValueError("a bug of the method"), False),
    ],
)
def test_only_faults_that_end_the_use_of_the_device_ask_for_a_new_process(
    error: Exception, fatal: bool
) -> None:
    assert accelerator_faults.is_accelerator_fault(error) is fatal


def test_cublas_that_finds_no_memory_is_out_of_memory() -> None:
    error = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    assert reason_of(error) == "oom"


# -- memory ---------------------------------------------------------------------------------------


def test_a_cells_model_does_not_outlive_the_cell_even_when_it_was_compiled(
    tmp_path: Path, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[torch.nn.Module]] = []
    train = loop.train

    def cyclic(method: torch.nn.Module, *arguments: Any, **options: Any) -> Any:
        method.itself = [method]  # type: ignore[assignment]  # as a compiled module refers to itself
        models.append(weakref.ref(method))
        return train(method, *arguments, **options)

    monkeypatch.setattr(loop, "train", cyclic)
    cell = light_study(tmp_path).cells()[0]
    gc.disable()
    try:
        status = run_cell(cell, RunStore(tmp_path / "out"), Context(light_machine(cuhk_root)))
    finally:
        gc.enable()
    assert status.state == "done"
    assert [model() for model in models] == [None]


def test_whether_pixels_stay_on_the_device_does_not_depend_on_the_cell_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels, cuda = torch.empty(1000, dtype=torch.uint8), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 500)
    fits = []
    for free, reserved in ((5000, 500), (600, 4900)):  # the same memory, kept by the allocator or not
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 80_000))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _, reserved=reserved: reserved)
        fits.append(loader.fits(pixels, cuda))
    assert fits == [True, True]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3000, 80_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 500)
    assert not loader.fits(pixels, cuda)


def test_a_cell_out_of_memory_is_tried_again_with_its_images_in_main_memory(
    tmp_path: Path, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[bool] = []
    train = loop.train

    def exhausted(*arguments: Any, **options: Any) -> Any:
        attempts.append(True)
        if len(attempts) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train(*arguments, **options)

    context = Context(light_machine(cuhk_root))
    resident = SimpleNamespace(resident=True, device=torch.device("cuda"), close=lambda: None)
    context._ready["a split on a GPU"] = resident  # type: ignore[assignment]
    monkeypatch.setattr(loop, "train", exhausted)
    cell = light_study(tmp_path).cells()[0]
    assert run_cell(cell, RunStore(tmp_path / "out"), context).state == "done"
    assert len(attempts) == 2
    assert context._resident is False
    assert not context.drop_resident_pixels()  # nothing more to gain: the next time it fails


# -- arithmetic -----------------------------------------------------------------------------------


def test_float32_is_computed_in_float32_also_by_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.backends.cuda.matmul.allow_tf32 = True
    make_fabric("fp32", device="cpu")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_device_named_by_its_number_is_the_one_that_unnamed_work_goes_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    fabric = SimpleNamespace(device=torch.device("cuda", 1))
    asked: list[list[int]] = []

    def made(*, devices: list[int], **_: object) -> SimpleNamespace:
        asked.append(devices)
        return fabric

    monkeypatch.setattr("harness.machine.devices.Fabric", made)
    assert make_fabric("fp32", device="cuda:1") is fabric
    assert asked == [[1]]
    assert chosen == [torch.device("cuda", 1)]


def test_deterministic_kernels_are_not_chosen_by_timing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config, "deterministic", False)
    loop.prepare_compiler()
    assert not config.deterministic
    use_deterministic_algorithms()
    try:
        loop.prepare_compiler()
        assert config.deterministic
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)


def test_what_a_cell_was_trained_on_tells_compiled_from_eager_and_one_cuda_from_another(
    tmp_path: Path, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, context = RunStore(tmp_path / "out"), Context(light_machine(cuhk_root))
    cell = light_study(tmp_path).cells()[0]
    run_cell(cell, store, context)
    recorded = context.open_run(store, cell).description["recorded"]["trained_on"]
    assert recorded["compiled"] is False
    assert recorded["deterministic"] is False
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    on_cuda = arithmetic(torch.device("cuda"))
    assert on_cuda["device"] == "a card"
    assert {"cuda", "cudnn", "attention"} <= on_cuda.keys()


def test_two_processes_train_a_cell_on_a_cpu_and_leave_no_port_behind(
    tmp_path: Path, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASTER_PORT", raising=False)
    machine = replace(light_machine(cuhk_root), devices=2, plugins=(PLUGIN,))
    cell = light_study(tmp_path).cells()[0]
    store, context = RunStore(tmp_path / "out"), Context(machine)
    status = run_cell(cell, store, context)
    assert status.state == "done", status.detail
    assert len(context.open_run(store, cell).history) == 3
    assert "MASTER_PORT" not in os.environ


def test_a_cell_that_fails_in_one_of_two_processes_fails_with_that_processs_reason_and_words(
    tmp_path: Path, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHT_TROUBLE", "nan")
    machine = replace(light_machine(cuhk_root), devices=2, plugins=(PLUGIN,))
    cell = light_study(tmp_path).cells()[0]
    store, context = RunStore(tmp_path / "out"), Context(machine)
    status = run_cell(cell, store, context)
    assert (status.state, status.reason) == ("failed", "nan"), status.detail
    assert "training diverged" in status.detail
    (run,) = store.all_cells()
    assert run.results == []
    assert not list(run.directory.glob("process-failure*"))
