"""The run store: what ran, how it ended, and every number it left. The only room that writes results.

DIR/study.yaml  environment.json  results.csv  certificate.json (of `verify`)
DIR/data/<fingerprint>.json.gz      the files of a dataset
DIR/cells/<dataset>.<method>.<seed>.<identity>/
  cell.json       what the cell's identity is made of, and what was recorded beside it
  status.json     queued, running, done, failed (with a reason) or pruned
  history.jsonl   one line per epoch, only ever appended to
  checkpoint/     the last full state, named by its epoch and its own SHA-256
  model-{val,last,test}.safetensors    one file when the same epoch was chosen
  records/<target>.<selection>.<direction>.parquet    one row per query
  results.json    the scores
  lock            held by the process that trains the cell
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import files, savedstate, weights
from harness.files import LockedError, StoreError, atomic_file, atomic_json, atomic_write, read_json
from harness.study import Cell, Study, fingerprint

if TYPE_CHECKING:
    import pandas as pd
    import torch

__all__ = ["CellRun", "LockedError", "RunStore", "Status", "StoreError"]

State = Literal["queued", "running", "done", "failed", "pruned"]
Reason = Literal["", "oom", "nan", "data", "timeout", "error"]
SELECTIONS = ("val", "last", "test")
DIRECTIONS = ("t2i", "i2t")
FORMAT = 1


@dataclass(frozen=True)
class Status:
    """How a cell stands."""

    state: State = "queued"
    reason: Reason = ""
    """Why it failed."""
    detail: str = ""
    """The error in one line, or what a person should know."""
    epoch: int = 0
    """Epochs trained."""
    seconds: float = 0.0
    """Of training, over all attempts."""


class CellRun:
    """One cell of a store, on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def name(self) -> str:
        """The cell's folder, by which reports refer to it."""
        return self.directory.name

    # -- what it is -------------------------------------------------------------------------------

    @property
    def description(self) -> dict[str, Any]:
        """`cell.json`: `identity`, its `parts`, `cell` (what was asked for) and `recorded` (host, paths …).

        Raises `StoreError` when it is missing or damaged.
        """
        description = read_json(self.directory / "cell.json")
        if not isinstance(description, dict):
            raise StoreError(f"{self.directory / 'cell.json'}: not a description of a cell")
        return description

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its flat name."""
        settings: dict[str, Any] = self.description["parts"]["settings"]
        return settings

    def describe(self, **recorded: Any) -> None:
        """Add to what is recorded beside the identity: host, command, device, versions."""
        description = self.description
        description["recorded"] = {**description.get("recorded", {}), **recorded}
        atomic_json(self.directory / "cell.json", description)

    # -- how it stands ----------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """How the cell stands; one that was cut off while running counts as queued and resumes."""
        status = self._written_status()
        if status.state == "running" and not files.is_locked(self.directory / "lock"):
            return Status(
                "queued", "", f"cut off in epoch {status.epoch + 1}; resumes", status.epoch, status.seconds
            )
        return status

    def _written_status(self) -> Status:
        try:
            written = read_json(self.directory / "status.json")
            return Status(**{name: written[name] for name in Status.__dataclass_fields__})
        except (StoreError, KeyError, TypeError):
            # Rewritten by the next run from what is beside it; until then the cell is not finished.
            return Status()

    def set_status(self, state: State, *, reason: Reason = "", detail: str = "", **more: Any) -> None:
        """Write the status; epoch and seconds carry over unless given."""
        before = self._written_status()
        kept = {"epoch": before.epoch, "seconds": before.seconds, **more}
        status = Status(state=state, reason=reason, detail=detail[:2000], **kept)
        atomic_json(self.directory / "status.json", asdict(status))

    def finish(self) -> None:
        """The cell is done: its results stand."""
        self.set_status("done")

    def fail(self, reason: Reason, detail: str) -> None:
        """The cell ended without results, for this reason."""
        self.set_status("failed", reason=reason, detail=detail)

    @contextlib.contextmanager
    def lock(self, patience: float = 1.0) -> Iterator[None]:
        """Hold the cell: two processes never train one. Raises `LockedError` when another does."""
        with files.lock(self.directory / "lock", patience):
            files.remove_leftovers(self.directory)
            yield

    def set_aside(self, path: Path, why: str) -> None:
        """Move a damaged file out of the way and note it; it is never used and never deleted."""
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        os.replace(path, aside)
        self.note(f"{path.relative_to(self.directory)}: {why}; set aside as {aside.name}")

    def note(self, text: str) -> None:
        """Keep a sentence for the reader of the report: what went wrong and was mended."""
        files.append_line(self.directory / "notes.jsonl", {"note": text})

    @property
    def notes(self) -> list[str]:
        """What went wrong and was mended, and history lines that cannot be read."""
        written = [str(line.get("note")) for line in files.read_lines(self.directory / "notes.jsonl").records]
        return written + files.read_lines(self.directory / "history.jsonl").dropped

    # -- training ---------------------------------------------------------------------------------

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record per epoch, in order. Of an epoch that was trained again the last record counts."""
        by_epoch = {
            record["epoch"]: record
            for record in files.read_lines(self.directory / "history.jsonl").records
            if isinstance(record.get("epoch"), int)
        }
        return [by_epoch[epoch] for epoch in sorted(by_epoch)]

    def append_history(self, record: Mapping[str, Any]) -> None:
        """Append one epoch's line."""
        files.append_line(self.directory / "history.jsonl", dict(record))

    def truncate_after(self, epoch: int) -> None:
        """Forget epochs after `epoch`, which a resumed run trains again."""
        kept = [record for record in self.history if record["epoch"] <= epoch]
        lines = [json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n" for record in kept]
        if (self.directory / "history.jsonl").exists():
            atomic_write(self.directory / "history.jsonl", "".join(lines))

    def save_checkpoint(self, state: Mapping[str, Any], epoch: int) -> None:
        """Keep the full state after `epoch`, in place of the one before."""
        savedstate.save(self.directory / "checkpoint", state, epoch)

    def load_checkpoint(self, map_location: str | torch.device = "cpu") -> dict[str, Any] | None:
        """The newest full state that is sound, or None. A damaged one is named and set aside, never used."""
        return savedstate.load(self.directory / "checkpoint", map_location, self.set_aside)

    def drop_checkpoint(self) -> None:
        """Free the disk of a finished cell's optimiser state; its models stay."""
        savedstate.drop(self.directory / "checkpoint")

    # -- models, records, results -----------------------------------------------------------------

    def model_path(self, selection: str) -> Path:
        """Where the model of a selection lies."""
        return self.directory / f"model-{selection}.safetensors"

    def save_model(
        self,
        selection: str,
        state: Mapping[str, torch.Tensor],
        epoch: int,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Keep a model's weights for a selection; a hard link when another selection has this epoch."""
        others = [self.model_path(other) for other in SELECTIONS if other != selection]
        weights.save(self.model_path(selection), state, epoch, metadata, others)

    def model_epoch(self, selection: str) -> int | None:
        """The epoch after which a selection's model was kept, or None when there is no sound one."""
        return weights.epoch_of(self.model_path(selection))

    def load_model(self, selection: str) -> dict[str, torch.Tensor]:
        """The weights kept for a selection. Raises `StoreError` when they are missing or damaged."""
        return weights.load(self.model_path(selection))

    def save_records(self, target: str, selection: str, direction: str, frame: pd.DataFrame) -> str:
        """Keep one row per query of an evaluation; the SHA-256 of the file, a seal for the results."""
        with atomic_file(self.records_path(target, selection, direction)) as file:
            frame.to_parquet(file, index=False, write_page_checksum=True)
        return self.seal(target, selection, direction)

    def seal(self, target: str, selection: str, direction: str) -> str:
        """SHA-256 of an evaluation's file as it is now. Raises `StoreError` when it cannot be read."""
        try:
            return files.sha256(self.records_path(target, selection, direction))
        except OSError as error:
            raise StoreError(str(error)) from error

    def records(self, target: str, selection: str, direction: str) -> pd.DataFrame:
        """The rows of an evaluation. Raises `StoreError` when they are missing or damaged."""
        import pandas as pd

        path = self.records_path(target, selection, direction)
        try:
            return pd.read_parquet(path, page_checksum_verification=True)
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            raise StoreError(f"{path}: {error}") from error

    def records_path(self, target: str, selection: str, direction: str) -> Path:
        """Where the records of an evaluation lie."""
        return self.directory / "records" / f"{target}.{selection}.{direction}.parquet"

    def has_records(self, row: Mapping[str, Any]) -> bool:
        """Whether the records behind a row of results are there in full length; one look, nothing is read."""
        path = self.records_path(str(row.get("target")), str(row.get("selection")), str(row.get("direction")))
        try:
            size = path.stat().st_size
        except OSError:
            return False
        return bool(row.get("bytes", size) == size)

    def write_results(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep the scores, one row per target, selection and direction, with the target's fingerprint."""
        atomic_json(self.directory / "results.json", [dict(row) for row in rows])

    @property
    def results(self) -> list[dict[str, Any]]:
        """The scores kept so far; none when the file is missing or damaged."""
        try:
            rows = read_json(self.directory / "results.json")
        except StoreError:
            return []
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


class RunStore:
    """A folder of cells."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def cells(self) -> list[CellRun]:
        """The cells that stand, by name: of each method, dataset and seed the one asked for last."""
        current = set(self._current().values())
        return [run for run in self.all_cells() if not current or run.name in current]

    def all_cells(self) -> list[CellRun]:
        """Every cell that was ever opened here, by name, also those of other settings, data or code."""
        folder = self.directory / "cells"
        if not folder.is_dir():
            return []
        return [CellRun(path) for path in sorted(folder.iterdir()) if (path / "cell.json").is_file()]

    def _current(self) -> dict[str, str]:
        try:
            current = read_json(self.directory / "current.json")
        except StoreError:
            return {}
        return current if isinstance(current, dict) else {}

    def make_current(self, runs: Sequence[tuple[Cell, CellRun]]) -> None:
        """Let these cells stand for their method, dataset and seed from now on; others keep standing."""
        with files.lock(self.directory / "lock", patience=30):
            asked = {cell.key: run.name for cell, run in runs}
            atomic_json(self.directory / "current.json", {**self._current(), **asked})

    def cell(self, name: str) -> CellRun:
        """The cell whose folder starts with `name`. Raises `StoreError` unless there is exactly one."""
        found = [run for run in self.cells() if run.name.startswith(name)]
        if len(found) != 1:
            what = "no cell" if not found else f"{len(found)} cells"
            raise StoreError(f"{self.directory}: {what} called {name!r}")
        return found[0]

    def path_of(self, cell: Cell, identity: str) -> Path:
        """Where a cell lies, whether it is there or not."""
        return self.directory / "cells" / cell.directory_name(identity)

    def open(self, cell: Cell, parts: Mapping[str, Any], **recorded: Any) -> CellRun:
        """The cell with these identity parts, made when it is not there yet.

        A damaged description is written anew: everything in the folder belongs to this identity.
        """
        identity = fingerprint(parts)
        run = CellRun(self.path_of(cell, identity))
        try:
            run.description["parts"]["settings"]
        except (StoreError, KeyError, TypeError) as error:
            if (run.directory / "cell.json").exists():
                run.set_aside(run.directory / "cell.json", f"damaged ({type(error).__name__}), written anew")
            described = {"format": FORMAT, "identity": identity, "parts": parts, "cell": _asked(cell)}
            atomic_json(run.directory / "cell.json", {**described, "recorded": recorded})
            if not (run.directory / "status.json").exists():
                run.set_status("queued")
        return run

    def keep_files(self, data: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep a dataset's list of files under its fingerprint, so that a change can be told file by file."""
        path = self._files_path(data)
        if not path.exists():
            atomic_write(path, gzip.compress(json.dumps(list(rows)).encode(), mtime=0))

    def files_of(self, data: str) -> list[dict[str, Any]] | None:
        """The list kept for a dataset's fingerprint; None when there is none, or it is damaged."""
        try:
            rows = json.loads(gzip.decompress(self._files_path(data).read_bytes()))
        except (OSError, EOFError, ValueError, zlib.error):
            return None
        return rows if isinstance(rows, list) else None

    def _files_path(self, data: str) -> Path:
        return self.directory / "data" / f"{data}.json.gz"

    def write_study(self, study: Study) -> None:
        """Keep the resolved study, its claims, and where it came from."""
        import yaml

        header = f"# {study.name}, resolved: what ran. From {study.source.name}.\n"
        values = study.resolved()
        if study.claims is not None:
            atomic_write(self.directory / "claims.yaml", study.claims.read_bytes())
            values["claims"] = "claims.yaml"
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
        atomic_write(self.directory / "study.yaml", header + text)


def _asked(cell: Cell) -> dict[str, Any]:
    """What a study asked for, without what is in the identity's settings."""
    plain = ("study", "method", "base", "dataset", "seed", "preset", "trains", "subset", "tie_order")
    return {
        **{name: getattr(cell, name) for name in plain},
        "targets": list(cell.targets),
        "select": cell.select.model_dump(),
        "train": cell.train.model_dump(mode="json"),
        "own": dict(cell.own),
        "given": dict(cell.given),
    }
