"""What run stores hold, as plain immutable views: runs, cells, per-query scores. Nothing is computed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.machine.errors import HarnessError, StoreError
from harness.machine.terms import TIED_WITHIN, protocol_of
from harness.store import checksums
from harness.store.cell_run import CellRun, evaluation_key
from harness.store.cell_status import RECORDS, RESULTS
from harness.store.run_files import (
    DEFAULT_REFERENCE,
    ENVIRONMENT,
    listed_methods,
    read_mapping,
    read_study,
    reference_of,
)
from harness.store.runs import RunStore
from reports.cell_views import ALTERED, CellView, Run

READ = "records/*.t2i.parquet"
"""The records that a report reads; these are hashed before they are believed."""


class RunError(HarnessError):
    """A run directory whose study cannot be read."""


@dataclass(frozen=True)
class StoredRuns:
    """Everything a report is made from."""

    runs: tuple[Run, ...]
    cells: tuple[CellView, ...]

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Method labels, in the order the studies list them."""
        return _ordered(
            (entry for run in self.runs for entry in listed_methods(run.study)),
            (c.method for c in self.cells),
        )

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """Datasets trained on, in the order the studies list them."""
        listed = (str(name) for run in self.runs for name in run.study.get("datasets", ()))
        return _ordered(listed, (cell.dataset for cell in self.cells))

    @property
    def margins(self) -> tuple[float, ...]:
        """Within how many points each study calls methods tied; of several, a report takes the smallest."""
        return tuple(float(run.study.get("tied_within", TIED_WITHIN)) for run in self.runs)

    @property
    def presets(self) -> tuple[str, ...]:
        """Presets in the runs; they never share a table."""
        return tuple(sorted({cell.preset for cell in self.cells}))

    @property
    def reference(self) -> str:
        """The label that the others are compared with: `uit`, or the first that the studies list.

        Where its runs could not be had, nothing is compared; no other method takes its place.
        """
        listed = [label for run in self.runs for label in listed_methods(run.study)]
        return reference_of([*listed, *self.methods]) or DEFAULT_REFERENCE

    @property
    def ambiguous(self) -> Mapping[str, tuple[str, ...]]:
        """Labels that stand for different methods in different folders, with what each is called here."""
        names: dict[str, dict[str, None]] = {}
        for cell in self.cells:
            if cell.method != cell.label:
                names.setdefault(cell.label, {})[cell.method] = None
        return {label: tuple(sorted(methods)) for label, methods in names.items()}

    def of(self, method: str, dataset: str, preset: str) -> tuple[CellView, ...]:
        """A method's cells on a dataset, by seed."""
        matching = (c for c in self.cells if (c.method, c.dataset, c.preset) == (method, dataset, preset))
        return tuple(sorted(matching, key=lambda cell: cell.seed))


def _ordered(listed: Iterable[str], present: Iterable[str]) -> tuple[str, ...]:
    """What is present, in the order listed; what nobody listed comes last, by name."""
    there = set(present)
    known = dict.fromkeys(name for name in listed if name in there)
    return (*known, *sorted(there - set(known)))


def read(directories: Sequence[Path]) -> StoredRuns:
    """Read run directories, finished or not.

    Raises FileNotFoundError, naming the directory, when one holds no run, and RunError when its study cannot
    be read. A cell present in several runs is taken once (the finished one first); two different runs under
    one label keep apart by the name of their folder.
    """
    runs, cells = [], []
    for directory in directories:
        run = _run(directory)
        runs.append(run)
        cells += _cells(run)
    return StoredRuns(tuple(runs), tuple(_sorted(_distinct(_populations(cells)))))


def _run(directory: Path) -> Run:
    try:
        study = read_study(directory)
    except StoreError as error:
        raise RunError(error.lines) from error
    return Run(directory, study, read_mapping(directory / ENVIRONMENT))


def _cells(run: Run) -> list[CellView]:
    started = [view for stored in RunStore(run.path).cells() if (view := _view(run, stored)) is not None]
    return started + _planned(run)


def _view(run: Run, stored: CellRun) -> CellView | None:
    """A cell as the store describes it; None when its description is damaged (the plan still lists it)."""
    try:
        described, status = stored.description, stored.status
        wrong = _altered(stored) if stored.was_finished or stored.edited else ""
        asked = described["cell"]
        return CellView(
            run=run,
            method=str(asked["method"]),
            label=str(asked["method"]),
            base=str(asked["base"]),
            dataset=str(asked["dataset"]),
            seed=int(asked["seed"]),
            preset=protocol_of(str(asked["preset"]), str(asked.get("recipe", "shared"))),
            status=ALTERED if wrong else status.state,
            reason=status.reason,
            detail=wrong or status.detail,
            trains=bool(asked["trains"]),
            identity=str(described["identity"]),
            parts=described["parts"],
            recorded=described.get("recorded", {}),
            stored=stored,
            imported=stored.is_imported,
        )
    except (StoreError, KeyError, TypeError, ValueError):
        return None


