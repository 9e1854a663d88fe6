"""One training run of a study, and what identifies it. Pure, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.study.schema import Select, TieOrder, TrainSettings

_BY_CONTENT = "sha256:"
"""Before the fingerprint of a pretrained file in a cell's identity."""


_UNTRAINED = ("backbone", "pretrained", "image_size")
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
    own: Mapping[str, Any]
    """The method's own settings, resolved; only those it has."""
    given: Mapping[str, Any]
    """What to hand to the registry's `resolve` to build the method."""
    trains: bool
    targets: tuple[str, ...]
    """Datasets whose test split it is evaluated on, its own first."""
    subset: int | None
    select: Select
    tie_order: TieOrder
    timeout_minutes: float | None = None

    @property
    def key(self) -> str:
        """What tells it from the other cells of its study."""
        return f"{self.dataset}/{self.method}/{self.seed}"

    def settings(self) -> dict[str, Any]:
        """Every setting that can change a number, by its flat name."""
        recipe = self.train.model_dump(mode="json")
        if not self.trains:
            recipe = {name: recipe[name] for name in _UNTRAINED}
        return {**recipe, **self.own}

    def parts(
        self, data: str, code: Mapping[str, str], weights: str = "", tagger: str = ""
    ) -> dict[str, Any]:
        """What the cell's identity is made of; `why` compares these between then and now.

        `data` is the training dataset's fingerprint, `code` one fingerprint per room, `weights` that of the
        pretrained file, when it is one (a file counts by its content); `tagger` is what tagged captions.
        Paths, hosts and workers do not count.
        """
        settings = self.settings()
        if weights:
            settings["pretrained"] = _BY_CONTENT + weights
        return {
            "method": {"label": self.method, "base": self.base},
            "dataset": {"name": self.dataset, "subset": self.subset, "fingerprint": data},
            "settings": settings,
            "protocol": {
                "preset": self.preset,
                "metric": self.select.metric,
                "tie_order": self.tie_order,
                "tagger": tagger if self.trains else "",
            },
            "code": dict(code),
            "seed": self.seed,
        }

    def directory_name(self, identity: str) -> str:
        """Where a store keeps the cell: readable, and unique by its identity."""
        return f"{self.dataset}.{self.method}.{self.seed}.{identity[:12]}"


def weights_of(parts: Mapping[str, Any]) -> str:
    """The `weights` that `Cell.parts` was given; empty where they were no file."""
    pretrained = str(parts["settings"].get("pretrained", ""))
    return pretrained.removeprefix(_BY_CONTENT) if pretrained.startswith(_BY_CONTENT) else ""


def fingerprint(value: Any) -> str:
    """SHA-256, in hex, of a plain value's canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
