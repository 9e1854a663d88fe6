"""What a study is: the cells it expands into, and what makes each of them that cell. Pure, without torch."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import registry
from harness.machine.errors import DataError, StudyError
from harness.registry import MethodEntry, PluginError
from harness.study import ablation, document, validation
from harness.study.arms import Tuned, arms_of, space_notes
from harness.study.cell import UNTRAINED_SETTINGS, Cell
from harness.study.document import StudyDocument
from harness.study.method_plan import MethodPlan
from harness.study.schema import (
    Evaluate,
    Overhead,
    Search,
    Select,
    StudyFile,
    TrainSettings,
)
from harness.study.shipped import study_path

__all__ = [
    "Cell",
    "Evaluate",
    "MethodPlan",
    "Overhead",
    "Search",
    "Select",
    "Study",
    "StudyError",
    "TrainSettings",
    "load_study",
]


@dataclass(frozen=True)
class Study:
    """A valid study: what to compare, on what, by which protocol."""

    source: Path
    file: StudyFile
    plans: tuple[MethodPlan, ...]
    document: StudyDocument = field(compare=False, repr=False)
    """What was written, with the place of each key."""

    @property
    def name(self) -> str:
        """The study's name, also that of its default folder below `runs`."""
        return self.file.name

    @property
    def preset(self) -> str:
        """`clean` or `released`."""
        return self.file.preset

    @property
    def recipe(self) -> str:
        """`shared`, `own`, or the name of the recipe that all methods share."""
        return self.file.recipe

    @property
    def methods(self) -> tuple[str, ...]:
        """Labels of the methods, in the order of the file."""
        return tuple(plan.label for plan in self.plans)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Datasets trained on, in the order of the file."""
        return self.file.datasets

    @property
    def targets(self) -> tuple[str, ...]:
        """Every dataset that is evaluated on."""
        return tuple(dict.fromkeys((*self.datasets, *self.file.evaluate.targets)))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every cell."""
        return self.file.seeds

    @property
    def looks(self) -> tuple[int, ...]:
        """At how many seeds the study is to be looked at; empty where no looks are planned."""
        return self.file.looks or ()

    @property
    def select(self) -> Select:
        """How the quoted epoch is chosen."""
        return self.file.select

    @property
    def search(self) -> Search | None:
        """The search that precedes the comparison, if any."""
        return self.file.search

    @property
    def overhead(self) -> Overhead | None:
        """The measurement of costs, if any."""
        return self.file.overhead

    @property
    def claims(self) -> Path | None:
        """The file of claims, if any."""
        return validation.locate(str(self.source), self.file.claims) if self.file.claims else None

    def reach(self) -> dict[str, tuple[str, ...]]:
        """By key of `train:`, the labels of the methods whose setting it is, in the order of the study.

        Not reached is a method whose own entry says otherwise, one that does not use the setting, and of the
        recipe's keys one that does not train, but for what its backbone is.
        """
        return {
            name: tuple(p.label for p in self.plans if self._reaches(name, p)) for name in self.file.train
        }

    def _reaches(self, name: str, plan: MethodPlan) -> bool:
        if name in self._written_in_entry(plan.label):
            return False
        if name in TrainSettings.model_fields:
            return plan.entry.trains or name in UNTRAINED_SETTINGS
        return name in plan.overrides and name not in plan.entry.fixed

    def _written_in_entry(self, label: str) -> set[str]:
        entries = (entry for entry in self.file.methods if isinstance(entry, dict))
        return {name for entry in entries if entry.get("name") == label for name in entry}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know though nothing is refused: a key of two meanings, a swapped size."""
        labels = {plan.label: plan for plan in self.plans}
        notes = space_notes(self.plans, self.search)
        for name, reached in self.reach().items():
            owners: dict[str, list[str]] = {}
            for label in reached if name not in TrainSettings.model_fields else ():
                owners.setdefault(_owner(labels[label].entry, name), []).append(label)
            if len(owners) > 1:
                named = "; ".join(f"{', '.join(group)} (of {owner})" for owner, group in owners.items())
                notes.append(
                    f"train.{name} sets the {name} of methods that mean different things by it: {named}; "
                    f"give each its own, like {{name: {reached[-1]}, {name}: …}}"
                )
        for size, group in self._wider_than_high().items():
            notes.append(
                f"image_size {list(size)} is height, then width: wider than high, where people stand upright "
                f"({', '.join(group)}); swapped?"
            )
        return tuple(notes)

    def _wider_than_high(self) -> dict[tuple[int, int], list[str]]:
        groups: dict[tuple[int, int], list[str]] = {}
        for plan in self.plans:
            height, width = plan.train.image_size
            if width > height:
                groups.setdefault((height, width), []).append(plan.label)
        return groups

    def where(self, label: str, setting: str) -> str:
        """Where a setting of a method was written, for an error message: `file:line: train.pretrained`."""
        key = self.document.key_of_setting(label, setting)
        return f"{self.document.place(key)}: {document.dotted(key)}"

    def plan(self, label: str) -> MethodPlan:
        """The method called `label` in this study; raises KeyError when there is none."""
        return {plan.label: plan for plan in self.plans}[label]

    def cell(
        self,
        label: str,
        dataset: str,
        seed: int,
        changes: Mapping[str, Any] | None = None,
        called: str = "",
    ) -> Cell:
        """One cell, with some settings changed by their flat names (a trial of a search, a tuned method).

        `called` is its label where that is not the method's. Raises pydantic's `ValidationError` when a
        change is out of bounds.
        """
        plan = self.plan(label).with_settings(changes) if changes else self.plan(label)
        train = plan.train
        if train.text_length is None:
            train = train.model_copy(update={"text_length": registry.dataset(dataset).text_length})
        evaluate = self.file.evaluate
        others = (*(self.datasets if evaluate.transfer else ()), *evaluate.targets)
        return Cell(
            study=self.name,
            method=called or label,
            base=plan.entry.name,
            dataset=dataset,
            seed=seed,
            preset=self.preset,
            train=train,
            # Plain dictionaries: a cell travels to worker processes.
            method_settings=dict(plan.method_settings),
            overrides=dict(plan.overrides),
            trains=plan.entry.trains,
            targets=tuple(dict.fromkeys((dataset, *others))),
            subset=self.file.subset,
            caption_noise=self.file.data.caption_noise,
            select=self.select,
            tie_order=evaluate.tie_order,
            timeout_minutes=self.file.timeout_minutes,
            recipe=self.file.recipe,
            keep=self.file.keep,
        )

    def cells(self, tuned: Tuned | None = None) -> list[Cell]:
        """Every cell: datasets × methods × arms × seeds.

        Until a search has its winners (`tuned`), the cells of its tuned arm have the recipe's settings.
        """
        return [
            self.cell(
                arm.method, dataset, seed, (tuned or {}).get((arm.method, dataset, arm.repeat)), arm.label
            )
            for dataset in self.datasets
            for plan in self.plans
            for arm in arms_of(plan, self.search, dataset)
            for seed in self.seeds
        ]

    def resolved(self) -> dict[str, Any]:
        """The study as a file that says everything and means the same; a storage's password is left out."""
        from harness.machine.passwords import masked

        values = self.file.model_dump(mode="json", exclude_none=True)
        values["methods"] = [
            {
                "name": plan.label,
                "base": plan.entry.name,
                **plan.train.model_dump(mode="json"),
                **plan.method_settings,
            }
            for plan in self.plans
        ]
        values.pop("train")
        if self.search is not None and self.search.storage is not None:
            values["search"]["storage"] = masked(self.search.storage)
        return values


