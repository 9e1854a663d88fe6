"""TREC run files and qrels, in both directions: what other tools of retrieval read and write.

A line of a run is `query Q0 document rank score tag`, one of the qrels is `query 0 document relevance`. A
document is relevant when it shows the person that the query describes, so persons follow from the qrels.
"""

from __future__ import annotations

import difflib
import gzip
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from harness.exchange.score_files import Array, ScoreFile, ScoreFileError, digest_of

NAMED = 5
"""Mistakes of one kind that are named; the others are counted."""


def read_trec(run: Path, qrels: Path) -> ScoreFile:
    """The ranking of a run file, with persons from its qrels, as a matrix of similarities.

    The score orders the documents of a query, the rank those of equal score. The similarity of a document
    that a run lacks is below all others.

    Raises:
        ScoreFileError: every mistake of both files: lines that are no lines of TREC, ids of the run that the
            qrels lack, ids that repeat, a relevant document that is not ranked, relevance that is not being
            the same person.
    """
    relevant, listed = _read_qrels(qrels)
    ranked = _read_run(run)
    queries = list(relevant)
    documents = list(dict.fromkeys([*listed, *_names(ranked)]))
    mistakes = [*_unknown(run, qrels, ranked, relevant, set(listed)), *_lacking(run, ranked, relevant)]
    persons, unlike = _persons(relevant, documents)
    mistakes += [f"{qrels}: {text}" for text in unlike]
    if mistakes:
        raise ScoreFileError(mistakes)
    place = {name: index for index, name in enumerate(documents)}
    matrix = np.empty((len(queries), len(documents)))
    for row, query in enumerate(queries):
        names, scores = zip(*ranked[query], strict=True)
        matrix[row] = min(scores) - 1.0
        matrix[row, [place[name] for name in names]] = strictly_falling(np.array(scores))
    return ScoreFile(
        run,
        digest_of(run, qrels),
        similarity=matrix,
        query_persons=tuple(persons[query] for query in queries),
        gallery_persons=tuple(persons.get(f"\0{name}", f"no query's {name}") for name in documents),
        query_ids=tuple(queries),
        gallery_ids=tuple(documents),
        t2i_only=True,
    )


