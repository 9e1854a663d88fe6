"""Answers to two checklists for papers, as far as the files of a bundle give them; "not known" otherwise."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources

NOT_KNOWN = "not known"


@dataclass(frozen=True)
class ChecklistItem:
    """An item of a checklist: what it asks in our words, and which files answer it, as patterns."""

    number: str
    asks: str
    evidence: tuple[str, ...] = ()
    says: str = ""


@dataclass(frozen=True)
class Checklist:
    """A checklist with its items."""

    title: str
    note: str
    questions: tuple[ChecklistItem, ...]


def checklists() -> dict[str, Checklist]:
    """The checklists by name: `neurips` and `reforms`."""
    import yaml

    values = yaml.safe_load((resources.files("harness.exchange") / "checklists.yaml").read_text("utf-8"))
    return {
        name: Checklist(
            value["title"],
            value["note"],
            tuple(
                ChecklistItem(
                    each["number"], each["asks"], tuple(each.get("evidence", ())), each.get("says", "")
                )
                for each in value["questions"]
            ),
        )
        for name, value in values.items()
    }


def answered(checklist: Checklist, files: Collection[str]) -> str:
    """The checklist as Markdown, each answer with links to its evidence among `files`."""
    lines = [f"# {checklist.title}", "", checklist.note, "", "| item | question | answer | evidence |"]
    lines += ["|---|---|---|---|", *(_row(question, files) for question in checklist.questions)]
    return "\n".join(lines) + "\n"


def _row(question: ChecklistItem, files: Collection[str]) -> str:
    # One file of each pattern and run: a bundle may have hundreds of cells.
    found: dict[tuple[str, str], str] = {}
    for pattern in question.evidence:
        for file in sorted(files):
            if fnmatchcase(file, pattern):
                found.setdefault((pattern, file.partition("/")[0]), file)
    links = ", ".join(f"[{file}](<{file}>)" for file in found.values())
    return f"| {question.number} | {question.asks} | {question.says if found else NOT_KNOWN} | {links} |"
