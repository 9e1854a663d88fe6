"""Whether a study means something: its sections, its names, its methods and their settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness import registry
from harness.registry import UnknownNameError
from harness.study.document import Key, StudyDocument
from harness.study.method_checks import MethodChecks
from harness.study.method_plan import MethodPlan, strictly
from harness.study.schema import (
    Evaluate,
    Overhead,
    Search,
    Select,
    StudyFile,
    TrainingPairs,
    TrainSettings,
)
from harness.study.space_checks import check_space

_SECTIONS: dict[str, type[BaseModel]] = {
    "": StudyFile,
    "data": TrainingPairs,
    "select": Select,
    "evaluate": Evaluate,
    "search": Search,
    "overhead": Overhead,
}


def _belongs_in(detail: ErrorDetails) -> str:
    """`train.epochs` for a key `epochs` that stands outside its section; empty for any other mistake.

    Settings of methods belong to `train`, too.
    """
    if detail["type"] != "extra_forbidden" or len(detail["loc"]) != 1:
        return ""
    name = str(detail["loc"][0])
    settings = (entry.settings.model_fields for entry in registry.methods().values())
    if name in TrainSettings.model_fields or any(name in fields for fields in settings):
        return f"train.{name}"
    sections = [section for section, model in _SECTIONS.items() if section and name in model.model_fields]
    return f"{sections[0]}.{name}" if sections else ""


def validated(document: StudyDocument) -> tuple[StudyFile, list[MethodPlan]]:
    """The study that a document describes.

    Raises `StudyError` with every mistake of the document, in the order of its lines.
    """
    sections, methods = _SectionChecks(document), MethodChecks(document)
    file = sections.sections()
    plans = methods.plans(file)
    sections.datasets()
    check_space(document, methods, plans)
    sections.overhead(file, plans)
    sections.claims(file)
    document.raise_mistakes()
    return file, plans


def locate(document_source: str, name: str) -> Path | None:
    """A file that a study names: below the working directory, or beside or above the study file."""
    beside = Path(document_source).resolve().parent
    for base in (Path(), beside, beside.parent):
        if (base / name).is_file():
            return base / name
    return None


class _SectionChecks:
    """Looks at the sections of one document, and notes its mistakes there."""

    def __init__(self, document: StudyDocument) -> None:
        self.document = document
        self.values = document.values

    def sections(self) -> StudyFile:
        """The file section by section; a broken section is noted and replaced by its default."""
        good = {name: value for name, value in self.values.items() if value is not None}
        preset = good.get("preset")
        if preset == "released":
            self._fill("select", good, {"split": "test"})
            self._fill("evaluate", good, {"tie_order": "released"})
        try:
            file: StudyFile = strictly(StudyFile, good)
        except ValidationError as error:
            for detail in error.errors():
                where = str(detail["loc"][0]) if len(detail["loc"]) > 1 else ""
                known = _SECTIONS[where].model_fields if where in _SECTIONS else ()
                if belongs := _belongs_in(detail):
                    self.document.complain(detail["loc"], f"unknown key: did you mean {belongs!r}?")
                else:
                    self.document.complain_detail(detail, (), known)
            broken = {detail["loc"][0] for detail in error.errors()}
            kept = {name: value for name, value in good.items() if name not in broken}
            placeholders = {"name": "study", "methods": ["-"], "datasets": ["-"]}
            file = strictly(StudyFile, {**placeholders, **kept})
        return file

    @staticmethod
    def _fill(section: str, values: dict[str, Any], preset: Mapping[str, Any]) -> None:
        written = values.get(section)
        if written is None or isinstance(written, dict):
            values[section] = {**preset, **(written or {})}

    def datasets(self) -> None:
        """Names known and distinct, in `datasets`, `evaluate.targets` and `search.datasets`."""
        for key in (("datasets",), ("evaluate", "targets"), ("search", "datasets")):
            for index, name in self._names(key):
                try:
                    registry.dataset(name)
                except UnknownNameError as error:
                    self.document.complain((*key, index), str(error))
        for index, name in self._names(("search", "datasets")):
            if name not in [listed for _, listed in self._names(("datasets",))]:
                self.document.complain(
                    ("search", "datasets", index), f"{name!r} is not a dataset of this study"
                )

    def _names(self, key: Key) -> Iterator[tuple[int, str]]:
        """The text entries of a list, however broken the rest is; entries written twice are noted."""
        listed: Any = self.values
        for part in key:
            listed = listed.get(part) if isinstance(listed, dict) else None
        seen: set[str] = set()
        for index, name in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(name, str):
                if name in seen:
                    self.document.complain((*key, index), f"{name!r} is listed twice")
                seen.add(name)
                yield index, name

    def overhead(self, file: StudyFile, plans: list[MethodPlan]) -> None:
        """What costs are compared with must be in the study."""
        labels = {plan.label: plan for plan in plans}
        for index, name in enumerate(file.overhead.against if file.overhead and plans else ()):
            if name not in labels:
                close = registry.nearest(name, labels)
                hint = f": did you mean {close!r}?" if close else ""
                message = f"{name!r} is not a method of this study{hint}"
                self.document.complain(("overhead", "against", index), message)

    def claims(self, file: StudyFile) -> None:
        """The file of claims must exist."""
        if file.claims is not None and locate(self.document.source, file.claims) is None:
            self.document.complain(("claims",), f"no such file: {file.claims}")
