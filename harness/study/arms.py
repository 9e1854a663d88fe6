"""The arms of a study: every method by its recipe and, after a search, by the settings that won. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.study.method_plan import MethodPlan
from harness.study.schema import Search, TrainSettings

Tuned = Mapping[tuple[str, str, int], Mapping[str, Any]]
"""The settings that won, by method, dataset and repeat of the search (from 1)."""


@dataclass(frozen=True)
class StudyArm:
    """A method as the comparison trains it."""

    label: str
    """What its cells are called."""
    method: str
    """The method's label in the study file."""
    repeat: int = 0
    """Whose winner it trains: the first, second … search of the method; 0 is the recipe."""


def arms_of(plan: MethodPlan, search: Search | None, dataset: str) -> list[StudyArm]:
    """The arms of a method on a dataset: its recipe alone where nothing is searched."""
    recipe = StudyArm(plan.label, plan.label)
    if search is None or not plan.entry.trains or (search.datasets and dataset not in search.datasets):
        return [recipe]
    repeats = range(1, search.repeats + 1)
    tuned = [StudyArm(tuned_label(plan.label, search, number), plan.label, number) for number in repeats]
    return [*([recipe] if "recipe" in search.arms else []), *(tuned if "tuned" in search.arms else [])]


def tuned_label(label: str, search: Search, repeat: int) -> str:
    """What the cells of a search's winner are called, beside those of the recipe."""
    if "recipe" not in search.arms and search.repeats == 1:
        return label
    return f"{label}-tuned" if search.repeats == 1 else f"{label}-tuned-{repeat}"


def searched_settings(plan: MethodPlan, search: Search) -> tuple[str, ...]:
    """The settings of the space that a method has, in the order of the space."""
    has = TrainSettings.model_fields.keys() | plan.entry.parameters(plan.overrides)
    return tuple(name for name in search.space if name in has)


def space_notes(plans: tuple[MethodPlan, ...], search: Search | None) -> list[str]:
    """Which methods have fewer of the searched settings than others, one sentence each."""
    notes = []
    for plan in plans if search is not None else ():
        has = searched_settings(plan, search) if search is not None else ()
        lacking = [name for name in (search.space if search is not None else ()) if name not in has]
        if plan.entry.trains and lacking:
            count = f"{len(has)} of the {len(has) + len(lacking)} searched settings"
            notes.append(f"search.space: {plan.label} has {count}: no {', '.join(lacking)}")
    return notes
