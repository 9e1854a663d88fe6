"""Which epoch's model is kept and evaluated: the best on validation, and the best on test for comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Weights = dict[str, Tensor]


@dataclass
class BestEpoch:
    """The best epoch so far by one rule; 0 before any epoch was evaluated."""

    epoch: int = 0
    score: float = -math.inf

    def improves(self, score: float) -> bool:
        """Whether `score` is better.

        A tie leaves the earlier epoch, and NaN (nothing to measure) never wins.
        """
        return score > self.score


@dataclass
class TrainingProgress:
    """How far a run has come, and which models it must not forget.

    `epoch` epochs are complete and `step` steps of the next one are done. `kept` has the weights after every
    epoch that is the best by some rule, on the CPU, each once.
    """

    epoch: int = 0
    step: int = 0
    best: dict[str, BestEpoch] = field(default_factory=lambda: {"val": BestEpoch(), "test": BestEpoch()})
    kept: dict[int, Weights] = field(default_factory=dict)
    epoch_stats: dict[str, Any] | None = None
    """`EpochStats.state` of an epoch that was interrupted."""
    pair_values: dict[str, Tensor] | None = None
    """What the method's hook gave every training pair for the epoch that runs; None before the hook ran."""

    def consider(self, scores: Mapping[str, float], epoch: int, weights: Mapping[str, Tensor]) -> None:
        """Update the best epochs by an evaluation after `epoch`.

        `scores` by selection (`val`, `test`); `weights` by name, as the model has them after that epoch.
        """
        for selection, score in scores.items():
            if self.best[selection].improves(score):
                self.best[selection] = BestEpoch(epoch, score)
        wanted = {best.epoch for best in self.best.values()}
        if epoch in wanted:
            self.kept[epoch] = copy_to_cpu(weights)
        self.kept = {kept: model for kept, model in self.kept.items() if kept in wanted}


def copy_to_cpu(weights: Mapping[str, Tensor]) -> Weights:
    """A copy of the weights by name that training does not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