def _altered(stored: CellRun) -> str:
    """What of a finished cell's scores and records is not as it was written, with the remedy; or nothing.

    Records that a report reads are hashed (2,000 cells with 6,000 queries each: 4 seconds), the others, from
    which nothing is computed, are held against their size and time.
    """
    if stored.edited:
        return f"{stored.edited}; the next run evaluates the models again"
    seen = {**stored.altered(RESULTS), **stored.altered(RECORDS), **_gone(stored)}
    wrong = {**seen, **stored.altered(READ, thorough=True)}
    if not wrong:
        return ""
    name, what = next(iter(wrong.items()))
    what = "was altered after it was written" if what == checksums.ALTERED else what
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    # `run` cannot hash everything at each start, and so does not see what kept its size and time.
    remedy = "" if len(seen) == len(wrong) else "delete it, and "
    kind = "result" if name == RESULTS else "record"
    return f"its {kind} {what}: {name}{more}; {remedy}the next run evaluates the models again"


def _gone(stored: CellRun) -> dict[str, str]:
    """Records that the scores speak of and that are gone; those of an older version have no checksums."""
    paths = (stored.records_path(*evaluation_key(row)) for row in stored.results)
    return {f"records/{path.name}": "is gone" for path in paths if not path.exists()}


def _planned(run: Run) -> list[CellView]:
    """What the study wants trained, whether or not it began."""
    entries = [
        entry if isinstance(entry, Mapping) else {"name": entry} for entry in run.study.get("methods", ())
    ]
    return [
        CellView(
            run=run,
            method=str(entry.get("name")),
            label=str(entry.get("name")),
            base=str(entry.get("base", entry.get("name"))),
            dataset=str(dataset),
            seed=int(seed),
            preset=protocol_of(str(run.study.get("preset", "clean")), str(run.study.get("recipe", "shared"))),
            status="queued",
            reason="not started",
        )
        for dataset in run.study.get("datasets", ())
        for entry in entries
        for seed in _seeds(run.study.get("seeds", ()))
    ]


def _seeds(declared: Any) -> list[int]:
    return list(range(declared)) if isinstance(declared, int) else [int(seed) for seed in declared]


def _populations(cells: Sequence[CellView]) -> list[CellView]:
    """Name the version of a dataset where runs used several: a subset is another test set than the whole."""
    versions: dict[str, set[tuple[str, str]]] = {}
    for cell in cells:
        if cell.parts:
            versions.setdefault(cell.dataset, set()).add(_version(cell))
    several = {name for name, kinds in versions.items() if len(kinds) > 1}
    return [_with_population(cell, several) for cell in cells]


def _with_population(cell: CellView, several: set[str]) -> CellView:
    """The cell with what sets it apart: its version of a dataset in `several`, and its caption noise."""
    said = [_version_text(cell)] if cell.dataset in several and cell.parts else []
    noise = caption_noise(cell)
    said += [f"caption noise {noise:g}"] if noise else []
    return replace(cell, population=", ".join(said)) if said else cell


def caption_noise(cell: CellView) -> float:
    """Share of the training captions that a cell, trained or planned, has at other images."""
    settings = cell.parts.get("dataset") if cell.parts else cell.run.study.get("data")
    return float(settings.get("caption_noise") or 0.0) if isinstance(settings, Mapping) else 0.0


def _version(cell: CellView) -> tuple[str, str]:
    data = cell.parts.get("dataset", {})
    return str(data.get("subset") or ""), str(data.get("fingerprint", ""))


def _version_text(cell: CellView) -> str:
    subset, fingerprint = _version(cell)
    return f"{subset} people, {fingerprint[:6]}" if subset else f"data {fingerprint[:6]}"


def _distinct(cells: Sequence[CellView]) -> list[CellView]:
    """Each trained cell once, a plan only where nothing began, and one label per method and settings."""
    kept: dict[Any, CellView] = {}
    for cell in sorted(cells, key=lambda cell: cell.status != "done"):
        if cell.identity:
            kept.setdefault(cell.identity, cell)
    begun = Counter(map(_slot, kept.values()))
    clashes = {(preset, method) for (preset, _, method, _), count in begun.items() if count > 1}
    for cell in cells:
        if not cell.identity and _slot(cell) not in begun:
            kept.setdefault(_slot(cell), cell)
    return [
        replace(cell, method=f"{cell.method} [{cell.run.path.name}]")
        if (cell.preset, cell.method) in clashes
        else cell
        for cell in kept.values()
    ]


def _slot(cell: CellView) -> tuple[str, str, str, int]:
    return cell.preset, cell.dataset, cell.method, cell.seed


def _sorted(cells: Iterable[CellView]) -> list[CellView]:
    return sorted(cells, key=lambda cell: (cell.preset, cell.dataset, cell.method, cell.seed, cell.identity))
