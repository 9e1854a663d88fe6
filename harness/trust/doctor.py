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

from harness.machine import paths
from harness.study.study import Study, load_study

Verdict = Literal["ok", "note", "fail"]

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
GIGABYTE = 1e9
COPIES_TRAINED, COPIES_TRAINING = 6, 4
"""Of a model's weights on the disk: three selected models and three in the last checkpoint; and what a cell
adds while it trains, the optimiser's two averages and a checkpoint that is not yet complete."""
DEMO_DISK = 2.0
"""Free gigabytes the demo asks for: caches, checkpoints and three models a cell, with room to spare."""


@dataclass(frozen=True)
class Diagnosis:
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


def diagnose(
    data_root: Path | None = None,
    out: Path = Path("runs"),
    study: Path | None = None,
    tell: Callable[[Diagnosis], None] | None = None,
) -> list[Diagnosis]:
    """Every finding about this machine, in the order of a reader's questions; with `study` also whether
    there is room for it. `tell` is given each as soon as it is known.

    Writes nothing but the unpacked embedded datasets in the cache folder. Raises `StudyError` for a study
    that is none.
    """
    loaded = None if study is None else load_study(study)
    checks: tuple[Callable[[], Iterator[Diagnosis]], ...] = (
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
        *([] if loaded is None else [lambda: _study(loaded, data_root, out)]),
    )
    findings = []
    for check in checks:
        for finding in _guarded(check):
            findings.append(finding)
            if tell is not None:
                tell(finding)
    return findings


def healthy(findings: list[Diagnosis]) -> bool:
    """Whether the demo can run here."""
    return all(finding.verdict != "fail" for finding in findings)


def as_plain(findings: list[Diagnosis]) -> dict[str, Any]:
    """The diagnosis as one JSON object."""
    return {"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}


def _guarded(check: Callable[[], Iterator[Diagnosis]]) -> Iterator[Diagnosis]:
    # A diagnosis that crashes on the illness it looks for helps nobody.
    try:
        yield from check()
    except Exception as error:
        name = getattr(check, "__name__", "check").strip("_<>")
        yield Diagnosis(name, "fail", f"{type(error).__name__}: {error}", "report this line to the authors")


def _python() -> Iterator[Diagnosis]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = sys.version_info >= (3, 11)
    yield Diagnosis("python", "ok" if fits else "fail", version, "" if fits else "use Python 3.11 or newer")


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
    mend = "pip install -c constraints.txt torch torchvision  (both from the same index)"
    versions = f"torch {_version('torch')}, torchvision {_version('torchvision')}"
    try:
        importlib.import_module("torch")
        importlib.import_module("torchvision")
    except Exception as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "torchvision::nms" in why:
            why = "the two are builds that do not match (" + why + ")"
        yield Diagnosis("torch and torchvision", "fail", f"{versions}: {why}", mend)
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


def _writable(folder: Path) -> str | None:
    """Why a file cannot be made below `folder`; tried in the nearest parent that exists."""
    home = _nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=home):
            return None
    except OSError as error:
        return f"{home}: {error.strerror or error}"