def _owner(entry: MethodEntry, name: str) -> str:
    """The class of settings that declares a setting, with its module's file for a plugin's."""
    declaring = next(kind for kind in entry.settings.__mro__ if name in inspect.get_annotations(kind))
    return f"{declaring.__name__} in {entry.plugin.name}" if entry.plugin else declaring.__name__


def load_study(
    path: Path,
    overrides: Iterable[str] = (),
    *,
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    seeds: Sequence[int] | int | None = None,
    subset: int | None = None,
) -> Study:
    """Read a study, by path or by the name of a shipped one, apply what the command line says, and check it.

    `overrides` are `train.epochs=2` as given to `--set`. `methods` keeps only the named methods of the study,
    in that order; a registered method that the study lacks is added. `datasets` likewise.

    Raises `StudyError` with every mistake, each with its place. Nothing is written.
    """
    path = study_path(path)
    parsed = document.read(path)
    _name_datasets(parsed, path)
    listed = _method_names(parsed)
    for assignment in overrides:
        document.override(parsed, assignment)
    ablation.write_variants(parsed)
    _separate_looks(parsed)
    methods = methods or _narrowed_methods(listed, parsed)
    if methods:
        _narrow(parsed, "methods", methods)
        parsed.narrowed = True
    if datasets:
        _narrow(parsed, "datasets", datasets)
    if seeds is not None:
        _replace(parsed, "seeds", seeds if isinstance(seeds, int) else list(seeds))
    if subset is not None:
        _replace(parsed, "subset", subset)
    file, plans = validation.validated(parsed)
    return Study(path, file, tuple(plans), parsed)


