"""What a search is: its space, its budget, and the objective that a trial's score comes from. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.machine.errors import ExitCode, HarnessError, Reason
from harness.search.space import Parameter, Scalar, grid, same_point

ReportEpoch = Callable[[int, float], None]
"""Called after each epoch (counted from 1) with its validation score; raises `Pruned` to end the trial."""


class Objective(Protocol):
    """Trains with some settings and answers with the validation score to maximise.

    It is pickled into workers. Raising `TrialFailed` gives the reason of a failure; any other exception is
    one too, with reason `error`.
    """

    def __call__(self, settings: Mapping[str, Scalar], report_epoch: ReportEpoch) -> float:
        """Train, calling `report_epoch` after every epoch; an epoch it raises `Pruned` after is the last."""


class TrialLost(HarnessError):
    """The trial was taken over by another worker, because this one was silent for too long."""

    exit_code = ExitCode.ERROR


class TrialFailed(HarnessError):
    """A trial ended without a score.

    Args:
        reason: one of oom, nan, data, timeout, error.
        detail: the error in one line.
        plugin_line: `FILE:LINE` of the plugin's code that raised it; empty for every other failure.
    """

    exit_code = ExitCode.ERROR

    def __init__(self, reason: Reason, detail: str, plugin_line: str = "") -> None:
        super().__init__(f"{reason}: {detail}", reason=reason)
        self.detail, self.plugin_line = detail, plugin_line


@dataclass(frozen=True)
class SearchPlan:
    """One search: a method on a dataset, with a budget. Picklable: workers open the database themselves."""

    name: str
    """Of the Optuna study, `<study>/<method>/<dataset>`."""
    url: str = field(repr=False)
    """Of the database; may hold a password, so it is never printed."""
    space: Mapping[str, Parameter]
    recipe: Mapping[str, Scalar]
    """The recipe's own values: trial 0."""
    trials: int
    """Finished trials (complete or pruned) that make up the budget."""
    epochs: int
    objective: Objective = field(repr=False)
    sampler: str
    pruner: str
    seed: int
    grid_points: int
    """Values that a grid visits of a range without a step."""
    terms: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that, when changed, makes old and new trials incomparable."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What a report calls it: method, dataset, metric. Compared with nothing."""

    @property
    def failures_allowed(self) -> int:
        """Failed trials that one run replaces before it gives the search up: half the budget, at least 3."""
        return max(3, self.trials // 2)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The terms a stored search must agree with to be continued; its budget is none, as it may grow."""
        return {
            "space": {name: parameter.terms() for name, parameter in self.space.items()},
            "epochs": self.epochs,
            "sampler": self.sampler,
            "pruner": self.pruner,
            "seed": self.seed,
            **({"points": self.grid_points} if self.sampler == "grid" else {}),
            **self.terms,
        }

    @property
    def grid_size(self) -> int:
        """The points of a grid and the recipe, without listing them."""
        points = self.grid_points
        listed = math.prod(parameter.grid_count(points) for parameter in self.space.values())
        on_it = all(each.is_on_grid(self.recipe[name], points) for name, each in self.space.items())
        return listed + (not on_it)

    def grid(self) -> list[dict[str, Scalar]]:
        """The points of a grid search that are not the recipe's; none for other samplers."""
        if self.sampler != "grid":
            return []
        return [p for p in grid(self.space, self.grid_points) if not same_point(p, self.recipe)]

    def queued_points(self) -> list[dict[str, Scalar]]:
        """The points that are tried whatever the sampler draws: the recipe first, then those of a grid."""
        return [dict(self.recipe), *self.grid()]