def _folders(out: Path) -> Iterator[Diagnosis]:
    for name, folder, mend in (
        ("cache folder", paths.cache_dir(), "point TIPR_CACHE at a folder you may write to"),
        ("output folder", out, "choose another with --out"),
    ):
        refusal = _writable(folder)
        yield Diagnosis(name, "fail" if refusal else "ok", refusal or str(folder), mend if refusal else "")


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest parent of it that exists."""
    home = folder.absolute()
    while not home.exists():
        home = home.parent
    return home


def _room(name: str, folder: Path, needed: float, who: str) -> Diagnosis:
    """Whether there are so many free gigabytes where a folder is, or will be."""
    home = _nearest(folder)
    free = shutil.disk_usage(home).free / GIGABYTE
    enough = free >= needed
    detail = f"{free:.1f} GB free, {who} asks for {needed:.1f}"
    return Diagnosis(name, "ok" if enough else "fail", detail, "" if enough else f"free space near {home}")


def _disk(out: Path) -> Iterator[Diagnosis]:
    yield _room("disk for caches", paths.cache_dir(), DEMO_DISK, "the demo")
    yield _room("disk for runs", out, DEMO_DISK, "the demo")


def _study(study: Study, data_root: Path | None, out: Path) -> Iterator[Diagnosis]:
    """Whether the disk can hold what a study writes: its caches, and of each cell a checkpoint and models."""
    cache, runs = study_disk(study, data_root)
    yield _room(f"disk for caches of {study.name}", paths.cache_dir(), cache / GIGABYTE, study.name)
    yield _room(f"disk for runs of {study.name}", out, runs / GIGABYTE, study.name)


def study_disk(study: Study, data_root: Path | None) -> tuple[int, int]:
    """Bytes that a study needs: for its caches of decoded images, and for its run's folder.

    A cell that trained keeps three models of 4 bytes a weight, and the same in its last checkpoint; one that
    does not train keeps one model. Per-query records and pages are small beside that.
    """
    from harness.data.datasets import load_dataset
    from methods.cost import build_on_meta

    cells = study.cells()
    views = {(name, cell.train.image_size) for cell in cells for name in cell.targets}
    images = {
        name: sum(
            len(split.image_paths)
            for split in load_dataset(
                name, data_root, subset=study.file.subset, contents=False
            ).splits.values()
        )
        for name in {name for name, _ in views}
    }
    cache = sum(images[name] * 3 * height * width for name, (height, width) in views)
    kinds = {(cell.base, cell.train.backbone, cell.train.image_size): cell for cell in cells}
    weights = {
        kind: sum(weight.numel() for weight in build_on_meta(*kind, dict(cell.overrides)).parameters())
        for kind, cell in kinds.items()
    }
    copies = {True: COPIES_TRAINED, False: 1}
    largest = max((weights[kind] for kind, cell in kinds.items() if cell.trains), default=0)
    runs = sum(
        4 * copies[cell.trains] * weights[cell.base, cell.train.backbone, cell.train.image_size]
        for cell in cells
    )
    return cache, runs + 4 * COPIES_TRAINING * largest


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
        mend = "full-size backbones need `pretrained:` to name a local file; the demo needs no network"
        yield Diagnosis("network", "note", f"huggingface.co does not answer ({error})", mend)


def _extras() -> Iterator[Diagnosis]:
    for extra, (module, purpose) in EXTRAS.items():
        if importlib.util.find_spec(module) is not None:
            yield Diagnosis(f"extra {extra}", "ok", purpose)
        else:
            mend = f"pip install -c constraints.txt -e '.[{extra}]'"
            yield Diagnosis(f"extra {extra}", "note", f"not installed: {purpose}", mend)


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
            mend = "name the data root with --data-root or TIPR_DATA"
            yield Diagnosis(f"dataset {name}", "note", "no data root given", mend)
        else:
            yield _benchmark(name, root, entry.how_to_get)


def _embedded(name: str) -> Diagnosis:
    from harness.data.dataset import DataError
    from harness.data.rendered import unpack

    try:
        return Diagnosis(f"dataset {name}", "ok", f"embedded, unpacked in {unpack(name)}")
    except DataError as error:
        return Diagnosis(f"dataset {name}", "fail", "; ".join(error.problems), error.mend or "reinstall it")


def _benchmark(name: str, root: Path, how_to_get: str) -> Diagnosis:
    from harness.data.datasets import check_dataset

    report = check_dataset(name, root, decode=False)
    problems = list(report["problems"])
    if problems:
        more = f" (and {len(problems) - 1} more: data check {name})" if len(problems) > 1 else ""
        return Diagnosis(f"dataset {name}", "note", problems[0].removeprefix(f"{name}: ") + more, how_to_get)
    counts = "complete, the published counts" if report["official"] else "loadable, not the published counts"
    return Diagnosis(f"dataset {name}", "ok", counts)


def render(finding: Diagnosis) -> None:
    """Print a finding, and its mend under it, at once: some take seconds to find."""
    print(f"{finding.verdict:<4}  {finding.name:<{NAME_WIDTH}}  {finding.detail}", flush=True)
    if finding.mend:
        print(f"{'':<4}  {'':<{NAME_WIDTH}}  → {finding.mend}", flush=True)


def conclude(findings: list[Diagnosis]) -> None:
    """Print what the findings come to."""
    print("the demo can run here" if healthy(findings) else "the demo cannot run here as things are")
