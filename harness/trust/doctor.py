"""The verb `doctor`: what this machine has, what can run on it, and the remedy for what cannot."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from harness.launch.disk import GIGABYTE, study_disk
from harness.machine import paths
from harness.machine.files import nearest_folder, why_not_writable
from harness.study.study import Study, load_study
from harness.trust import evidence

Severity = Literal["ok", "note", "fail"]

DISTRIBUTION = "tipr-harness"
EXTRAS = {
    "rendering": ("numba", "draws the rendered datasets anew"),
    "postgresql": ("psycopg", "searches shared by several machines"),
    "ray": ("ray", "--launcher ray"),
    "slurm": ("submitit", "--launcher slurm"),
    "dashboard": ("optuna_dashboard", "a live page of a search"),
}
NAME_WIDTH = 24
"""Characters for what was looked at: lines are printed before the longest is known."""
DEMO_DISK = 2.0
"""Free gigabytes the demo asks for: caches, checkpoints and models, with some to spare."""


@dataclass(frozen=True)
class Diagnosis:
    """One line of the diagnosis."""

    name: str
    """What was looked at."""
    verdict: Severity
    """`ok`, `note` (something will not be available) or `fail` (the demo cannot run here)."""
    detail: str
    """What was found."""
    remedy: str = ""
    """What to do about it; empty when nothing needs doing."""


def diagnose(
    data_root: Path | None = None,
    out: Path = paths.RUNS,
    study: Path | None = None,
    on_finding: Callable[[Diagnosis], None] | None = None,
) -> list[Diagnosis]:
    """Every finding about this machine, in the order of a reader's questions.

    Writes nothing but the unpacked embedded datasets in the cache folder.

    Args:
        data_root: Of the benchmark datasets.
        out: Where runs are, or will be.
        study: A study that is to run here; then its need of disk is looked at too.
        on_finding: Called with each finding as soon as it is known.

    Raises:
        StudyError: `study` is none.
    """
    loaded = None if study is None else load_study(study)
    checks: tuple[Callable[[], Iterator[Diagnosis]], ...] = (
        _python,
        _imported_code,
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
        lambda: _failures(out),
        *([] if loaded is None else [lambda: _study(loaded, data_root, out)]),
    )
    findings = []
    for check in checks:
        for finding in _guarded(check):
            findings.append(finding)
            if on_finding is not None:
                on_finding(finding)
    return findings


def healthy(findings: list[Diagnosis]) -> bool:
    """Whether the demo can run here."""
    return all(finding.verdict != "fail" for finding in findings)


def as_plain(findings: list[Diagnosis], out: Path = paths.RUNS) -> dict[str, Any]:
    """The diagnosis as one JSON object, with what a maintainer asks for of a fault (`evidence`)."""
    diagnosis = {"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}
    return {**diagnosis, **evidence.collected(out)}


def _guarded(check: Callable[[], Iterator[Diagnosis]]) -> Iterator[Diagnosis]:
    # A diagnosis that is ended by the very fault it looks for helps nobody.
    try:
        yield from check()
    except Exception as error:
        name = getattr(check, "__name__", "check").strip("_<>")
        yield Diagnosis(
            name, "fail", f"{type(error).__name__}: {error}", "report this line to the maintainers"
        )


def _python() -> Iterator[Diagnosis]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = sys.version_info >= (3, 11)
    yield Diagnosis("python", "ok" if fits else "fail", version, "" if fits else "use Python 3.11 or newer")


def _imported_code() -> Iterator[Diagnosis]:
    """Whether `harness`, `methods` and `reports` come from one place, or a folder shadows one of them."""
    folders = evidence.imported_from()
    if len({str(Path(folder).parent) for folder in folders.values()}) == 1:
        yield Diagnosis("imported code", "ok", str(Path(folders["harness"]).parent))
    else:
        detail = ", ".join(f"{name} from {folder}" for name, folder in folders.items())
        remedy = "start where no folder has one of these names, or rename that folder"
        yield Diagnosis("imported code", "fail", detail, remedy)


def _failures(out: Path) -> Iterator[Diagnosis]:
    """The failed cells of the runs below `out`; `--json` has their tracebacks."""
    failed = evidence.failed_cells(out)
    if failed:
        reasons = ", ".join(
            f"{count} {reason}" for reason, count in Counter(f["reason"] for f in failed).items()
        )
        remedy = "`doctor --json` has the traceback of each; `run` tries them again"
        yield Diagnosis("failed cells", "note", f"{len(failed)} below {out} ({reasons})", remedy)


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
        installed = _version(needed.name)
        if installed is None or not needed.specifier.contains(installed, prereleases=True):
            yield f"{needed.name}{needed.specifier} (found {installed or 'nothing'})"


def _packages() -> Iterator[Diagnosis]:
    unmet = list(_unmet())
    if unmet:
        yield Diagnosis(
            "packages", "fail", f"unmet: {', '.join(unmet)}", "pip install -c constraints.txt -e ."
        )
    else:
        main = ("open_clip_torch", "lightning-fabric", "optuna", "pandas")
        yield Diagnosis("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in main))


def _matched_torch() -> Iterator[Diagnosis]:
    remedy = "pip install -c constraints.txt torch torchvision  (both from the same index)"
    versions = f"torch {_version('torch')}, torchvision {_version('torchvision')}"
    try:
        importlib.import_module("torch")
        importlib.import_module("torchvision")
    except Exception as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "torchvision::nms" in why:
            why = "the two are builds that do not match (" + why + ")"
        yield Diagnosis("torch and torchvision", "fail", f"{versions}: {why}", remedy)
    else:
        yield Diagnosis("torch and torchvision", "ok", f"{versions}, matched")


def _devices() -> Iterator[Diagnosis]:
    import psutil
    import torch

    memory = psutil.virtual_memory()
    detail = f"{os.cpu_count()} cores, {memory.available / GIGABYTE:.1f} GB of memory free"
    enough = memory.available > 2 * GIGABYTE
    yield Diagnosis(
        "cpu", "ok" if enough else "fail", detail, "" if enough else "free 2 GB of memory for the demo"
    )
    if not torch.cuda.is_available():
        yield Diagnosis("gpu", "note", "no CUDA device", "the demo needs none; full-size studies do")
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield Diagnosis(
            f"gpu {index}", "ok", f"{name}, {free / GIGABYTE:.0f} of {total / GIGABYTE:.0f} GB free"
        )


def _determinism() -> Iterator[Diagnosis]:
    import torch

    if not torch.cuda.is_available():
        yield Diagnosis(
            "determinism", "ok", "the CPU gives the same bits in every run with the same thread count"
        )
        return
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    detail = f"CUBLAS_WORKSPACE_CONFIG={workspace or 'not set'}; --deterministic sets it for a run"
    yield Diagnosis("determinism", "ok", detail)


def _folders(out: Path) -> Iterator[Diagnosis]:
    for name, folder, remedy in (
        ("cache folder", paths.cache_dir(), "point HARNESS_CACHE at a folder you may write to"),
        ("output folder", out, "choose another with --out"),
    ):
        refusal = why_not_writable(folder)
        yield Diagnosis(name, "fail" if refusal else "ok", refusal or str(folder), remedy if refusal else "")


def _disk_space(name: str, folder: Path, needed: float, who: str) -> Diagnosis:
    """Whether there are so many free gigabytes where a folder is, or will be."""
    home = nearest_folder(folder)
    free = shutil.disk_usage(home).free / GIGABYTE
    enough = free >= needed
    detail = f"{free:.1f} GB free, {who} asks for {needed:.1f}"
    return Diagnosis(name, "ok" if enough else "fail", detail, "" if enough else f"free space near {home}")


def _disk(out: Path) -> Iterator[Diagnosis]:
    yield _disk_space("disk for caches", paths.cache_dir(), DEMO_DISK, "the demo")
    yield _disk_space("disk for runs", out, DEMO_DISK, "the demo")


def _study(study: Study, data_root: Path | None, out: Path) -> Iterator[Diagnosis]:
    """Whether the disk can hold what a study writes: its caches, and of each cell a checkpoint and models."""
    cache, runs = study_disk(study, data_root)
    yield _disk_space(f"disk for caches of {study.name}", paths.cache_dir(), cache / GIGABYTE, study.name)
    yield _disk_space(f"disk for runs of {study.name}", out, runs / GIGABYTE, study.name)


def _network() -> Iterator[Diagnosis]:
    if paths.offline():
        yield Diagnosis(
            "network", "note", "switched off by HARNESS_OFFLINE=1", "weights must be given as files"
        )
        return
    try:
        socket.create_connection(("huggingface.co", 443), timeout=2).close()
        yield Diagnosis("network", "ok", "huggingface.co answers; pretrained weights can be fetched")
    except OSError as error:
        remedy = "full-size backbones need `pretrained:` to name a local file; the demo needs no network"
        yield Diagnosis("network", "note", f"huggingface.co does not answer ({error})", remedy)


def _extras() -> Iterator[Diagnosis]:
    for extra, (module, purpose) in EXTRAS.items():
        if importlib.util.find_spec(module) is not None:
            yield Diagnosis(f"extra {extra}", "ok", purpose)
        else:
            remedy = f"pip install -c constraints.txt -e '.[{extra}]'"
            yield Diagnosis(f"extra {extra}", "note", f"not installed: {purpose}", remedy)


def _tagger() -> Iterator[Diagnosis]:
    from methods.text_pruning import tagger

    chosen = tagger("auto")
    yield Diagnosis("part-of-speech tagger", "ok", f"{chosen.name} {chosen.version}")


def _datasets(data_root: Path | None) -> Iterator[Diagnosis]:
    from harness.registry import datasets

    root = paths.data_root(data_root)
    for name, entry in datasets().items():
        if entry.home == "embedded":
            yield _embedded(name)
        elif root is None:
            remedy = "name the data root with --data-root or HARNESS_DATA"
            yield Diagnosis(f"dataset {name}", "note", "no data root given", remedy)
        else:
            yield _benchmark(name, root, entry.how_to_get)


def _embedded(name: str) -> Diagnosis:
    from harness.data.rendered import unpack
    from harness.machine.errors import DataError

    try:
        return Diagnosis(f"dataset {name}", "ok", f"embedded, unpacked in {unpack(name)}")
    except DataError as error:
        return Diagnosis(f"dataset {name}", "fail", "; ".join(error.lines), error.remedy or "reinstall it")


def _benchmark(name: str, root: Path, how_to_get: str) -> Diagnosis:
    from harness.data.checks import check_dataset

    report = check_dataset(name, root, decode=False)
    problems = list(report["problems"])
    if problems:
        more = f" (and {len(problems) - 1} more: data check {name})" if len(problems) > 1 else ""
        return Diagnosis(f"dataset {name}", "note", problems[0].removeprefix(f"{name}: ") + more, how_to_get)
    counts = "complete, the published counts" if report["official"] else "loadable, not the published counts"
    return Diagnosis(f"dataset {name}", "ok", counts)


def render(finding: Diagnosis) -> None:
    """Print a finding, and its remedy under it, at once: some take seconds to find."""
    print(f"{finding.verdict:<4}  {finding.name:<{NAME_WIDTH}}  {finding.detail}", flush=True)
    if finding.remedy:
        print(f"{'':<4}  {'':<{NAME_WIDTH}}  → {finding.remedy}", flush=True)


def conclude(findings: list[Diagnosis]) -> None:
    """Print what the findings come to."""
    print("the demo can run here" if healthy(findings) else "the demo cannot run here as things are")
