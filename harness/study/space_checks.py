"""Checks of a search space: every method that trains has some of it, and takes both ends of each range."""

from __future__ import annotations

import itertools
from typing import Any

from pydantic import ValidationError

from harness import registry
from harness.study.document import Key, StudyDocument, shown, unknown_key
from harness.study.method_checks import RECIPE, MethodChecks
from harness.study.method_plan import MethodPlan
from harness.study.schema import Choices, Range, TrainSettings, parameter


def check_space(document: StudyDocument, checks: MethodChecks, plans: list[MethodPlan]) -> None:
    """Note the mistakes of `search.space` in the document."""
    searched = [plan for plan in plans if plan.entry.trains]
    written = document.values.get("search")
    space = written.get("space") if isinstance(written, dict) else None
    for name, value in space.items() if isinstance(space, dict) else ():
        key: Key = ("search", "space", name)
        problem = _shape_problem(name, value) or _name_problem(name, searched)
        if problem:
            document.complain(key, problem)
        elif isinstance(value, dict):
            having = [plan for plan in searched if _has(plan, name)]
            _check_values(document, checks, key, name, value, having)
    if isinstance(space, dict) and space:
        _check_arms(document, searched, space)


def _check_arms(document: StudyDocument, searched: list[MethodPlan], space: dict[str, Any]) -> None:
    """Every method has something to search over, and no method has the name of another's tuned arm."""
    labels = {plan.label for plan in searched}
    for plan in searched:
        if not any(_has(plan, name) for name in space):
            document.complain(("search", "space"), f"{plan.label!r} has none of these settings; leave it out")
        taken = [label for label in labels if label.startswith(f"{plan.label}-tuned")]
        if taken:
            document.complain(("search",), f"{taken[0]!r} is what the tuned arm of {plan.label!r} is called")


def _has(plan: MethodPlan, name: str) -> bool:
    return name in TrainSettings.model_fields or name in plan.entry.parameters(plan.overrides)


def _shape_problem(name: str, value: Any) -> str:
    if isinstance(value, list):
        return f"a list of values is written {{choices: {shown(value)}}}, a range {{low: …, high: …}}"
    if not isinstance(value, dict):
        return f"must be a range, {{low: …, high: …}}, or {{choices: […]}}, got {shown(value)}"
    if name == "epochs":
        return "epochs are the budget, the same for every trial; set search.epochs"
    return ""


def _name_problem(name: str, searched: list[MethodPlan]) -> str:
    """Why a setting cannot be searched over: no method has it, or one is what it is because of it."""
    if searched and not any(_has(plan, name) for plan in searched):
        known = set(RECIPE).union(*(plan.entry.parameters(plan.overrides) for plan in searched))
        somewhere = any(name in entry.settings.model_fields for entry in registry.methods().values())
        return "no method of this study has it" if somewhere else unknown_key(name, known)
    for plan in searched:
        if name in plan.entry.fixed:
            return f"{name} is what makes {plan.entry.name}, so it is not searched"
    return ""


def _check_values(
    document: StudyDocument,
    checks: MethodChecks,
    key: Key,
    name: str,
    value: dict[str, Any],
    searched: list[MethodPlan],
) -> None:
    model = Choices if "choices" in value else Range
    try:
        asked = parameter(value)
    except ValidationError as error:
        document.complain_about(error, key, model.model_fields)
        return
    for plan, end in itertools.product(searched, asked.ends()):
        _try_end(document, checks, key, plan, name, end)
    for plan in searched:
        recipe = {**plan.train.model_dump(), **plan.method_settings}.get(name)
        if isinstance(recipe, int) and isinstance(asked, Range) and asked.step and asked.step % 1:
            document.complain((*key, "step"), f"must be a whole number, got {asked.step:g}")


def _try_end(
    document: StudyDocument, checks: MethodChecks, key: Key, plan: MethodPlan, name: str, end: Any
) -> None:
    try:
        changed = plan.with_settings({name: end})
    except ValidationError as error:
        for detail in error.errors():
            document.complain_detail({**detail, "loc": ()}, key, ())
        return
    if name in ("mask_ratio", "image_size", "backbone"):
        checks.patches(changed, key, key)
    if name in ("pretrained", "backbone"):
        checks.weights(changed, key)
