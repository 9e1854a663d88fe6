"""The run store: what ran, how it ended, and every number it left. Nothing else writes results.

DIR/study.yaml  train-keys.json  environment.json  results.csv  certificate.json (of `verify`)
DIR/data/<fingerprint>.json.gz      the files of a dataset
DIR/cells/<dataset>.<method>.<seed>.<identity>/
  cell.json       what the cell's identity is made of, and what was recorded beside it
  status.json     queued, running, done, failed (with a reason) or pruned; when done, the files' checksums
  history.jsonl   one line per epoch, only ever appended to, each with its checksum
  checkpoint/     the last full state and the history so far, named by its epoch and its own SHA-256
  model-{val,last,test}.safetensors    one file when the same epoch was chosen
  records/<target>.<selection>.<direction>.parquet    one row per query
  results.json    the scores
  notes.jsonl     what went wrong and was repaired
  lock            held by the process that trains the cell
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.machine import files
from harness.machine.errors import StoreError
from harness.machine.files import atomic_json, atomic_write, read_json
from harness.store.cell_format import FORMAT
from harness.store.cell_run import CellRun
from harness.store.run_files import listed_methods, reference_of
from harness.store.seals import write_sealed
from harness.study.cell import Cell, fingerprint
from harness.study.study import Study

TRAIN_KEYS = "train-keys.json"
"""Which methods each key of the study's `train:` reached; the resolved study says only what each has."""


class RunStore:
    """A folder of cells."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._opened: dict[str, CellRun] = {}

    def _run(self, path: Path) -> CellRun:
        """The cell in a folder, always the same object: it reads its status again only when that changed."""
        run = self._opened.get(path.name)
        return run or self._opened.setdefault(path.name, CellRun(path))

    def cells(self) -> list[CellRun]:
        """The latest requested cell per method, dataset and seed, by name."""
        current = set(self._current().values())
        return [run for run in self.all_cells() if not current or run.name in current]

    def all_cells(self) -> list[CellRun]:
        """Every cell that was ever opened here, by name, also those of other settings, data or code."""
        folder = self.directory / "cells"
        if not folder.is_dir():
            return []
        names = sorted(name for name in os.listdir(folder) if os.path.isfile(f"{folder}/{name}/cell.json"))
        return [self._opened.get(name) or self._run(folder / name) for name in names]

    def _current(self) -> dict[str, str]:
        try:
            current = read_json(self.directory / "current.json")
        except StoreError:
            return {}
        return current if isinstance(current, dict) else {}

    def make_current(self, runs: Sequence[tuple[Cell, CellRun]]) -> None:
        """From now on these are the cells of their method, dataset and seed; the others stay as they are."""
        with files.lock(self.directory / "lock", patience=30):
            asked = {cell.key: run.name for cell, run in runs}
            atomic_json(self.directory / "current.json", {**self._current(), **asked})

    def cell(self, name: str) -> CellRun:
        """The cell whose folder starts with `name`. Raises `StoreError` unless there is exactly one."""
        matching = [run for run in self.cells() if run.name.startswith(name)]
        if len(matching) != 1:
            what = "no cell" if not matching else f"{len(matching)} cells"
            raise StoreError(f"{self.directory}: {what} called {name!r}")
        return matching[0]

    def path_of(self, cell: Cell, identity: str) -> Path:
        """Where a cell lies, whether it is there or not."""
        return self.directory / "cells" / cell.directory_name(identity)

    def open(self, cell: Cell, parts: Mapping[str, Any], **recorded: Any) -> CellRun:
        """The cell with these identity parts, made when it is not there yet.

        A damaged description is written again: everything in the folder belongs to this identity.

        Args:
            cell: As its study asks for it.
            parts: What its identity is made of.
            recorded: What a new description keeps beside the identity.
        """
        identity = fingerprint(parts)
        run = self._run(self.path_of(cell, identity))
        if reason := _unfit(run, identity):
            if os.path.lexists(run.directory / "cell.json"):
                run.set_aside(run.directory / "cell.json", f"damaged ({reason}), written again")
            described = {"format": FORMAT, "identity": identity, "parts": parts, "cell": cell.to_dict()}
            write_sealed(run.directory / "cell.json", {**described, "recorded": recorded})
            if not (run.directory / "status.json").exists():
                run.set_status("queued")
        return run

    def keep_files(self, data: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep a dataset's list of files under its fingerprint, so that `why` can name what changed."""
        path = self._files_path(data)
        if self.files_of(data) is None:
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

    def study(self) -> dict[str, Any]:
        """The resolved study that ran last; empty where there is none, or it is damaged."""
        import yaml

        try:
            values = yaml.safe_load((self.directory / "study.yaml").read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return {}
        return values if isinstance(values, dict) else {}

    @property
    def reference(self) -> str:
        """The method that the others are compared with; empty where there is no study."""
        return reference_of(listed_methods(self.study()))

    def write_study(self, study: Study) -> None:
        """Keep the resolved study, its claims, and where it came from."""
        import yaml

        header = f"# {study.name}, resolved: what ran. From {study.source.name}.\n"
        values = study.resolved()
        if study.claims is not None:
            atomic_write(self.directory / "claims.yaml", study.claims.read_bytes())
            values["claims"] = "claims.yaml"
        atomic_json(self.directory / TRAIN_KEYS, {"reach": study.reach(), "notes": list(study.notes)})
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
        atomic_write(self.directory / "study.yaml", header + text)


def _unfit(run: CellRun, identity: str) -> str:
    """Why a cell's description cannot be the one of this identity; empty when it can.

    What an identity leaves open (the study's name, the targets, where weights lay) may differ.
    """
    try:
        return "" if run.checked_identity() == identity else "of another identity"
    except StoreError as error:
        return str(error)
