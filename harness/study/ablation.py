"""The variants that `ablate:` stands for: the first method with its switches on and off. Pure."""

from __future__ import annotations

from typing import Any

from harness import registry
from harness.machine.grids import MOST_SWITCHES, Levels, runs_of
from harness.study.document import StudyDocument


def write_variants(document: StudyDocument) -> None:
    """Add the variants that `ablate:` stands for to the document's methods, less those that are listed.

    What is wrong with it is noted in the document.
    """
    switches, methods = document.values.get("ablate"), document.values.get("methods")
    if not switches or not isinstance(switches, list) or not isinstance(methods, list) or not methods:
        return
    first = {"name": methods[0]} if isinstance(methods[0], str) else methods[0]
    if problem := _problem(first, switches):
        document.complain(("ablate",), problem)
        return
    listed = {item.get("name") if isinstance(item, dict) else item for item in methods}
    added = [_variant(first, switches, run) for run in reversed(runs_of(len(switches))) if not all(run)]
    document.values["methods"] = [*methods, *(each for each in added if each["name"] not in listed)]


def _problem(first: Any, switches: list[Any]) -> str:
    base = first.get("base", first.get("name")) if isinstance(first, dict) else None
    entry = registry.methods().get(str(base))
    if entry is None:
        return "needs a registered method, listed first, whose switches it turns off"
    if len(switches) > MOST_SWITCHES or len(set(map(str, switches))) < len(switches):
        return f"must list at most {MOST_SWITCHES} different switches, got {len(switches)}"
    resolved = entry.resolve(
        {name: value for name, value in first.items() if name in entry.settings.model_fields}
    )
    for name in switches:
        value = getattr(resolved, str(name), None)
        if value is not True or name in entry.fixed:
            on = [field for field in entry.settings.model_fields if getattr(resolved, field) is True]
            return f"{name!r} is no switch that {base} has on; it has {', '.join(on) or 'none'}"
    return ""


def _variant(first: dict[str, Any], switches: list[str], run: Levels) -> dict[str, Any]:
    off = [name for name, on in zip(switches, run, strict=True) if not on]
    label = f"{first['name']}-no-" + "-no-".join(name.replace("_", "-") for name in off)
    base = first.get("base", first["name"])
    return {**first, "name": label, "base": base, **dict.fromkeys(off, False)}
