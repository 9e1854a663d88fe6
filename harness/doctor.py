"""`doctor`: what this machine has, what can run on it, and the mend for what cannot."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from harness import paths

Verdict = Literal["ok", "note", "fail"]

DISTRIBUTION = "tipr-harness"
EXTRAS = {
    "rendering": ("numba", "draws the rendered datasets anew"),
    "postgresql": ("psycopg", "searches shared by several machines"),
    "ray": ("ray", "--launcher ray"),
    "slurm": ("submitit", "--launcher slurm"),
    "dashboard": ("optuna_dashboard", "a live page of a search"),
}
GIGABYTE = 1e9
DEMO_DISK = 2.0
"""Free gigabytes the demo asks for: caches, checkpoints and three models a cell, with room to spare."""


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        name: what was looked at.
        verdict: `ok`, `note` (something will not be available) or `fail` (the demo cannot run here).
        detail: what was found.
        mend: what to do about it; empty when nothing needs doing.
    """

    name: str
    verdict: Verdict
    detail: str
    mend: str = ""


def diagnose(data_root: Path | None = None, out: Path = Path("runs")) -> list[Finding]:
    """Every finding about this machine, in the order of a reader's questions.

    Writes nothing but the unpacked embedded datasets in the cache folder.
    """
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _matched_torch,
        _devices,
        _determinism,
        lambda: _folders(out),
        lambda: _disk(out),
        _network,
        _extras,
        _tagger,
        lambda: _datasets(data_root),
    )
    return [finding for check in checks for finding in _guarded(check)]


def healthy(findings: list[Finding]) -> bool:
    """Whether the demo can run here."""
    return all(finding.verdict != "fail" for finding in findings)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """The diagnosis as one JSON object."""
    return {"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    # A diagnosis that crashes on the illness it looks for helps nobody.
    try:
        yield from check()
    except Exception as error:
        name = getattr(check, "__name__", "check").strip("_<>")
        yield Finding(name, "fail", f"{type(error).__name__}: {error}", "report this line to the authors")


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if fits else "fail", version, "" if fits else "use Python 3.11 or newer")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _unmet() -> Iterator[str]:
    """What the package declares it needs, where the environment does not have it."""
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        found = _version(needed.name)
        if found is None or not needed.specifier.contains(found, prereleases=True):
            yield f"{needed.name}{needed.specifier} (found {found or 'nothing'})"


