"""How much disk runs take, and what of it finished cells need no more; removed only when asked to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.machine.errors import StoreError
from harness.machine.terms import SELECTIONS, Selection
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.study.schema import Kept


@dataclass(frozen=True)
class Removable:
    """What of a finished cell its scores, records and report do not need."""

    run: CellRun
    models: tuple[Selection, ...]
    """The selections whose models go."""
    checkpoint: bool
    """Whether the state that training resumes from goes."""
    size: int
    """Bytes that this frees."""

    def remove(self) -> None:
        """Delete it. Raises `LockedError` while a process works on the cell."""
        kept = [each for each in self.run.kept_models if each not in self.models]
        with self.run.lock():
            self.run.drop(self.models, kept)
            if self.checkpoint:
                self.run.drop_checkpoint()


def bytes_of(folder: Path) -> int:
    """Bytes of every file below a folder; a file of several names counts once."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            found[status.st_ino] = status.st_size
    return sum(found.values())


def removable(store: RunStore, keep: Sequence[Kept] = ()) -> list[Removable]:
    """What the finished cells of a store keep beside the model of their study's selection and `keep`."""
    found = []
    for run in store.all_cells():
        try:
            selected = run.cell.select.split
        except StoreError:
            continue
        if run.status.state != "done":
            continue
        wanted = {selected, *keep}
        models = tuple(each for each in SELECTIONS if each not in wanted and run.model_path(each).is_file())
        states = [] if "checkpoint" in keep else list((run.directory / "checkpoint").glob("epoch-*.pt"))
        size = _freed(run, models) + sum(path.stat().st_size for path in states)
        if models or states:
            found.append(Removable(run, models, bool(states), size))
    return found


def _freed(run: CellRun, models: Sequence[Selection]) -> int:
    """Bytes of models that no selection which stays shares by a hard link."""
    staying = {
        run.model_path(each).stat().st_ino
        for each in SELECTIONS
        if each not in models and run.model_path(each).is_file()
    }
    going = {}
    for each in models:
        status = run.model_path(each).stat()
        going[status.st_ino] = status.st_size
    return sum(size for inode, size in going.items() if inode not in staying)
