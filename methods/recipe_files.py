"""Recipes as data: what a method is trained with, each value with its source, read from `recipes/*.yaml`.

Torch is not imported here, so a study is checked at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from harness.registry import UnknownNameError

FOLDER = Path(__file__).with_name("recipes")


@dataclass(frozen=True)
class Recipe:
    """A recipe: settings of the training loop and of methods, by their flat names."""

    name: str
    summary: str
    values: Mapping[str, Any]
    sources: Mapping[str, str]
    """Where each value was read, by the same names."""


def recipe_names() -> tuple[str, ...]:
    """The recipes that ship, by name."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


@cache
def recipe(name: str) -> Recipe:
    """The recipe called `name`; raises `UnknownNameError` with the nearest name otherwise."""
    if name not in recipe_names():
        raise UnknownNameError("recipe", name, recipe_names())
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    settings = content["settings"]
    return Recipe(
        name,
        content["summary"],
        MappingProxyType({key: entry["value"] for key, entry in settings.items()}),
        MappingProxyType({key: entry["source"] for key, entry in settings.items()}),
    )
