"""The verb `compare`: verdicts between files of scores, without a study, a dataset or torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from harness.evaluate.score_ranking import RankedQueries
from harness.exchange.importing import NAME, keep, ranked_both_ways
from harness.exchange.score_files import ScoreFile, ScoreFileError, read_scores
from harness.exchange.targets import Target, fitted, self_contained
from harness.machine.errors import HarnessError, StudyError
from harness.machine.paths import RUNS
from harness.machine.terms import METRICS, Direction
from harness.store.results_table import results_rows
from harness.store.runs import RunStore

SPLIT = "scores"
"""What the test split of the files is called in tables."""
AT_ONCE = 2
"""Files that are ranked beside each other; each is held in memory."""


@dataclass(frozen=True)
class Compared:
    """What a comparison found.

    Attributes:
        page: the page.
        text: the tables for a terminal.
        methods: by method, the scores of its files in order.
        verdicts: rows of `verdicts.csv`.
    """

    page: Path
    text: str
    methods: Mapping[str, list[dict[str, Any]]]
    verdicts: list[dict[str, Any]]

    def plain(self) -> dict[str, Any]:
        """As printed by `--json`."""
        return {"methods": dict(self.methods), "verdicts": self.verdicts, "page": str(self.page)}


def compare_files(arguments: Sequence[str], out: Path | None = None) -> Compared:
    """Judge files of scores; the first method is the reference, unless one is called `uit`.

    Args:
        arguments: `FILE`, or `NAME=FILE,FILE,…` for several seeds of a method.
        out: the folder of the run that is written; default: one below `runs/`, named by the files.

    Raises:
        StudyError: fewer than two methods, or names that repeat or that no folder can have.
        ScoreFileError: every mistake of every file.
    """
    methods = _methods(arguments)
    split, ranked, digest = _ranked(methods)
    store = RunStore(out or RUNS / f"compare-{digest[:10]}")
    if out is not None and store.study() and not store.study().get("imported"):
        raise StudyError([f"{out}: holds a run that was trained here; choose another --out"])
    for name, runs in ranked.items():
        for seed, (file, records) in enumerate(runs):
            keep(file, split, name, seed, store, records)
    return _judged(store)


def _methods(arguments: Sequence[str]) -> dict[str, list[Path]]:
    found: list[tuple[str, list[Path]]] = []
    for argument in arguments:
        name, equals, files = argument.partition("=")
        if equals and not Path(argument).exists():
            found.append((name, [Path(file) for file in files.split(",") if file]))
        else:
            found.append((Path(argument).stem, [Path(argument)]))
    mistakes = [f"{name or '(nothing)'}: names no file" for name, files in found if not files]
    mistakes += [
        f"{name!r}: a method's name has letters, digits, '.', '_', '+' and '-'; write NAME=FILE"
        for name, _ in found
        if not NAME.fullmatch(name)
    ]
    counts = Counter(name for name, _ in found)
    mistakes += [
        f"{name}: {count} methods are called so; files of one method are its seeds: {name}=FILE,FILE; "
        "another method needs a name of its own: NAME=FILE"
        for name, count in counts.items()
        if count > 1
    ]
    if len(found) < 2:
        mistakes.append("give at least two methods: A.npz B.npz, or NAME=A0.npz,A1.npz")
    if mistakes:
        raise StudyError(mistakes)
    return dict(found)


Runs = list[tuple[ScoreFile, Mapping[Direction, RankedQueries]]]


def _ranked(methods: Mapping[str, Sequence[Path]]) -> tuple[Target, dict[str, Runs], str]:
    """The split, the records of every file, and a hash of all; a file's scores are let go once ranked."""
    split: list[Target] = []
    taken = Lock()

    def rank(path: Path) -> tuple[ScoreFile, Mapping[Direction, RankedQueries]] | list[str]:
        try:
            file = read_scores(path)
            with taken:
                if not split:
                    known = self_contained(SPLIT, file, "no dataset is given")
                    split.append(replace(known, shown=str(path)))
            file = fitted(file, split[0])
            if file.query_persons is None:
                raise ScoreFileError(f"{path}: query_persons and gallery_persons are missing")
            return file.without_scores(), ranked_both_ways(file, split[0])
        except OSError as error:
            return [f"{path}: {error.strerror}"]
        except HarnessError as error:
            return error.lines

    named = [(name, path) for name, paths in methods.items() for path in paths]
    # The first file says what the split is; NumPy ranks the others beside each other.
    results = [rank(named[0][1])]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results += pool.map(rank, [path for _, path in named[1:]])
    mistakes = [line for result in results if isinstance(result, list) for line in result]
    mistakes += _repeated(
        (name, result[0])
        for (name, _), result in zip(named, results, strict=True)
        if isinstance(result, tuple)
    )
    if mistakes:
        raise ScoreFileError(mistakes)
    found: dict[str, Runs] = {}
    digest = hashlib.sha256()
    for (name, _), result in zip(named, results, strict=True):
        assert isinstance(result, tuple)
        digest.update(f"{name} {result[0].sha256} ".encode())
        found.setdefault(name, []).append(result)
    return split[0], found, digest.hexdigest()


def _repeated(files: Iterable[tuple[str, ScoreFile]]) -> Iterator[str]:
    """A line for every file that is another seed's: two of one run would seem not to vary at all."""
    first: dict[tuple[str, str], Path] = {}
    for name, file in files:
        other = first.setdefault((name, file.sha256), file.path)
        if other is not file.path:
            yield f"{file.path}: the same content as {other}, another seed of {name}; each is its own run"


def _judged(store: RunStore) -> Compared:
    from reports.assemble import build
    from reports.verdicts import read_verdicts

    report = build([store.directory])
    methods: dict[str, list[dict[str, Any]]] = {}
    for row in results_rows(store):
        if row["direction"] == "t2i":
            scores = {str(name): float(row[name]) for name in METRICS}
            methods.setdefault(row["method"], []).append({"seed": row["seed"], **scores})
    return Compared(report.path, report.table_text, methods, read_verdicts(store.directory / "verdicts.csv"))


def render(compared: Compared) -> None:
    """Print a comparison for a person."""
    print(compared.text, end="")
    print(f"report: {compared.page}")
