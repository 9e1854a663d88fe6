"""The verb `import`: results of other code become cells of a run, judged by our protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.evaluate.score_ranking import RankedQueries, rank_features, rank_similarity
from harness.exchange.score_files import ScoreFile
from harness.exchange.targets import Target, find_target, fitted, self_contained
from harness.machine import environment
from harness.machine.errors import StoreError, StudyError
from harness.machine.files import atomic_json, atomic_write
from harness.machine.terms import METRICS, NOT_KNOWN, Direction
from harness.store.cell_run import CellRun
from harness.store.results_table import write_results_table
from harness.store.run_files import ENVIRONMENT, STUDY
from harness.store.runs import RunStore
from harness.study.cell import Cell
from harness.study.schema import Select, TrainSettings

UNKNOWN = ("how its epoch was chosen", "what it was trained on", "its settings", "what its seeds set")
"""What is not known of a model that was trained elsewhere."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""What a method or a dataset can be called: the name becomes a part of a folder's."""


@dataclass(frozen=True)
class ImportedCell:
    """What an import wrote."""

    run: CellRun
    target: Target
    scores: Mapping[str, Mapping[str, float]]
    """By direction, R1 … mINP in percent and the counts."""

    def plain(self) -> dict[str, Any]:
        """As printed by `--json`."""
        return {
            "cell": str(self.run.directory),
            "dataset": self.target.name,
            "checked_against": self.target.source,
            "notes": list(self.target.notes),
            "not_known": list(UNKNOWN),
            "scores": {direction: dict(scores) for direction, scores in self.scores.items()},
        }


def import_scores(
    file: ScoreFile, method: str, dataset: str, seed: int, into: Path, data_root: Path | None = None
) -> ImportedCell:
    """Judge a file of scores and keep it as a finished cell of the run folder `into`.

    The test split is known from the dataset where it is here, else from the folder's records, else from the
    file itself. Nothing is written unless everything fits.

    Raises:
        ScoreFileError: the file does not fit the split.
        StudyError: a name that no folder can have, or a cell that the run has already.
    """
    store = RunStore(into)
    mistakes = list(_wrong_names(method, dataset, seed))
    mistakes += list(_taken(store, file, method, dataset, seed))
    if mistakes:
        raise StudyError(mistakes)
    study = store.study()
    target, why = find_target(dataset, data_root, store, study.get("subset"))
    target = target or self_contained(dataset, file, why)
    file = fitted(file, target)
    return keep(file, target, method, seed, store, ranked_both_ways(file, target))


def _wrong_names(method: str, dataset: str, seed: int) -> Iterator[str]:
    for option, name in (("--method", method), ("--dataset", dataset)):
        if not NAME.fullmatch(name):
            yield f"{option}: must be a folder's name: letters, digits, '.', '_', '+' and '-'; got {name!r}"
    if seed < 0:
        yield f"--seed: must be 0 or more, got {seed}"


def _taken(store: RunStore, file: ScoreFile, method: str, dataset: str, seed: int) -> Iterator[str]:
    for run in store.cells():
        try:
            cell = run.cell
        except StoreError:
            continue
        if cell.key == f"{dataset}/{method}/{seed}" and not cell.imported:
            yield (
                f"{store.directory}: has {method} on {dataset} with seed {seed} already, trained here; "
                "choose another --method or --seed"
            )
        if (cell.dataset, cell.method, cell.imported) == (dataset, method, file.sha256) and cell.seed != seed:
            yield f"{file.path}: is seed {cell.seed} of {method} already; each seed is its own run"


def keep(
    file: ScoreFile,
    target: Target,
    method: str,
    seed: int,
    store: RunStore,
    ranked: Mapping[Direction, RankedQueries],
) -> ImportedCell:
    """Store the records of a file that fits its target; what an earlier import kept in its place stays."""
    target = replace(target, notes=(*target.notes, *file.notes))
    cell = _cell_of(file, target, method, seed, store.study())
    parts = cell.parts(target.fingerprint, {})
    _prepare(store, method, target.name)
    run = store.open(
        cell,
        parts,
        file=file.path.name,
        checked_against=target.source,
        command=environment.command(),
        commit=environment.commit(),
    )
    with run.lock():
        rows = [_kept(run, target, direction, records) for direction, records in ranked.items()]
        run.write_results(rows)
        run.finish()
    store.make_current([(cell, run)])
    write_results_table(store)
    return ImportedCell(run, target, {row["direction"]: _scores_of(row) for row in rows})


