"""One training run of a study, what identifies it, and how it is written down. Pure, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from typing import Any

from harness.machine.terms import OWN_RECIPES, SELECTIONS, Selection, TieOrder, protocol_of
from harness.study.schema import Kept, Select, TrainSettings

_BY_CONTENT = "sha256:"
"""Before the fingerprint of a pretrained file in a cell's identity."""
UNTRAINED_SETTINGS = (
    *("backbone", "pretrained", "image_size", "text_length", "normalisation", "test_resize"),
    "caption_cleaning",
)
"""The recipe's settings that a method without training has."""


@dataclass(frozen=True)
class Cell:
    """One training run: a method with its settings, on a dataset, with a seed."""

    study: str
    method: str
    """The method's label in the study."""
    base: str
    """The name it is registered under."""
    dataset: str
    seed: int
    preset: str
    train: TrainSettings
    """The recipe."""
    method_settings: Mapping[str, Any]
    """The settings that the method itself has, resolved; only those it uses."""
    overrides: Mapping[str, Any]
    """Those of them that the study or its preset chose; the registry's `resolve` takes them."""
    trains: bool
    targets: tuple[str, ...]
    """Datasets whose test split it is evaluated on, its own first."""
    subset: int | None
    select: Select
    tie_order: TieOrder
    timeout_minutes: float | None = None
    caption_noise: float = 0.0
    """Share of the training captions that are moved to other images."""
    recipe: str = "shared"
    """What the study says of recipes: `shared`, `own`, or the name of the one that all methods share."""
    imported: str = ""
    """SHA-256 of what its records were computed from by `import`; empty where it ran here. Of an imported
    cell no setting is known: `train` is a placeholder and is neither shown nor kept."""
    keep: tuple[Kept, ...] = ()
    """What stays on the disk when it is finished, beside the model of `select.split`."""

    @property
    def protocol(self) -> str:
        """`clean`, `own` or `released`: cells of different ones are never compared."""
        return protocol_of(self.preset, self.recipe)

    @property
    def key(self) -> str:
        """What tells it from the other cells of its study."""
        return f"{self.dataset}/{self.method}/{self.seed}"

    @property
    def kept_models(self) -> tuple[Selection, ...]:
        """The selections whose models stay on the disk when it is finished."""
        return tuple(each for each in SELECTIONS if each == self.select.split or each in self.keep)

    def all_settings(self) -> dict[str, Any]:
        """Every setting that can change a number, the recipe's and the method's, by its flat name.

        None of an imported cell, whose settings are not known.
        """
        if self.imported:
            return {}
        recipe = self.train.model_dump(mode="json")
        if not self.trains:
            recipe = {name: recipe[name] for name in UNTRAINED_SETTINGS}
        return {**recipe, **self.method_settings}

    def to_dict(self) -> dict[str, Any]:
        """The cell as plain values for a JSON file; `from_dict` reads it back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if not self.imported:
            values.pop("imported")
        return {
            **values,
            "targets": list(self.targets),
            "keep": list(self.keep),
            "select": self.select.model_dump(mode="json"),
            "train": {} if self.imported else self.train.model_dump(mode="json"),
            "method_settings": dict(self.method_settings),
            "overrides": dict(self.overrides),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cell:
        """The cell that `to_dict` wrote. Raises ValueError for anything else."""
        known = _names() - {"imported"}
        values = {"recipe": "shared", **values} if isinstance(values, Mapping) else values
        if not isinstance(values, Mapping) or values.keys() - {"imported"} != known:
            raise ValueError(f"not a cell of this version: its names are not {', '.join(sorted(known))}")
        try:
            return cls(
                **{
                    **values,
                    "targets": tuple(values["targets"]),
                    "keep": tuple(values["keep"]),
                    "select": _select_of(json.dumps(values["select"])),
                    "train": _train_of(json.dumps(values["train"])),
                    "method_settings": dict(values["method_settings"]),
                    "overrides": dict(values["overrides"]),
                }
            )
        except TypeError as error:
            raise ValueError(f"not a cell of this version: {error}") from error

    def parts(
        self, data: str, code: Mapping[str, str], weights: str = "", tagger: str = ""
    ) -> dict[str, Any]:
        """What the cell's identity is made of; `why` compares these between then and now.

        Paths, hosts and workers do not count.

        Args:
            data: The training dataset's fingerprint.
            code: One fingerprint per package of the code that can change a number.
            weights: The fingerprint of the pretrained file; empty when there is none. A file counts by its
                content.
            tagger: What tagged the captions, with its version.
        """
        settings = self.all_settings()
        if weights:
            settings["pretrained"] = _BY_CONTENT + weights
        return {
            **({"imported": self.imported} if self.imported else {}),
            "method": {"label": self.method, "base": self.base},
            "dataset": {
                "name": self.dataset,
                "subset": self.subset,
                "caption_noise": self.caption_noise,
                "fingerprint": data,
            },
            "settings": settings,
            "protocol": {
                "preset": self.preset,
                "recipe": OWN_RECIPES if self.recipe == OWN_RECIPES else "shared",
                "metric": self.select.metric,
                "tie_order": self.tie_order,
                "tagger": tagger if self.trains else "",
            },
            "code": dict(code),
            "seed": self.seed,
        }

    def parts_beside(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """This cell's parts on the data, code, weights and tagger of stored `parts`.

        They equal `parts` when those are of this cell. Raises KeyError, TypeError or AttributeError when
        `parts` are damaged.
        """
        pretrained = str(parts["settings"].get("pretrained", ""))
        weights = pretrained.removeprefix(_BY_CONTENT) if pretrained.startswith(_BY_CONTENT) else ""
        data, tagger = parts["dataset"]["fingerprint"], parts["protocol"]["tagger"]
        return self.parts(data, parts["code"], weights, tagger)

    def directory_name(self, identity: str) -> str:
        """Where a store keeps the cell: readable, and unique by its identity."""
        return f"{self.dataset}.{self.method}.{self.seed}.{identity[:12]}"


def fingerprint(value: Any) -> str:
    """SHA-256, in hex, of a plain value's canonical JSON."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


@cache
def _names() -> frozenset[str]:
    return frozenset(field.name for field in fields(Cell))


# Of thousands of cells all but a few have the same recipe: it is checked, and kept, once.
_select_of = lru_cache(maxsize=1000)(Select.model_validate_json)
_train_of = lru_cache(maxsize=1000)(TrainSettings.model_validate_json)
