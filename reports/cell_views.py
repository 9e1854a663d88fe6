"""One training run as the store has it, and its answers per query. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.machine.errors import StoreError
from harness.machine.files import Lines
from harness.machine.terms import NOT_KNOWN, OWN_RECIPES
from harness.store.cell_run import CellRun, by_epoch
from harness.store.cell_status import HISTORY
from harness.store.run_files import targets_of
from reports.estimates import Floats, Integers

ALTERED = "altered"
"""Status of a finished cell that is left out: what it left is not what it wrote."""


def protocol_in_words(protocol: str) -> str:
    """What the cells of a group have in common beside their data."""
    return "each method with its own recipe" if protocol == OWN_RECIPES else f"preset {protocol}"


@dataclass(frozen=True)
class Evaluation:
    """What a group's numbers have in common."""

    preset: str
    """`clean`, `own` (each method by its own recipe) or `released`."""
    source: str
    target: str
    direction: str = "t2i"
    population: str = ""
    """Which version of the source, when the runs used several."""

    @property
    def same_dataset(self) -> bool:
        """Whether the methods were trained where they are tested."""
        return self.source == self.target

    @property
    def key(self) -> str:
        """A name fit for anchors and files."""
        parts = [self.source] if self.same_dataset else [self.source, self.target]
        where = "-to-".join(parts) + ("" if self.preset == "clean" else f"-{self.preset}")
        return where + (f"-{self.population.replace(' ', '-').replace(',', '')}" if self.population else "")

    @property
    def title(self) -> str:
        """The evaluation in words."""
        where = self.source if self.same_dataset else f"{self.source} → {self.target}"
        remarks = [] if self.preset == "clean" else [protocol_in_words(self.preset)]
        remarks += [self.population] if self.population else []
        return f"{where} ({', '.join(remarks)})" if remarks else where

    def holds(self, cell: CellView) -> bool:
        """Whether a cell was trained in this evaluation's setting."""
        return (cell.preset, cell.dataset, cell.population) == (self.preset, self.source, self.population)


@dataclass(frozen=True)
class QueryScores:
    """One cell's answers to the queries that have a positive, ordered by query; all arrays `[queries]`."""

    query: Integers
    rank: Integers
    ap: Floats
    positives: Integers

    def only(self, queries: Integers) -> QueryScores:
        """The answers to `queries` [kept] alone, as indices of captions or images."""
        if len(queries) == len(self.query):
            return self
        kept = np.isin(self.query, queries)
        return QueryScores(self.query[kept], self.rank[kept], self.ap[kept], self.positives[kept])


@dataclass(frozen=True)
class Run:
    """One run directory: its study as resolved and the machine it ran on."""

    path: Path
    study: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study.get("name", self.path.name))


