"""What a search may try: its parameters, and what tells one space or point from another. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Parameter:
    """One searched setting: a range (`low` to `high`, both included) or a list of `choices`."""

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Scalar, ...] = ()
    integer: bool = False
    """Whole numbers only; follows the type of the recipe's value, as `low: 0` may mean 0.0."""

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends of a range; raises ValueError for a list of choices."""
        if self.low is None or self.high is None:
            raise ValueError(f"{self.name} is no range")
        return self.low, self.high

    def values(self) -> tuple[Scalar, ...] | None:
        """Every value it can take, or None when there is no end of them."""
        if self.choices:
            return self.choices
        low, high = self.ends
        step = self.step if self.step is not None else (1.0 if self.integer else None)
        if step is None:
            return None
        count = math.floor((high - low) / step + 1e-9) + 1
        points = [round(low + index * step, 12) for index in range(count)]
        return tuple(int(point) for point in points) if self.integer else tuple(points)

    def grid(self, count: int) -> tuple[Scalar, ...]:
        """The values a grid visits: every one, or of a range without a step `count`, even on its scale."""
        values = self.values()
        if values is not None and (self.choices or self.step is not None or len(values) <= count):
            return values
        low, high = self.ends
        shares = [index / max(count - 1, 1) for index in range(count)]
        spread = [low * (high / low) ** share if self.log else low + (high - low) * share for share in shares]
        # Ten digits: the same grid on every machine, and numbers a person can read.
        return tuple(
            dict.fromkeys(round(value) if self.integer else float(f"{value:.10g}") for value in spread)
        )

    def admits(self, value: object) -> bool:
        """Whether `value` is one the search could draw."""
        values = self.values()
        if values is not None:
            return any(_same(value, candidate) for candidate in values)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.ends[0] <= value <= self.ends[1]

    def distribution(self) -> BaseDistribution:
        """The same thing in Optuna's words."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        low, high = self.ends
        values = self.values()
        if values is not None:
            # Optuna warns when the range is no multiple of the step; ending on the last value says the same.
            high = float(values[-1])
        if self.integer:
            return IntDistribution(int(low), int(high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(low, high, log=self.log, step=self.step)

    def terms(self) -> dict[str, Any]:
        """Its canonical form, for the comparison with a stored search."""
        if self.choices:
            return {"choices": list(self.choices)}
        kept = {"low": self.low, "high": self.high, "step": self.step}
        return {**{key: float(value) for key, value in kept.items() if value is not None}, "log": self.log}


def _same(one: object, other: object) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or isinstance(one, str) or isinstance(other, str):
        return type(one) is type(other) and one == other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return one == other


def grid(space: Mapping[str, Parameter], count: int) -> Iterator[dict[str, Scalar]]:
    """Every point of the grid, first parameter slowest; `count` values for each range without a step."""
    axes = [parameter.grid(count) for parameter in space.values()]
    for point in product(*axes):
        yield dict(zip(space, point, strict=True))


def size(space: Mapping[str, Parameter]) -> int | None:
    """How many points the space has, or None when it is endless."""
    counts = [parameter.values() for parameter in space.values()]
    return math.prod(len(values) for values in counts if values is not None) if None not in counts else None


def same_point(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two points are one and would train the very same model."""
    return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What changed between two nested terms, one sentence per changed leaf, in the order of the names."""
    changes: list[str] = []
    for key in sorted({*stored, *wanted}):
        name = f"{prefix}{key}"
        if key not in wanted:
            changes.append(f"{name}: was {_brief(stored[key])}, is gone")
        elif key not in stored:
            changes.append(f"{name}: is new ({_brief(wanted[key])})")
        elif isinstance(stored[key], Mapping) and isinstance(wanted[key], Mapping):
            changes += differences(stored[key], wanted[key], f"{name}.")
        elif stored[key] != wanted[key]:
            changes.append(f"{name}: was {_brief(stored[key])}, is now {_brief(wanted[key])}")
    return changes


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
