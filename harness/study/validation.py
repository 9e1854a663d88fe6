"""Whether a study means something: names against the registry, settings against the methods having them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from harness import registry
from harness.registry import MethodEntry, UnknownNameError
from harness.study.document import Key, StudyDocument, shown, unknown_key
from harness.study.schema import (
    Choices,
    Evaluate,
    Overhead,
    Preset,
    Range,
    Search,
    Select,
    StudyFile,
    TrainSettings,
    parameter,
)

LABEL = r"letters, digits, '.', '_' and '-'"
_SECTIONS: dict[str, type[BaseModel]] = {
    "": StudyFile,
    "select": Select,
    "evaluate": Evaluate,
    "search": Search,
    "overhead": Overhead,
}
_RELEASED_TRAIN = {"precision": "released", "sampler": "released"}


@dataclass(frozen=True)
class MethodPlan:
    """A method of a study: its label, what it is built from, and every setting it ends up with."""

    label: str
    entry: MethodEntry
    train: TrainSettings
    method_settings: Mapping[str, Any]
    """The settings this variant really has, resolved."""
    overrides: Mapping[str, Any]
    """Those of them that the study or the preset chose; the entry's `resolve` takes them."""

    def with_settings(self, changes: Mapping[str, Any]) -> MethodPlan:
        """The same method with some settings changed, the recipe's or its own, by their flat names.

        Raises pydantic's `ValidationError` for a value out of bounds or a name nobody has.
        """
        recipe = {name: value for name, value in changes.items() if name in TrainSettings.model_fields}
        overrides = {**self.overrides, **{name: changes[name] for name in changes if name not in recipe}}
        train = strictly(TrainSettings, {**self.train.model_dump(mode="json"), **recipe})
        return MethodPlan(
            self.label,
            self.entry,
            train,
            resolved_settings(self.entry, overrides),
            MappingProxyType(overrides),
        )


def strictly(model: type[BaseModel], values: Mapping[str, Any]) -> Any:
    """Validate as a file would be: `true` is no number, `"3"` neither; lists may be tuples."""
    return model.model_validate_json(json.dumps(dict(values)), strict=True)