def _names(ranked: Mapping[str, list[tuple[str, float]]]) -> Iterator[str]:
    return (name for found in ranked.values() for name, _ in found)


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _rows(path: Path, fields: int, what: str) -> Iterator[tuple[int, list[str]]]:
    try:
        with _open(path) as file:
            wrong: list[str] = []
            for number, line in enumerate(file, 1):
                parts = line.split()
                if len(parts) == fields:
                    yield number, parts
                elif parts:
                    wrong.append(f"{path}:{number}: not a line of {what}: {len(parts)} fields, not {fields}")
    except (UnicodeDecodeError, OSError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ScoreFileError(f"{path}: cannot be read: {error}") from error
    if wrong:
        raise ScoreFileError(_first(wrong))


def _first(mistakes: list[str]) -> list[str]:
    more = [f"… and {len(mistakes) - NAMED:,} more of the kind"] if len(mistakes) > NAMED else []
    return mistakes[:NAMED] + more


def _read_qrels(path: Path) -> tuple[dict[str, set[str]], list[str]]:
    """By query the relevant documents, and every document named."""
    relevant: dict[str, set[str]] = {}
    documents: dict[str, None] = {}
    wrong = []
    for number, (query, _, document, grade) in _rows(path, 4, "qrels"):
        documents[document] = None
        found = relevant.setdefault(query, set())
        if not grade.lstrip("-").isdigit():
            wrong.append(f"{path}:{number}: relevance must be a whole number, got {grade!r}")
        elif int(grade) > 0:
            found.add(document)
    if wrong or not relevant:
        raise ScoreFileError(_first(wrong) or f"{path}: holds no judgement")
    return relevant, list(documents)


def _read_run(path: Path) -> dict[str, list[tuple[str, float]]]:
    """By query its documents with their scores, best first."""
    rows: dict[str, list[tuple[float, float, str]]] = {}
    wrong = []
    for number, (query, _, document, rank, score, _tag) in _rows(path, 6, "a TREC run"):
        try:
            entry = (-float(score), float(rank), document)
        except ValueError:
            wrong.append(f"{path}:{number}: rank and score must be numbers, got {rank!r} and {score!r}")
            continue
        if not np.isfinite(entry[0]):
            wrong.append(f"{path}:{number}: the score is {score}")
        rows.setdefault(query, []).append(entry)
    found = {
        query: [(name, -negative) for negative, _, name in sorted(entries)] for query, entries in rows.items()
    }
    for query, entries in found.items():
        names = [name for name, _ in entries]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            wrong.append(f"{path}: query {query}: document {twice} is ranked more than once")
    if wrong or not rows:
        raise ScoreFileError(_first(wrong) or f"{path}: holds no ranking")
    return found


def _unknown(
    run: Path,
    qrels: Path,
    ranked: Mapping[str, list[tuple[str, float]]],
    relevant: Mapping[str, set[str]],
    listed: set[str],
) -> Iterator[str]:
    """Ids of a run that its qrels do not have."""
    for kind, names, known in (
        ("query", list(ranked), set(relevant)),
        ("document", list(dict.fromkeys(_names(ranked))), listed),
    ):
        unknown = [name for name in names if name not in known]
        for name in unknown[:NAMED]:
            close = difflib.get_close_matches(name, list(known)[:20_000], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            yield f"{run}: {kind} {name!r} is not in {qrels}{hint}"
        if len(unknown) > NAMED:
            yield f"{run}: … and {len(unknown) - NAMED:,} more that are not in {qrels}"


def _lacking(
    run: Path, ranked: Mapping[str, list[tuple[str, float]]], relevant: Mapping[str, set[str]]
) -> Iterator[str]:
    """Queries without a ranking, or without the place of a relevant document."""
    absent = [query for query in relevant if query not in ranked]
    for query in absent[:NAMED]:
        yield f"{run}: query {query!r} of the qrels is not ranked"
    if len(absent) > NAMED:
        yield f"{run}: … and {len(absent) - NAMED:,} more queries"
    placed = {query: {name for name, _ in ranked.get(query, [])} for query in relevant}
    short = [
        (query, sorted(found - placed[query]))
        for query, found in relevant.items()
        if query in ranked and not found <= placed[query]
    ]
    for query, names in short[:NAMED]:
        yield (
            f"{run}: query {query!r}: its relevant document {names[0]!r} is not ranked, so that its average "
            "precision is not known; write the whole ranking"
        )
    if len(short) > NAMED:
        yield f"{run}: … and {len(short) - NAMED:,} more queries whose ranking is too short"


def _persons(relevant: Mapping[str, set[str]], documents: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The person of every query, and of every document under a NUL and its name; and what contradicts it."""
    persons: dict[str, str] = {}
    mistakes: list[str] = []
    by_documents: dict[frozenset[str], str] = {}
    for query, found in relevant.items():
        if not found:
            persons[query] = f"nobody of {query}"
            continue
        person = by_documents.setdefault(frozenset(found), min(found))
        persons[query] = person
        for name in found:
            other = persons.setdefault(f"\0{name}", person)
            if other != person and len(mistakes) < NAMED:
                mistakes.append(
                    f"query {query!r} shares document {name!r} with a query that has other relevant ones; "
                    "relevance must be: shows the same person"
                )
    return persons, mistakes


# -- writing --------------------------------------------------------------------------------------


def strictly_falling(scores: Array) -> Array:
    """Scores of a ranking `[items]`, best first, each below the one before by a last digit at least.

    Other tools order equal scores in ways of their own.
    """
    falling = np.array(scores, dtype=np.float64)
    for place in range(1, len(falling)):
        if falling[place] >= falling[place - 1]:
            falling[place] = np.nextafter(falling[place - 1], -np.inf)
    return falling


def write_run(
    path: Path, similarity: Array, query_ids: Iterable[str], gallery_ids: list[str], tag: str, depth: int
) -> None:
    """Write a run file: for every query its first `depth` documents.

    Args:
        path: the file; compressed when it ends in `.gz`.
        similarity: `[queries, gallery]`; equal ones are ranked by gallery index.
        query_ids: a name of each query, without spaces.
        gallery_ids: a name of each gallery item, without spaces.
        tag: of the run.
        depth: documents of each query.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        for query, row in zip(query_ids, similarity, strict=True):
            order = np.argsort(-row, kind="stable")[:depth]
            scores = strictly_falling(row[order])
            file.writelines(
                f"{query} Q0 {gallery_ids[item]} {place} {score!r} {tag}\n"
                for place, (item, score) in enumerate(zip(order.tolist(), scores.tolist(), strict=True), 1)
            )


def write_qrels(
    path: Path, query_ids: list[str], gallery_ids: list[str], query_person: Array, gallery_person: Array
) -> None:
    """Write the qrels: relevance 1 for every gallery item that shows a query's person.

    So that every id is known, one line of relevance 0 stands for a query without such an item, and for an
    item that no query looks for.

    Args:
        path: the file.
        query_ids: a name of each query.
        gallery_ids: a name of each gallery item.
        query_person: `[queries]` person of each query.
        gallery_person: `[gallery]` person of each gallery item.
    """
    items = {
        person: np.flatnonzero(gallery_person == person).tolist() for person in set(query_person.tolist())
    }
    sought = {item for found in items.values() for item in found}
    with path.open("w", encoding="utf-8") as file:
        for query, person in zip(query_ids, query_person.tolist(), strict=True):
            file.writelines(f"{query} 0 {gallery_ids[item]} 1\n" for item in items[person])
            if not items[person]:
                file.write(f"{query} 0 {gallery_ids[0]} 0\n")
        for item, name in enumerate(gallery_ids):
            if item not in sought:
                file.write(f"{query_ids[0]} 0 {name} 0\n")