@dataclass(frozen=True)
class CellView:
    """One training run as the store has it; a cell that was only planned has no identity and no results."""

    run: Run
    method: str
    """The method's label, distinct from others of that label in another run."""
    label: str
    """Its label in the study."""
    base: str
    dataset: str
    seed: int
    preset: str
    status: str
    reason: str = ""
    detail: str = ""
    trains: bool = True
    """Whether the method trains; one that does not has no epochs, and the same scores for every seed."""
    identity: str = ""
    population: str = ""
    """What the dataset was restricted to; empty unless the same dataset appears in several versions."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)
    stored: CellRun | None = field(default=None, compare=False, repr=False)
    imported: bool = False
    """Whether another code base made its results, and `import` only judged them."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Every setting that can change a number, by its flat name."""
        return dict(self.parts.get("settings", {}))

    @property
    def training(self) -> tuple[object, ...]:
        """What decides every number of the cell, seed and label aside; empty where that is not known."""
        if self.imported or not self.settings:
            return ()
        return self.base, *(self.parts.get(name) for name in ("code", "dataset", "protocol", "settings"))

    @property
    def anchor(self) -> str:
        """Where the page describes this cell."""
        return f"cell-{self.directory}"

    @property
    def directory(self) -> str:
        """Name of the cell's folder; for a planned cell a name of the same shape."""
        if self.stored is not None:
            return self.stored.name
        return f"{self.dataset}.{self.method}.{self.seed}.against_reference"

    @cached_property
    def results(self) -> tuple[Mapping[str, Any], ...]:
        """Rows of its results, one per target, selection and direction; none of a cell that was altered.

        A cell that was copied from another run may have results on targets that this study does not ask for.
        """
        if self.stored is None or self.status == ALTERED:
            return ()
        asked = targets_of(self.run.study, self.dataset)
        return tuple(row for row in self.stored.results if asked is None or row.get("target") in asked)

    @property
    def seconds(self) -> float:
        """How long it trained, over all attempts."""
        return 0.0 if self.stored is None else self.stored.status.seconds

    def data(self, target: str) -> Mapping[str, Any]:
        """What was recorded of a target's data: `official`, `subset`, `notes` and `problems`.

        Empty where an older version evaluated the cell, and recorded nothing.
        """
        rows = (row.get("data") for row in self.results if row.get("target") == target)
        return next((dict(row) for row in rows if isinstance(row, Mapping)), {})

    @property
    def start(self) -> str:
        """The weights that training began from, as the study named them; empty when not recorded."""
        if self.stored is None:
            return str(self.settings.get("pretrained", ""))
        try:
            return str(self.stored.description["cell"]["train"]["pretrained"])
        except (StoreError, KeyError, TypeError):
            return ""

    @property
    def recipe_names(self) -> tuple[str, ...]:
        """The settings of the training recipe, which methods share, as opposed to those of the method."""
        if self.stored is None:
            return ()
        try:
            return tuple(self.stored.description["cell"]["train"])
        except (StoreError, KeyError, TypeError):
            return ()

    @property
    def without_checksums(self) -> bool:
        """Whether it is finished and left no checksums of its files; an older version kept none."""
        return self.stored is not None and self.status == "done" and not self.stored.checksums

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong during the run and was repaired."""
        if self.stored is None or self._history_lines is None:
            return ()
        return tuple(self.stored.notes_beside(self._history_lines.dropped))

    @cached_property
    def _history_lines(self) -> Lines | None:
        """The file of the history, read once: it is the longest of a cell's JSON files."""
        return None if self.stored is None else self.stored.history_lines()

    @cached_property
    def history(self) -> tuple[Mapping[str, Any], ...]:
        """One mapping per finished epoch; none where they were altered after the cell had finished."""
        if self.stored is None or self._history_lines is None or self.stored.altered(HISTORY):
            return ()
        return tuple(by_epoch(self._history_lines))

    def targets(self, direction: str) -> set[str]:
        """Datasets it has results on."""
        return {str(row["target"]) for row in self.results if row["direction"] == direction}

    def row(self, evaluation: Evaluation, selection: str) -> Mapping[str, Any] | None:
        """The result for an evaluation, or None.

        How an imported cell's epoch was chosen is not known; its result stands where the quoted ones stand.
        """
        selection = self._kept_as(selection)
        for row in self.results:
            if (row["target"], row["direction"], row["selection"]) == (
                evaluation.target,
                evaluation.direction,
                selection,
            ):
                return row
        return None

    def score(self, evaluation: Evaluation, selection: str, metric: str) -> float | None:
        """One metric in percent, or None when the cell has no such result."""
        row = self.row(evaluation, selection)
        value = None if row is None else row.get(metric)
        return None if value is None or value != value else float(value)

    def query_scores(self, evaluation: Evaluation, selection: str) -> QueryScores | None:
        """Per-query records; None when the store has none or no query had a positive."""
        table = self._records(evaluation, selection, "query", "rank", "ap", "positives")
        if table is None or not (table["positives"] > 0).any():
            return None
        order = np.argsort(table["query"], kind="stable")
        order = order[table["positives"][order] > 0]
        query, rank, ap, positives = (table[name][order] for name in ("query", "rank", "ap", "positives"))
        query, rank, positives = (column.astype(np.int64) for column in (query, rank, positives))
        return QueryScores(query, rank, ap.astype(np.float64), positives)

    def people(self, evaluation: Evaluation, selection: str) -> dict[int, str]:
        """The person each query belongs to."""
        table = self._records(evaluation, selection, "query", "person_id")
        if table is None:
            return {}
        return dict(zip(map(int, table["query"]), map(str, table["person_id"]), strict=True))

    def _records(
        self, evaluation: Evaluation, selection: str, *columns: str
    ) -> dict[str, NDArray[Any]] | None:
        if self.stored is None or self.row(evaluation, selection) is None:
            return None
        try:
            kept = self._kept_as(selection)
            return self.stored.record_columns(evaluation.target, kept, evaluation.direction, columns)
        except StoreError:
            return None

    def _kept_as(self, selection: str) -> str:
        return NOT_KNOWN if self.imported and selection == "val" else selection