def _method_names(parsed: StudyDocument) -> list[str]:
    listed = parsed.values.get("methods")
    entries = listed if isinstance(listed, list) else []
    return [str(entry.get("name") if isinstance(entry, dict) else entry) for entry in entries]


def _narrowed_methods(before: Sequence[str], parsed: StudyDocument) -> Sequence[str]:
    """The methods that an override left of those in the file; none where it did anything else."""
    left = _method_names(parsed)
    return left if left and set(left) < set(before) else ()


def _name_datasets(parsed: StudyDocument, study: Path) -> None:
    """Replace paths of dataset files by the names they register, and lists of datasets by joint ones.

    A path is relative to the working folder, or to the study file's.
    """
    for section, key in (("", "datasets"), ("evaluate", "targets"), ("search", "datasets")):
        part = parsed.values.get(section) if section else parsed.values
        listed = part.get(key) if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(listed, list):
            continue
        names: list[Any] = []
        for index, entry in enumerate(listed):
            place = (section, key, index) if section else (key, index)
            several = isinstance(entry, list) and entry and all(isinstance(name, str) for name in entry)
            joint = entry if several else [entry]
            registered = [_dataset_name(parsed, place, name, study) for name in joint]
            names.append("+".join(registered) if several else registered[0])
        part[key] = names


def _dataset_name(parsed: StudyDocument, place: tuple[str | int, ...], name: Any, study: Path) -> Any:
    if not isinstance(name, str) or not name.endswith(registry.DATASET_FILE):
        return name
    file = validation.locate(str(study), name) or Path(name)
    try:
        return registry.load_dataset_file(file)
    except (DataError, PluginError) as error:
        parsed.complain(place, "; ".join(str(error).splitlines()))
        return name


def _separate_looks(parsed: StudyDocument) -> None:
    """Turn `seeds: {looks: [3, 5, 10]}` into the seeds of the first look and the list of looks."""
    seeds = parsed.values.get("seeds")
    if not isinstance(seeds, dict):
        return
    looks = seeds.get("looks")
    if set(seeds) != {"looks"} or not isinstance(looks, list) or not looks:
        parsed.complain(("seeds",), "must be how many seeds, a list of them, or {looks: [3, 5, 10]}")
        return
    parsed.values |= {"looks": looks, "seeds": looks[0]}
    parsed.places[("looks",)] = parsed.place(("seeds",))


def _replace(parsed: StudyDocument, name: str, value: Any) -> None:
    parsed.values[name] = value
    parsed.places = {key: place for key, place in parsed.places.items() if key[:1] != (name,)}
    parsed.mistakes = [mistake for mistake in parsed.mistakes if mistake[1][:1] != (name,)]
    parsed.places[(name,)] = f"--{name}"


def _narrow(parsed: StudyDocument, name: str, wanted: Sequence[str]) -> None:
    """Keep the wanted entries of a list; search and overhead keep what is left of theirs."""
    listed = parsed.values.get(name)
    entries = {
        str(entry.get("name") if isinstance(entry, dict) else entry): entry
        for entry in (listed if isinstance(listed, list) else ())
    }
    _replace(parsed, name, [entries.get(label, label) for label in wanted])
    for section, key in (("search", name), ("overhead", "against")):
        part = parsed.values.get(section)
        if not isinstance(part, dict) or (section == "overhead" and name != "methods"):
            continue
        named = [part[key]] if isinstance(part.get(key), str) else part.get(key)
        if isinstance(named, list) and named:
            part[key] = [label for label in named if label in wanted]
            if not part[key]:
                _replace(parsed, section, None)
