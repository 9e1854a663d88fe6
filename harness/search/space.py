"""What a search may try: its parameters, grids, and the comparison of spaces and points. Pure."""

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

    @property
    def _spacing(self) -> float | None:
        return self.step if self.step is not None else (1.0 if self.integer else None)

    @property
    def count(self) -> int | None:
        """How many values it can take, or None for a continuous range."""
        if self.choices:
            return len(self.choices)
        low, high = self.ends
        return None if self._spacing is None else round((high - low) / self._spacing) + 1

    def grid(self, points: int) -> tuple[Scalar, ...]:
        """The values a grid visits: every one, or of a range without a step `points`, even on its scale."""
        if self.choices:
            return self.choices
        low, high = self.ends
        if self.count is not None and self._spacing is not None and self._is_visited_whole(points):
            spread = [round(low + index * self._spacing, 12) for index in range(self.count)]
        else:
            shares = [index / max(points - 1, 1) for index in range(points)]
            spread = [low * (high / low) ** at if self.log else low + (high - low) * at for at in shares]
        # Ten digits: the same grid on every machine, and numbers a person can read.
        return tuple(
            dict.fromkeys(round(value) if self.integer else float(f"{value:.10g}") for value in spread)
        )

    def _is_visited_whole(self, points: int) -> bool:
        return self.step is not None or (self.count is not None and self.count <= points)

    def grid_count(self, points: int) -> int:
        """How many values a grid visits; a range of a billion steps is counted, not listed."""
        if self.count is not None and self._is_visited_whole(points):
            return self.count
        return len(self.grid(points))

    def is_on_grid(self, value: object, points: int) -> bool:
        """Whether a grid visits `value`."""
        if self._is_visited_whole(points):
            return self.admits(value)
        return any(_same(value, candidate) for candidate in self.grid(points))

    def admits(self, value: object) -> bool:
        """Whether `value` is one the search could draw."""
        if self.choices:
            return any(_same(value, candidate) for candidate in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.ends
        if self._spacing is not None:
            index = round((value - low) / self._spacing)
            return 0 <= index < (self.count or 0) and _same(value, low + index * self._spacing)
        return low <= value <= high

    def distribution(self) -> BaseDistribution:
        """The same parameter as Optuna's distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        low, high = self.ends
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


def grid(space: Mapping[str, Parameter], points: int) -> Iterator[dict[str, Scalar]]:
    """Every point of the grid, first parameter slowest; `points` values for each range without a step."""
    axes = [parameter.grid(points) for parameter in space.values()]
    for point in product(*axes):
        yield dict(zip(space, point, strict=True))


def size(space: Mapping[str, Parameter]) -> int | None:
    """How many points the space has, or None when it has a continuous range."""
    counts = [parameter.count for parameter in space.values()]
    return math.prod(count for count in counts if count is not None) if None not in counts else None


def same_point(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two points would train the very same model."""
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
