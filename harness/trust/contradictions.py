"""What a finished cell says that no training and no ranking gives: cheap checks, without running anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.machine.errors import StoreError
from harness.store.cell_run import CellRun
from harness.store.cell_status import HISTORY

if TYPE_CHECKING:
    import pandas as pd

LOSS_SWITCHES = ("sdm", "identity", "cmt", "tir", "mlm", "itc", "cmpm")
"""Settings of UIT and its variants that switch the loss of the same name on: see `methods.uit`."""
_ROUNDING = 1e-9


def other_losses(run: CellRun) -> Iterator[str]:
    """Losses in a cell's history that its settings switch off, and those that they switch on and it lacks.

    Only methods whose settings have these switches are looked at; a plugin may name its losses freely.
    """
    try:
        settings = run.cell.method_settings
        if run.recorded.get("plugins"):
            return
    except StoreError:
        return
    if not all(isinstance(settings.get(name), bool) for name in LOSS_SWITCHES):
        return
    on = {name for name in LOSS_SWITCHES if settings[name]}
    for line in run.history:
        losses = line.get("losses")
        if not isinstance(losses, Mapping) or not losses:
            continue
        logged = set(losses) & set(LOSS_SWITCHES)
        if logged != on:
            said = [f"has {name}, which its settings switch off" for name in sorted(logged - on)]
            said += [f"lacks {name}, which its settings switch on" for name in sorted(on - logged)]
            yield f"{HISTORY}: epoch {line.get('epoch')} {' and '.join(said)}"
            return


def impossible_records(frame: pd.DataFrame, row: Mapping[str, Any], where: str) -> Iterator[str]:
    """The records `[queries]` of an evaluation that no ranking gives; the first, and how many there are.

    With the first of P positives at rank r, AP is at least 1 / (r P); it is at most 1 where r is 1, and at
    most P / (P + 1) elsewhere. A rank is a whole number from 1 to the size of the gallery.
    """
    valid = frame[frame["positives"] > 0]
    rank, ap, inp = (valid[name].to_numpy(dtype=float, na_value=np.nan) for name in ("rank", "ap", "inp"))
    positives = valid["positives"].to_numpy(dtype=float)
    gallery = row.get("gallery")
    most = float(gallery) if isinstance(gallery, int) and gallery > 0 else np.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        least_ap = 1 / (rank * positives)
        most_ap = np.where(rank == 1, 1.0, positives / (positives + 1))
    is_rank = (rank >= 1) & (rank <= most) & (rank == np.floor(rank))
    possible = is_rank & (ap >= least_ap - _ROUNDING) & (ap <= most_ap + _ROUNDING)
    possible &= (inp > 0) & (inp <= 1 + _ROUNDING)
    if not possible.all():
        first = int(np.flatnonzero(~possible)[0])
        count = int((~possible).sum())
        many = f" ({count:,} of {len(valid):,} queries)" if count > 1 else ""
        yield (
            f"{where}: query {valid['query'].iloc[first]}: no ranking gives rank {rank[first]:g}, "
            f"AP {ap[first]:.4g} and INP {inp[first]:.4g} with {positives[first]:g} positives{many}"
        )
