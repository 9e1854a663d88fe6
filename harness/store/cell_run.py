"""One cell of a run store, on disk: how it stands, and every number it left."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.machine import files
from harness.machine.errors import Reason, StoreError
from harness.machine.files import atomic_json, atomic_write, read_json
from harness.machine.terms import SELECTIONS, Selection
from harness.machine.words import plural
from harness.store import bundled, checkpoint_files, checksums, record_files, weights
from harness.store.cell_format import described
from harness.store.cell_status import HISTORY, LOCK, RECORDS, RESULTS, State, Status, status_of
from harness.store.checksums import Checksums
from harness.store.seals import SealedFile, change_sealed, write_sealed
from harness.study.cell import Cell, fingerprint

if TYPE_CHECKING:
    import pandas as pd
    import torch

EvaluationKey = tuple[str, str, str]
"""Target, selection, direction."""


def evaluation_key(row: Mapping[str, Any]) -> EvaluationKey:
    """Target, selection and direction of a row of results."""
    return str(row.get("target")), str(row.get("selection")), str(row.get("direction"))


class CellRun:
    """One cell of a store, on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._records = directory / "records"
        self._cell_file = SealedFile(directory / "cell.json", self._cell_of)
        self._status_file = SealedFile(directory / "status.json", status_of)

    @property
    def name(self) -> str:
        """The cell's folder, by which reports refer to it."""
        return self.directory.name

    # -- what it is -------------------------------------------------------------------------------

    @property
    def description(self) -> dict[str, Any]:
        """`cell.json`: `identity`, its `parts`, `cell` (what was asked for) and `recorded` (host, paths …).

        Raises `StoreError` when it is missing or damaged, `NewerFormatError` when a later version wrote it.
        """
        return described(self._cell_file.read(), self.directory / "cell.json")

    @property
    def cell(self) -> Cell:
        """The cell as its study asked for it. Raises `StoreError` when its description is damaged."""
        return self._cell_file.value()

    def _cell_of(self, description: Any) -> Cell:
        try:
            return Cell.from_dict(described(description, self.directory / "cell.json")["cell"])
        except (KeyError, ValueError) as error:
            raise StoreError(f"{self.directory / 'cell.json'}: {error}") from error

    @property
    def is_imported(self) -> bool:
        """Whether its records were computed from results of another code base; not where nothing says so."""
        try:
            return bool(self.description["cell"].get("imported"))
        except (StoreError, KeyError, TypeError, AttributeError):
            return False

    @property
    def parts(self) -> dict[str, Any]:
        """What the identity is made of. Raises `StoreError` when the description does not say."""
        return self._parts_of(self.description)

    def _parts_of(self, description: Mapping[str, Any]) -> dict[str, Any]:
        parts = description.get("parts")
        if not isinstance(parts, dict):
            raise StoreError(f"{self.directory / 'cell.json'}: says nothing about the cell's identity")
        return parts

    @property
    def recorded(self) -> dict[str, Any]:
        """What was kept beside the identity: host, paths, commit, and what the cell was trained on."""
        kept = self.description.get("recorded")
        return kept if isinstance(kept, dict) else {}

    def checked_identity(self) -> str:
        """The identity, made anew from the description.

        Raises `StoreError` where `cell.json` was edited, or contradicts itself or the folder it lies in.
        """
        description = self.description
        # First, for a later version's is left as it is.
        cell, parts = self.cell, self._parts_of(description)
        if problem := self._cell_file.problem_when_read:
            raise StoreError(problem)
        try:
            identity, asked = fingerprint(parts), fingerprint(cell.parts_beside(parts))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"cell.json: damaged: {type(error).__name__}: {error}") from error
        if identity != description.get("identity") or self.name != cell.directory_name(identity):
            raise StoreError("cell.json: what the identity is made of does not give the identity")
        if asked != identity:
            raise StoreError("cell.json: the cell that was asked for is not the one of the identity")
        return identity

    def describe(self, **recorded: Any) -> None:
        """Add to what is recorded beside the identity: host, command, device, versions."""
        change_sealed(self.directory / "cell.json", recorded={**self.recorded, **recorded})

    @property
    def edited(self) -> str:
        """Which of the files that say what the cell is and how it stands was edited by hand; else empty."""
        return self._cell_file.problem() or self._status_file.problem()

    # -- how it stands ----------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """How the cell stands; one that was cut off while running counts as queued and resumes.

        So does a finished one whose description, scores or records are not the ones that were written:
        it is evaluated again.
        """
        status = self._written_status()
        if status.state == "running" and not files.is_locked(self.directory / LOCK):
            detail = f"cut off after {plural(status.epoch, 'whole epoch')}; resumes"
            return Status("queued", "", detail, status.epoch, status.seconds)
        if status.state == "done" and (problem := self._edited() or self._altered_scores(status)):
            detail = f"{problem}; its models are evaluated again"
            return Status("queued", "", detail, status.epoch, status.seconds)
        return status

    def _edited(self) -> str:
        """`edited`, where the status was read just now: of thousands of cells each look counts."""
        return self._cell_file.problem() or self._status_file.problem_when_read

    def _altered_scores(self, status: Status) -> str:
        kept = status.checksums
        scores = {name: kept[name] for pattern in (RESULTS, RECORDS) for name in _named(kept, pattern)}
        return next((f"{name} {what}" for name, what in self._altered(scores).items()), "")

    def _altered(self, kept: Checksums) -> dict[str, str]:
        return checksums.altered(self.directory, kept, thorough=False)

    @property
    def is_intact(self) -> bool:
        """Whether the cell is done and none of its files was changed since."""
        status = self._written_status()
        return status.state == "done" and not self._edited() and not self._altered(status.checksums)

    @property
    def was_finished(self) -> bool:
        """Whether the cell was done once, whatever happened to its files since."""
        return self._written_status().state == "done"

    def _written_status(self) -> Status:
        """What `status.json` says; where it says nothing that can be read, nothing is finished."""
        try:
            return self._status_file.value()
        except StoreError:
            return Status()

    def set_status(self, state: State, *, reason: Reason = "", detail: str = "", **more: Any) -> None:
        """Write the status; epoch and seconds carry over unless given."""
        before = self._written_status()
        kept = {"epoch": before.epoch, "seconds": before.seconds, **more}
        status = Status(state=state, reason=reason, detail=detail[:2000], **kept)
        write_sealed(self.directory / "status.json", asdict(status))

    def finish(self, kept: Sequence[Selection] = SELECTIONS, *, checkpoint: bool = True) -> None:
        """The cell is done: keep the checksums of what it left, and delete the models that are not `kept`.

        Args:
            kept: The selections whose models stay; the scores and records of all of them do.
            checkpoint: Whether the state that training resumes from stays.
        """
        models = [self.model_path(selection).name for selection in kept]
        patterns = [HISTORY, RESULTS, RECORDS, *models]
        found = checksums.checksums_of(self.directory, patterns)
        self.set_status("done", checksums=found, kept=list(kept))
        # After the status: one that is cut off here is finished, and only takes more room.
        for selection in SELECTIONS:
            if selection not in kept:
                self.model_path(selection).unlink(missing_ok=True)
        if not checkpoint:
            self.drop_checkpoint()

    def drop(self, models: Sequence[Selection], kept: Sequence[Selection]) -> None:
        """Delete models of a finished cell, whose other files stay under the checksums they have.

        Args:
            models: The selections whose models go.
            kept: The selections whose models stay.
        """
        before = self._written_status()
        names = {self.model_path(each).name for each in models}
        checksums = {name: kept for name, kept in before.checksums.items() if name not in names}
        self.set_status("done", detail=before.detail, checksums=checksums, kept=list(kept))
        for selection in models:
            self.model_path(selection).unlink(missing_ok=True)

    @property
    def kept_models(self) -> tuple[Selection, ...]:
        """The selections whose models a finished cell kept."""
        return tuple(each for each in SELECTIONS if each in self._written_status().kept)

    @property
    def checksums(self) -> Checksums:
        """Of a finished cell's files when it finished; none when an older version finished it."""
        return self._written_status().checksums

    def altered(self, only: str = "*", *, thorough: bool = False) -> dict[str, str]:
        """Files of a finished cell that are not as they were when it finished, each with what is wrong.

        Unless `thorough`, one of the same size and time is taken for the same. `only` is a name, or a
        pattern of names.
        """
        kept = self.checksums
        wanted = kept if only == "*" else {name: kept[name] for name in _named(kept, only)}
        return checksums.altered(self.directory, wanted, thorough=thorough)

    def fail(self, reason: Reason, detail: str, plugin_line: str = "") -> None:
        """The cell ended without results, for this reason."""
        self.set_status("failed", reason=reason, detail=detail, plugin_line=plugin_line)

    @contextlib.contextmanager
    def lock(self, patience: float = 1.0) -> Iterator[None]:
        """Hold the cell: two processes never train one. Raises `LockedError` when another does."""
        with files.lock(self.directory / LOCK, patience):
            files.remove_leftovers(self.directory)
            yield

    def set_aside(self, path: Path, why: str) -> None:
        """Move a damaged file out of the way and note it; it is never used and never deleted."""
        aside = files.put_aside(path)
        self.note(f"{path.relative_to(self.directory)}: {why}; set aside as {aside.name}")

    def note(self, text: str) -> None:
        """Keep a sentence for the reader of the report: what went wrong and was repaired."""
        files.append_line(self.directory / "notes.jsonl", {"note": text})

    @property
    def notes(self) -> list[str]:
        """What went wrong and was repaired, and what is damaged now."""
        return self.notes_beside(self.history_lines().dropped)

    def notes_beside(self, damaged: Sequence[str]) -> list[str]:
        """`notes`, where the `damaged` lines of the history are known already."""
        written = [str(line.get("note")) for line in files.read_lines(self.directory / "notes.jsonl").records]
        gone = bundled.left_out(self.directory, altered := self.altered())
        now = [f"{name} {altered[name]}; the next run makes it again" for name in altered if name not in gone]
        return [*written, *damaged, *now]

    # -- training ---------------------------------------------------------------------------------

    def history_lines(self) -> files.Lines:
        """The lines of the history as they stand in its file."""
        return files.read_lines(self.directory / HISTORY)

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record per epoch, in order. Of an epoch that was trained again the last record counts."""
        return by_epoch(self.history_lines())

    def append_history(self, record: Mapping[str, Any]) -> None:
        """Append one epoch's line."""
        files.append_line(self.directory / HISTORY, dict(record))

    def truncate_after(self, epoch: int) -> None:
        """Forget epochs after `epoch`, which a resumed run trains again."""
        if (self.directory / HISTORY).exists():
            self._write_history([record for record in self.history if record["epoch"] <= epoch])

    def _write_history(self, records: Sequence[Mapping[str, Any]]) -> None:
        atomic_write(self.directory / HISTORY, "".join(map(files.json_line, records)))

    def save_checkpoint(self, state: Mapping[str, Any], epoch: int) -> None:
        """Keep the full state after `epoch`, in place of the one before; the history up to then goes with it.

        Later epochs may have been appended already: training goes on while a state is written.
        """
        until_then = [record for record in self.history if record["epoch"] <= epoch]
        checkpoint_files.save(self.directory / "checkpoint", {**state, HISTORY: until_then}, epoch)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The newest full state that is sound, or None. A damaged one is named and set aside, never used.

        A history that has lost some of the state's epochs gets them back.
        """
        state = checkpoint_files.load(self.directory / "checkpoint", self.set_aside)
        if state is not None:
            self._restore_history(state.pop(HISTORY, []))
        return state

    def _restore_history(self, kept: list[dict[str, Any]]) -> None:
        # As text: a NaN, which a split without valid queries scores, equals no NaN.
        lines, wanted = (list(map(files.json_line, records)) for records in (self.history, kept))
        if lines[: len(wanted)] != wanted:
            if (self.directory / HISTORY).exists():
                self.set_aside(self.directory / HISTORY, "damaged, restored from the checkpoint")
            else:
                self.note(f"{HISTORY} was gone, restored from the checkpoint")
            self._write_history(kept)

    def drop_checkpoint(self) -> None:
        """Free the disk of a finished cell's optimiser state; its models stay."""
        checkpoint_files.drop(self.directory / "checkpoint")

    # -- models, records, results -----------------------------------------------------------------

    def model_path(self, selection: str) -> Path:
        """Where the model of a selection lies."""
        return self.directory / f"model-{selection}.safetensors"

    def save_model(self, selection: str, state: Mapping[str, torch.Tensor], epoch: int) -> None:
        """Keep a model's weights by name for a selection; a hard link when another has this epoch."""
        others = [self.model_path(other) for other in SELECTIONS if other != selection]
        weights.save(self.model_path(selection), state, epoch, others)

    def model_epoch(self, selection: str) -> int | None:
        """The epoch after which a selection's model was kept, or None when there is no sound one."""
        return weights.epoch_of(self.model_path(selection))

    def load_model(self, selection: str) -> dict[str, torch.Tensor]:
        """The weights by name kept for a selection.

        Raises:
            StoreError: they are missing or damaged.
        """
        return weights.load(self.model_path(selection))

    def save_records(self, target: str, selection: str, direction: str, frame: pd.DataFrame) -> None:
        """Keep one row per query of an evaluation."""
        record_files.write(self.records_path(target, selection, direction), frame)

    def records(self, target: str, selection: str, direction: str) -> pd.DataFrame:
        """The rows of an evaluation. Raises `StoreError` when they are missing or damaged."""
        return record_files.read(self.records_path(target, selection, direction))

    def record_columns(
        self, target: str, selection: str, direction: str, columns: Sequence[str]
    ) -> dict[str, Any]:
        """Some columns of an evaluation's records, as arrays `[queries]` by name.

        Raises `StoreError` when the records are missing or damaged.
        """
        return record_files.columns(self.records_path(target, selection, direction), columns)

    def records_of(
        self, target: str, selection: str, direction: str, queries: Collection[int]
    ) -> list[dict[str, Any]]:
        """The whole rows of these queries in an evaluation, in the order of the records.

        Raises `StoreError` when the records are missing or damaged.
        """
        return record_files.rows(self.records_path(target, selection, direction), queries)

    def records_path(self, target: str, selection: str, direction: str) -> Path:
        """Where the records of an evaluation lie."""
        return self._records / f"{target}.{selection}.{direction}.parquet"

    def write_results(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep the scores, one row per target, selection and direction, with the target's fingerprint."""
        atomic_json(self.directory / RESULTS, [dict(row) for row in rows])

    @property
    def results(self) -> list[dict[str, Any]]:
        """The scores kept so far; none when the file is missing, damaged, or not as it was written."""
        if RESULTS in self.altered(RESULTS):
            return []
        try:
            rows = read_json(self.directory / RESULTS)
        except StoreError:
            return []
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _named(kept: Checksums, pattern: str) -> list[str]:
    return [name for name in kept if checksums.fits(name, pattern)]


def by_epoch(lines: files.Lines) -> list[dict[str, Any]]:
    """One record per epoch, in order. Of an epoch that was trained again the last record counts."""
    last = {record["epoch"]: record for record in lines.records if isinstance(record.get("epoch"), int)}
    return [last[epoch] for epoch in sorted(last)]