def resolved_settings(entry: MethodEntry, overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings a variant really has, and any other that makes it differ from the registered variant."""
    resolved = strictly(entry.settings, {**entry.fixed, **overrides}).model_dump(mode="json")
    plain = entry.resolve().model_dump(mode="json")
    active = entry.parameters(overrides)
    own = {name: value for name, value in resolved.items() if name in active or value != plain[name]}
    return MappingProxyType(dict(sorted(own.items())))


def validated(document: StudyDocument) -> tuple[StudyFile, list[MethodPlan]]:
    """The study that a document describes.

    Raises `StudyError` with every mistake of the document, in the order of its lines.
    """
    checker = _Checker(document)
    file = checker.sections()
    plans = checker.methods(file)
    checker.datasets()
    checker.recipe(plans)
    checker.search(plans)
    checker.overhead(file, plans)
    checker.claims(file)
    document.raise_mistakes()
    return file, plans


def brief(error: UnknownNameError) -> str:
    """The message of an unknown name without the list of all that exist."""
    hint = f": did you mean {error.nearest!r}?" if error.nearest else ""
    return f"unknown {error.kind} {error.name!r}{hint}"


def locate(document_source: str, name: str) -> Path | None:
    """A file that a study names: below the working directory, or beside or above the study file."""
    beside = Path(document_source).resolve().parent
    for base in (Path(), beside, beside.parent):
        if (base / name).is_file():
            return base / name
    return None


class _Checker:
    """Walks over one document and notes its mistakes there."""

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
        known = registry.datasets()
        for key in (("datasets",), ("evaluate", "targets"), ("search", "datasets")):
            for index, name in self._names(key):
                if name not in known:
                    self.document.complain((*key, index), str(UnknownNameError("dataset", name, known)))
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

    # -- methods and their settings ---------------------------------------------------------------

    def methods(self, file: StudyFile) -> list[MethodPlan]:
        """Each method resolved with the preset, the study's `train` and its own entry, in that order."""
        drafts = list(self._drafts(file))
        shared = self._shared(drafts)
        plans: list[MethodPlan] = []
        for key, label, entry, written in drafts:
            plan = self._plan(file, key, label, entry, written, shared)
            self._refuse_twin(key, plan, plans)
            plans.append(plan)
        return plans

    def _drafts(self, file: StudyFile) -> Iterator[tuple[Key, str, MethodEntry, dict[str, Any]]]:
        known = registry.methods()
        listed = self.values.get("methods")
        seen: set[str] = set()
        for index, item in enumerate(listed if isinstance(listed, list) else ()):
            key: Key = ("methods", index)
            written = {"name": item} if isinstance(item, str) else item
            if not isinstance(written, dict):
                self.document.complain(key, f"must be a method's name or a mapping, got {shown(item)}")
                continue
            label, base = written.get("name"), written.get("base", written.get("name"))
            if not isinstance(label, str) or not isinstance(base, str):
                self.document.complain(
                    key, "must have a name (and base) in text, like {name: mine, base: uit}"
                )
                continue
            if label in seen:
                self.document.complain(key, f"{label!r} is listed twice")
                continue
            seen.add(label)
            if base not in known:
                at = (*key, "base") if "base" in written else key
                self.document.complain(at, str(UnknownNameError("method", base, known)))
                continue
            if not all(letter.isalnum() or letter in "._-" for letter in label) or not label[:1].isalnum():
                self.document.complain(key, f"a name holds {LABEL} only, got {shown(label)}")
            settings = {name: value for name, value in written.items() if name not in ("name", "base")}
            yield key, label, known[base], settings

    def _shared(self, drafts: list[tuple[Key, str, MethodEntry, dict[str, Any]]]) -> dict[str, Any]:
        """The study's `train` without names that nobody has; those are noted."""
        written = self.values.get("train")
        if not isinstance(written, dict):
            return {}
        had = {name for _, _, entry, _ in drafts for name in entry.settings.model_fields}
        elsewhere = {name for entry in registry.methods().values() for name in entry.settings.model_fields}
        for name in written:
            if name in TrainSettings.model_fields or name in had or not drafts:
                continue
            known = had | set(TrainSettings.model_fields)
            message = "no method of this study has it" if name in elsewhere else unknown_key(name, known)
            self.document.complain(("train", name), message)
        return {
            name: value
            for name, value in written.items()
            if name in TrainSettings.model_fields or name in had
        }

    def _plan(
        self,
        file: StudyFile,
        key: Key,
        label: str,
        entry: MethodEntry,
        written: dict[str, Any],
        shared: dict[str, Any],
    ) -> MethodPlan:
        recipe = TrainSettings.model_fields
        fields = entry.settings.model_fields
        for name in [name for name in written if name not in recipe and name not in fields]:
            self.document.complain((*key, name), unknown_key(name, {*recipe, *fields}))
        train = self._sound(
            TrainSettings,
            key,
            _RELEASED_TRAIN if file.preset == "released" else {},
            {name: value for name, value in shared.items() if name in recipe},
            {name: value for name, value in written.items() if name in recipe},
        )
        switches = {name: value for name, value in written.items() if name in fields}
        preset = _preset_settings(file.preset, {**entry.fixed, **switches}, fields)
        mine = {name: value for name, value in shared.items() if name in fields and name not in entry.fixed}
        sound = self._sound(entry.settings, key, {**entry.fixed, **preset}, mine, switches)
        chosen = {name: sound[name] for name in {**preset, **mine, **switches} if name in sound}
        active = entry.parameters(chosen)
        for name in switches.keys() - active:
            self.document.complain((*key, name), f"{label!r} does not use it, with the switches it has")
        overrides = MappingProxyType({name: value for name, value in chosen.items() if name in active})
        return MethodPlan(
            label, entry, strictly(TrainSettings, train), resolved_settings(entry, overrides), overrides
        )

    def _sound(
        self,
        model: type[BaseModel],
        key: Key,
        under: Mapping[str, Any],
        shared: Mapping[str, Any],
        own: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The valid settings among those of `train` and of a method's entry; each error at its own place."""
        merged = {**under, **shared, **own}
        try:
            strictly(model, merged)
        except ValidationError as error:
            broken = {detail["loc"][0] if detail["loc"] else None for detail in error.errors()}
            for detail in error.errors():
                at: Key = key if not detail["loc"] or detail["loc"][0] in own else ("train",)
                self.document.complain_detail(detail, at, model.model_fields)
            # A rule between settings names none of them: then only what the variant itself fixes is kept.
            return dict(under) if None in broken else {n: v for n, v in merged.items() if n not in broken}
        return merged

    def _refuse_twin(self, key: Key, plan: MethodPlan, plans: list[MethodPlan]) -> None:
        for other in plans:
            if (other.entry.name, other.train, other.method_settings) == (
                plan.entry.name,
                plan.train,
                plan.method_settings,
            ):
                self.document.complain(key, f"{plan.label!r} is {other.label!r} under another name")

    def recipe(self, plans: list[MethodPlan]) -> None:
        """What only all methods together tell: whether a setting is used, and how many patches are masked."""
        shared = self.values.get("train")
        for name in shared if isinstance(shared, dict) else ():
            own = name not in TrainSettings.model_fields
            if own and plans and not any(name in plan.entry.parameters(plan.overrides) for plan in plans):
                self.document.complain(("train", name), "no method of this study has it")
        for plan in plans:
            self._check_patches(
                plan, self._origin(plan.label, "backbone"), self._origin(plan.label, "mask_ratio")
            )

    def _check_patches(self, plan: MethodPlan, at_backbone: Key, at_ratio: Key) -> None:
        try:
            grid = patches(plan.train.backbone, plan.train.image_size)
        except UnknownNameError as error:
            self.document.complain(at_backbone, brief(error))
            return
        except ValueError as error:
            self.document.complain(self._origin(plan.label, "image_size"), str(error))
            return
        ratio = plan.method_settings.get("mask_ratio")
        visible = grid if ratio is None else round((1 - float(ratio)) * grid)
        if ratio is not None and not 1 <= visible < grid:
            message = (
                f"{ratio:g} leaves {visible} of {grid} patches visible; some must be visible, some hidden"
            )
            self.document.complain(at_ratio, message)

    def _origin(self, label: str, name: str) -> Key:
        """Where a setting of a method was written: in its own entry, in `train`, or nowhere."""
        for index, item in enumerate(self.values.get("methods") or ()):
            if isinstance(item, dict) and item.get("name") == label and name in item:
                return ("methods", index, name)
        return ("train", name)

    # -- search, overhead, claims -----------------------------------------------------------------

    def search(self, plans: list[MethodPlan]) -> None:
        """Every method that trains must have every parameter, and take both ends of its range."""
        searched = [plan for plan in plans if plan.entry.trains]
        written = self.values.get("search")
        space = written.get("space") if isinstance(written, dict) else None
        for name, value in space.items() if isinstance(space, dict) else ():
            if isinstance(value, dict):
                self._parameter(("search", "space", name), name, value, searched)

    def _no_such_method(self, key: Key, name: str, labels: Mapping[str, MethodPlan]) -> None:
        close = registry.nearest(name, labels)
        hint = f": did you mean {close!r}?" if close else ""
        self.document.complain(key, f"{name!r} is not a method of this study{hint}")

    def _parameter(self, key: Key, name: str, value: dict[str, Any], searched: list[MethodPlan]) -> None:
        if name == "epochs":
            self.document.complain(key, "epochs are the budget, the same for every trial; set search.epochs")
            return
        for plan in searched:
            has = TrainSettings.model_fields.keys() | plan.entry.parameters(plan.overrides)
            if name not in has:
                somewhere = any(name in entry.settings.model_fields for entry in registry.methods().values())
                lacks = (
                    f"{plan.label!r} does not have it, and every method of a study is searched over the same "
                    "settings; leave out the one or the other"
                )
                self.document.complain(key, lacks if somewhere else unknown_key(name, has))
                return
        model = Choices if "choices" in value else Range
        try:
            asked = parameter(value)
        except ValidationError as error:
            self.document.complain_about(error, key, model.model_fields)
            return
        for plan, end in itertools.product(searched, asked.ends()):
            self._try_end(key, plan, name, end)
        for plan in searched:
            recipe = {**plan.train.model_dump(), **plan.method_settings}.get(name)
            if isinstance(recipe, int) and isinstance(asked, Range) and asked.step and asked.step % 1:
                self.document.complain((*key, "step"), f"must be a whole number, got {asked.step:g}")

    def _try_end(self, key: Key, plan: MethodPlan, name: str, end: Any) -> None:
        try:
            changed = plan.with_settings({name: end})
        except ValidationError as error:
            for detail in error.errors():
                self.document.complain_detail({**detail, "loc": ()}, key, ())
        else:
            if name in ("mask_ratio", "image_size", "backbone"):
                self._check_patches(changed, key, key)

    def overhead(self, file: StudyFile, plans: list[MethodPlan]) -> None:
        """What costs are compared with must be in the study."""
        labels = {plan.label: plan for plan in plans}
        for index, name in enumerate(file.overhead.against if file.overhead and plans else ()):
            if name not in labels:
                self._no_such_method(("overhead", "against", index), name, labels)

    def claims(self, file: StudyFile) -> None:
        """The file of claims must exist."""
        if file.claims is not None and locate(self.document.source, file.claims) is None:
            self.document.complain(("claims",), f"no such file: {file.claims}")


def _preset_settings(preset: Preset, fixed: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    from methods.settings import preset_settings

    return {name: value for name, value in preset_settings(preset, fixed).items() if name in fields}


def patches(backbone: str, image_size: tuple[int, int]) -> int:
    """How many patches a backbone cuts an image into; torch is not needed to know.

    Raises ValueError for an unknown backbone or an image that is no whole number of patches.
    """
    from methods.backbones import backbone_config

    side = backbone_config(backbone).patch_size
    height, width = image_size
    if height % side or width % side:
        raise ValueError(f"{height}×{width} is no whole number of {backbone}'s {side}×{side} patches")
    return (height // side) * (width // side)
