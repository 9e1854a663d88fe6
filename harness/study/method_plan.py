"""A method of a study with every setting it ends up with. Pure, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from harness.registry import MethodEntry
from harness.study.schema import TrainSettings


@dataclass(frozen=True)
class MethodPlan:
    """A method of a study: its label, what it is built from, and every setting it ends up with."""

    label: str
    entry: MethodEntry
    train: TrainSettings
    """The recipe."""
    method_settings: Mapping[str, Any]
    """The settings this variant really has, resolved."""
    overrides: Mapping[str, Any]
    """Those of them that the study or the preset chose; the entry's `resolve` takes them."""

    def with_settings(self, changes: Mapping[str, Any]) -> MethodPlan:
        """The same method with some settings changed, the recipe's or its own, by their flat names.

        Raises pydantic's `ValidationError` for a value out of bounds or a name nobody has.
        """
        recipe = {name: value for name, value in changes.items() if name in TrainSettings.model_fields}
        chosen = {**self.overrides, **{name: changes[name] for name in changes if name not in recipe}}
        train = strictly(TrainSettings, {**self.train.model_dump(mode="json"), **recipe})
        settings = resolved_settings(self.entry, chosen)
        return MethodPlan(self.label, self.entry, train, settings, MappingProxyType(chosen))


def strictly(model: type[BaseModel], values: Mapping[str, Any]) -> Any:
    """Validate as a file would be: `true` is no number, `"3"` neither; lists may be tuples."""
    return model.model_validate_json(json.dumps(dict(values)), strict=True)


def resolved_settings(entry: MethodEntry, overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings a variant really has, and any other that makes it differ from the registered variant."""
    resolved = strictly(entry.settings, {**entry.fixed, **overrides}).model_dump(mode="json")
    registered = entry.resolve().model_dump(mode="json")
    active = entry.parameters(overrides)
    kept = {name: value for name, value in resolved.items() if name in active or value != registered[name]}
    return MappingProxyType(dict(sorted(kept.items())))