def _cell_of(file: ScoreFile, target: Target, method: str, seed: int, study: Mapping[str, Any]) -> Cell:
    """The cell that an imported file becomes, beside the cells of the folder's study."""
    # What it is compared with; its own recipe is not known.
    preset, recipe = (
        str(study.get(key) or plain) for key, plain in (("preset", "clean"), ("recipe", "shared"))
    )
    return Cell(
        study=str(study.get("name") or "imported"),
        method=method,
        base=method,
        dataset=target.name,
        seed=seed,
        preset=preset,
        train=TrainSettings(),
        method_settings={},
        overrides={},
        trains=True,
        targets=(target.name,),
        subset=target.subset,
        select=Select(),
        tie_order="index",
        recipe=recipe,
        imported=file.sha256,
    )


def ranked_both_ways(file: ScoreFile, target: Target) -> dict[Direction, RankedQueries]:
    """One record per query of a file that fits its target; a TREC run ranks one direction only."""
    query, gallery = target.query_person, target.gallery_person
    if file.similarity is not None:
        found: dict[Direction, RankedQueries] = {"t2i": rank_similarity(file.similarity, query, gallery)}
        if not file.t2i_only:
            found["i2t"] = rank_similarity(file.similarity, gallery, query, transposed=True)
        return found
    assert file.text is not None
    assert file.image is not None
    return {
        "t2i": rank_features(file.text, file.image, query, gallery),
        "i2t": rank_features(file.image, file.text, gallery, query),
    }


def _kept(run: CellRun, target: Target, direction: Direction, records: RankedQueries) -> dict[str, Any]:
    """Save the records of a direction; their row of results."""
    run.save_records(target.name, NOT_KNOWN, direction, records.frame(target.persons, direction))
    data = dict(target.provenance)
    data["notes"] = [*data.get("notes", ()), *target.notes]
    return {
        "target": target.name,
        "selection": NOT_KNOWN,
        "direction": direction,
        "epoch": None,
        **records.summary(),
        "fingerprint": target.fingerprint,
        "skipped": int(data.get("skipped") or 0),
        "data": data,
    }


def _scores_of(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: row[name] for name in (*METRICS, "queries", "gallery")}


def _prepare(store: RunStore, method: str, dataset: str) -> None:
    """Make the folder a run where it is none yet; in one of imports only, list what is imported.

    The study of a run that was trained here stays as it is.
    """
    import yaml

    study = store.study()
    if study and not study.get("imported"):
        return
    listed = {
        key: list(dict.fromkeys([*study.get(key, []), name]))
        for key, name in (("methods", method), ("datasets", dataset))
    }
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", store.directory.absolute().name).strip("-") or "imported"
    values = {
        "name": name,
        "description": "Results of other code, imported; nothing was trained here.",
        "preset": "clean",
        "imported": True,
        **listed,
        "seeds": [],
    }
    store.directory.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    atomic_write(store.directory / STUDY, "# Written by `import`; no study file.\n" + text)
    atomic_json(store.directory / ENVIRONMENT, {"packages": environment.versions()})


def render(made: ImportedCell) -> None:
    """Print what was imported for a person."""
    print(f"{made.run.directory}")
    for direction, scores in made.scores.items():
        words = {"t2i": "text → image", "i2t": "image → text"}[direction]
        shown = "  ".join(f"{name} {scores[name]:6.2f}" for name in METRICS)
        print(f"  {words}  {shown}  ({scores['queries']} queries, {scores['gallery']} in the gallery)")
    for note in made.target.notes:
        print(f"  {note}")
    print(f"  trained elsewhere; not known: {', '.join(UNKNOWN)}")
