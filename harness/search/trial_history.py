"""What was reported of a trial while it ran, stored as one note of the trial."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from optuna.trial import FrozenTrial

HISTORY = "history"
"""The note's name."""


@dataclass(frozen=True)
class TrialHistory:
    """The epochs of a trial with their scores, and what its workers went through.

    It is stored before Optuna gets an epoch, so it may be one epoch ahead, never behind.
    """

    epochs: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0
    """Of training, over all workers that had the trial."""
    resumed: int = 0
    """How often another worker took it over."""
    died_at: int = 0
    """The last epoch that was reported before a worker died."""
    deaths: int = 0
    """Workers that died in a row after that epoch."""

    @classmethod
    def of(cls, trial: FrozenTrial) -> TrialHistory:
        """The stored history of a trial, empty when nothing was reported. Raises TypeError if it is none."""
        note = dict(trial.user_attrs.get(HISTORY, {}))
        note.pop("checksum", None)
        epochs = tuple((int(epoch), float(score)) for epoch, score in note.pop("epochs", ()))
        return cls(epochs=epochs, **note)

    @property
    def last_epoch(self) -> int:
        """The last epoch that was reported; 0 for none."""
        return max((epoch for epoch, _ in self.epochs), default=0)

    def with_epoch(self, epoch: int, score: float, seconds: float) -> TrialHistory:
        """The history after one more epoch; an epoch that is there already is replaced."""
        others = tuple(known for known in self.epochs if known[0] != epoch)
        return replace(self, epochs=tuple(sorted((*others, (epoch, score)))), seconds=round(seconds, 3))

    def after_a_death(self) -> TrialHistory:
        """The history of a trial that another worker takes over."""
        again = self.died_at == self.last_epoch
        deaths = self.deaths + 1 if again else 1
        return replace(self, resumed=self.resumed + 1, died_at=self.last_epoch, deaths=deaths)

    def note(self) -> dict[str, Any]:
        """The history as plain values."""
        return asdict(self)

    def is_that_of(self, trial: FrozenTrial) -> bool:
        """Whether Optuna's scores of a trial are these, or these without the last epoch."""
        stored, ours = json.dumps(sorted(trial.intermediate_values.items())), list(self.epochs)
        return stored in (json.dumps(ours), json.dumps(ours[:-1]))