def _packages() -> Iterator[Finding]:
    unmet = list(_unmet())
    if unmet:
        yield Finding("packages", "fail", f"unmet: {', '.join(unmet)}", "pip install -c constraints.txt -e .")
    else:
        main = ("open_clip_torch", "lightning-fabric", "optuna", "pandas")
        yield Finding("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in main))


def _matched_torch() -> Iterator[Finding]:
    mend = "pip install -c constraints.txt torch torchvision  (both from the same index)"
    versions = f"torch {_version('torch')}, torchvision {_version('torchvision')}"
    try:
        importlib.import_module("torch")
        importlib.import_module("torchvision")
    except Exception as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "torchvision::nms" in why:
            why = "the two are builds that do not match (" + why + ")"
        yield Finding("torch and torchvision", "fail", f"{versions}: {why}", mend)
    else:
        yield Finding("torch and torchvision", "ok", f"{versions}, matched")


def _devices() -> Iterator[Finding]:
    import psutil
    import torch

    memory = psutil.virtual_memory()
    detail = f"{os.cpu_count()} cores, {memory.available / GIGABYTE:.1f} GB of memory free"
    enough = memory.available > 2 * GIGABYTE
    yield Finding(
        "cpu", "ok" if enough else "fail", detail, "" if enough else "free 2 GB of memory for the demo"
    )
    if not torch.cuda.is_available():
        yield Finding("gpu", "note", "no CUDA device", "the demo needs none; full-size studies do")
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield Finding(
            f"gpu {index}", "ok", f"{name}, {free / GIGABYTE:.0f} of {total / GIGABYTE:.0f} GB free"
        )


def _determinism() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        yield Finding(
            "determinism", "ok", "the CPU gives the same bits in every run with the same thread count"
        )
        return
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    detail = f"CUBLAS_WORKSPACE_CONFIG={workspace or 'not set'}; --deterministic sets it for a run"
    yield Finding("determinism", "ok", detail)


def _writable(folder: Path) -> str | None:
    """Why a file cannot be made below `folder`; tried in the nearest parent that exists."""
    home = folder.absolute()
    while not home.exists():
        home = home.parent
    try:
        with tempfile.TemporaryFile(dir=home):
            return None
    except OSError as error:
        return f"{home}: {error.strerror or error}"


def _folders(out: Path) -> Iterator[Finding]:
    for name, folder, mend in (
        ("cache folder", paths.cache_dir(), "point TIPR_CACHE at a folder you may write to"),
        ("output folder", out, "choose another with --out"),
    ):
        refusal = _writable(folder)
        yield Finding(name, "fail" if refusal else "ok", refusal or str(folder), mend if refusal else "")


def _disk(out: Path) -> Iterator[Finding]:
    for name, folder in (("disk for caches", paths.cache_dir()), ("disk for runs", out)):
        home = folder.absolute()
        while not home.exists():
            home = home.parent
        free = shutil.disk_usage(home).free / GIGABYTE
        enough = free >= DEMO_DISK
        detail = f"{free:.1f} GB free, the demo asks for {DEMO_DISK:.0f}"
        yield Finding(name, "ok" if enough else "fail", detail, "" if enough else f"free space near {home}")


def _network() -> Iterator[Finding]:
    if paths.offline():
        yield Finding(
            "network", "note", "switched off by HARNESS_OFFLINE=1", "weights must be given as files"
        )
        return
    try:
        socket.create_connection(("huggingface.co", 443), timeout=2).close()
        yield Finding("network", "ok", "huggingface.co answers; pretrained weights can be fetched")
    except OSError as error:
        mend = "full-size backbones need `pretrained:` to name a local file; the demo needs no network"
        yield Finding("network", "note", f"huggingface.co does not answer ({error})", mend)


def _extras() -> Iterator[Finding]:
    for extra, (module, purpose) in EXTRAS.items():
        if importlib.util.find_spec(module) is not None:
            yield Finding(f"extra {extra}", "ok", purpose)
        else:
            mend = f"pip install -c constraints.txt -e '.[{extra}]'"
            yield Finding(f"extra {extra}", "note", f"not installed: {purpose}", mend)


def _tagger() -> Iterator[Finding]:
    from methods.text_pruning import tagger

    chosen = tagger("auto")
    yield Finding("part-of-speech tagger", "ok", f"{chosen.name} {chosen.version}")


def _datasets(data_root: Path | None) -> Iterator[Finding]:
    from harness.registry import datasets

    root = paths.data_root(data_root)
    for name, entry in datasets().items():
        if entry.home == "embedded":
            yield _embedded(name)
        elif root is None:
            mend = "name the data root with --data-root or TIPR_DATA"
            yield Finding(f"dataset {name}", "note", "no data root given", mend)
        else:
            yield _benchmark(name, root, entry.how_to_get)


def _embedded(name: str) -> Finding:
    from harness.data.records import DataError
    from harness.data.rendered import unpack

    try:
        return Finding(f"dataset {name}", "ok", f"embedded, unpacked in {unpack(name)}")
    except DataError as error:
        return Finding(f"dataset {name}", "fail", "; ".join(error.problems), "reinstall the package")


def _benchmark(name: str, root: Path, how_to_get: str) -> Finding:
    from harness.data.datasets import check_dataset

    report = check_dataset(name, root)
    problems = list(report["problems"])
    if problems:
        more = f" (and {len(problems) - 1} more: data check {name})" if len(problems) > 1 else ""
        return Finding(f"dataset {name}", "note", problems[0] + more, how_to_get)
    counts = "complete, the published counts" if report["official"] else "loadable, not the published counts"
    return Finding(f"dataset {name}", "ok", counts)
