"""Everything `run` would refuse, found before a device is touched, and what a run will cost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.claims_check import (
    ClaimOutlook,
    KnownVariances,
    claim_outlooks,
    claims_problems,
    looks_of,
)
from harness.cli.data_checks import captions_cut, data_problems, size_problems
from harness.cli.memory_check import estimated_memory
from harness.cli.time_check import TimeEstimate
from harness.launch.cells import LaunchOptions
from harness.launch.context import Context
from harness.launch.disk import GIGABYTE, Loader, finished_bytes, run_bytes
from harness.launch.launchers import open_launcher
from harness.launch.units import LauncherError
from harness.machine.errors import HarnessError, StoreError
from harness.machine.files import nearest_folder, why_not_writable
from harness.machine.words import plural
from harness.registry import UnknownNameError
from harness.store.runs import RunStore
from harness.study.arms import Tuned
from harness.study.cell import Cell
from harness.study.study import Study

if TYPE_CHECKING:
    from reports.comparison import ComparisonGroup


LONGEST_NAME = 240
"""Bytes of a folder's name: 255 on most file systems, less what temporary names add."""


@dataclass(frozen=True)
class Detectable:
    """The true difference in points of R1 that a study's seeds and test set show in four studies of five.

    `corrected` counts `comparisons` with one method; both sizes are None with a single seed.
    `variances` says where they come from.
    """

    points: float | None
    corrected: float | None
    comparisons: int
    variances: str


@dataclass
class CheckResult:
    """What was found: `problems` stop a run, `notes` do not."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    detectable: dict[str, Detectable] = field(default_factory=dict)
    """By test set."""
    claims: list[ClaimOutlook] = field(default_factory=list)
    memory: dict[str, float] = field(default_factory=dict)
    """By method that trains: estimated peak memory of a step on a GPU, in GB, less the dataset's images."""
    time: TimeEstimate | None = None
    disk: dict[str, int] = field(default_factory=dict)
    """Bytes: `finished` of all cells, `needed` for those that are left."""
    states: dict[str, str] = field(default_factory=dict)
    """By a cell's key: how it stands in the store, when there is one."""

    def plain(self, study: Study) -> dict[str, Any]:
        """The JSON object of `check --json`."""
        return {
            "study": study.name,
            "preset": study.preset,
            "recipe": study.recipe,
            "ok": not self.problems,
            "problems": self.problems,
            "notes": self.notes,
            "train_keys": study.reach(),
            "cost": self.cost,
            "disk": self.disk,
            "memory_gb": self.memory,
            "time": None if self.time is None else self.time.plain(),
            "detectable_difference": {name: asdict(size) for name, size in self.detectable.items()},
            "looks": looks_of(study),
            "claims": [asdict(claim) for claim in self.claims],
            "cells": [
                {
                    "method": cell.method,
                    "dataset": cell.dataset,
                    "seed": cell.seed,
                    "status": self.states.get(cell.key, "queued"),
                    "targets": list(cell.targets),
                    "settings": cell.all_settings(),
                }
                for cell in self.cells
            ],
        }


def examine(study: Study, context: Context, options: LaunchOptions, out: Path) -> CheckResult:
    """Look at data, weights, device, launcher, output folder and earlier results; nothing is written."""
    winners = _known_winners(study, out)
    result = CheckResult(cells=study.cells(winners))
    result.problems += data_problems(study, context, result.notes)
    result.problems += _weights_problems(study)
    result.problems += _device_problems(result.cells, context, options)
    if options.launcher != "local" and options.resources.gpus_per_unit == 0:
        result.notes.append(
            f"--launcher {options.launcher}: no GPU is asked for, since this machine has none: cells run on "
            "CPUs. --gpus-per-cell 1 asks for one each"
        )
    result.problems += _folder_problems(out)
    result.problems += _name_problems(result.cells)
    result.problems += claims_problems(study)
    result.notes += study.notes
    if not result.problems:
        result.notes += captions_cut(result.cells, context)
        result.problems += size_problems(result.cells, context)
        result.problems += _search_problems(study, context, out)
        result.cost = {**expected_cost(result.cells, context), **_search_cost(study)}
        known = known_variances(study, context, out, result.notes)
        result.detectable = detectable_differences(study, known)
        result.claims = claim_outlooks(study, known)
        result.states = _states(_with_known_settings(result.cells, study, winners), context, out)
        result.problems += _disk_problems(result, partial(context.dataset, subset=study.file.subset), out)
        result.memory = estimated_memory(result.cells, result.notes)
    return result


def _weights_problems(study: Study) -> Iterator[str]:
    """Weights that are not on this machine or do not fit, once each, with the line that asks for them."""
    asked = {
        (plan.train.backbone, plan.train.pretrained, plan.train.image_size): plan.label
        for plan in reversed(study.plans)
    }
    for (backbone, pretrained, image_size), label in asked.items():
        if pretrained != "none" and (problem := _weights_problem(backbone, pretrained, image_size)):
            yield f"{study.where(label, 'pretrained')}: {problem}"


def _weights_problem(backbone: str, pretrained: str, image_size: tuple[int, int]) -> str:
    from methods.pretrained import WeightsNotFoundError, find_weights

    try:
        file = find_weights(backbone, pretrained)
    except WeightsNotFoundError as error:
        return str(error)
    if not Path(pretrained).expanduser().is_file() or Path(pretrained).expanduser() != file:
        return ""  # known by name, and known to fit
    from methods.clip import weights_problem

    return weights_problem(backbone, pretrained, image_size)


def _device_problems(cells: list[Cell], context: Context, options: LaunchOptions) -> Iterator[str]:
    remote = options.launcher != "local" and options.gpus_per_cell  # the device is another machine's
    if not remote and not _surely_on_cpu(cells, context, options):
        try:
            context.fabric(cells[0])
        except (ValueError, RuntimeError) as error:
            yield f"--device: {error}"
    if options.launcher != "local":
        try:
            open_launcher(options.launcher, options.resources).shutdown()
        except LauncherError as error:
            yield str(error)
    if (options.workers or 1) > 1 and context.machine.devices > 1:
        yield "--devices trains each cell on several devices; --workers trains several cells: choose one"


def _surely_on_cpu(cells: list[Cell], context: Context, options: LaunchOptions) -> bool:
    """Whether the device cannot be amiss, nor needs a warning: then Fabric need not be imported."""
    machine = context.machine
    on_cpu = machine.device == "cpu" or (machine.device == "auto" and not options.accelerators)
    return on_cpu and machine.devices == 1 and all(cell.train.precision != "released" for cell in cells)


def _folder_problems(out: Path) -> Iterator[str]:
    if reason := why_not_writable(out):
        yield f"--out {out}: {reason}"


def _name_problems(cells: list[Cell]) -> Iterator[str]:
    """A cell's folder is called by its dataset, method and seed; file systems allow 255 bytes."""
    for method, cell in {cell.method: cell for cell in cells}.items():
        length = len(os.fsencode(cell.directory_name("0" * 64)))
        if length > LONGEST_NAME:
            yield (
                f"methods: {method[:40]}…: the name of its folder would have {length} bytes of at most "
                f"{LONGEST_NAME}; choose a shorter name"
            )


def _search_problems(study: Study, context: Context, out: Path) -> list[str]:
    if study.search is None:
        return []
    from harness.search.study import search_problems

    return search_problems(study, context, out)


def _known_winners(study: Study, out: Path) -> Tuned:
    if study.search is None:
        return {}
    from harness.search.study import known_winners

    return known_winners(study, out)


def _with_known_settings(cells: list[Cell], study: Study, winners: Tuned) -> list[Cell]:
    """The cells but those of a tuned arm whose search has not ended: until then they cannot be found."""
    if study.search is None:
        return cells
    from harness.search.study import awaiting_search

    waiting = awaiting_search(study, winners)
    return [cell for cell in cells if (cell.dataset, cell.method) not in waiting]


def trials_left(study: Study, context: Context, out: Path) -> list[tuple[Cell, int]]:
    """Of each search of the study, its recipe's cell and how many of its trials are left in `out`."""
    if study.search is None:
        return []
    from harness.search.study import budgets_left

    return budgets_left(study, context, out)


def _disk_problems(result: CheckResult, load: Loader, out: Path) -> Iterator[str]:
    """Whether the output folder's disk holds what is left to train; the sums go into `found.disk`."""
    left = [cell for cell in result.cells if result.states.get(cell.key) != "done"]
    try:
        result.disk = {"finished": finished_bytes(result.cells, load), "needed": run_bytes(left, load)}
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
        # A plugin's method that cannot be built without memory: its size shows when it is trained.
        result.notes.append(f"disk: how much a run takes is not known ({type(error).__name__}: {error})")
        return
    folder = nearest_folder(out)
    free = shutil.disk_usage(folder).free
    if result.disk["needed"] > free:
        yield (
            f"--out {out}: the runs that are left need {result.disk['needed'] / GIGABYTE:.1f} GB, and "
            f"{folder} has {free / GIGABYTE:.1f} free; choose another folder, keep less (`keep:`), or `free` "
            "what finished runs need no more"
        )


def expected_cost(cells: list[Cell], context: Context) -> dict[str, Any]:
    """How many cells there are, and the epochs and image–caption pairs they train on in all."""
    pairs = epochs = 0
    for cell in cells:
        if cell.trains:
            captions = len(context.dataset(cell.dataset, cell.subset).splits["train"].captions)
            epochs += cell.train.epochs
            pairs += cell.train.epochs * captions
    return {"cells": len(cells), "epochs": epochs, "training_pairs": pairs}


def _search_cost(study: Study) -> dict[str, int]:
    """The trials that precede the cells, and the epochs they train when none is pruned."""
    if study.search is None:
        return {}
    datasets = len(study.search.datasets or study.datasets)
    epochs = [study.search.epochs or plan.train.epochs for plan in study.plans if plan.entry.trains]
    trials = study.search.trials * study.search.repeats * datasets
    return {"trials": trials * len(epochs), "trial_epochs_at_most": trials * sum(epochs)}


def known_variances(study: Study, context: Context, out: Path, notes: list[str]) -> dict[str, KnownVariances]:
    """By dataset of the study: what its runs are expected to vary by.

    From variances that finished cells in `out` measured, or else from `reports.power.Assumptions`. `notes`
    gets why cells that are there cannot be read.
    """
    from reports.power import Assumptions, Design, measured

    trained = max(2, len({cell.method for cell in study.cells() if cell.trains}))
    earlier, known = _earlier_groups(study, context, out, notes), {}
    for name in study.datasets:
        test = context.dataset(name, study.file.subset).splits["test"].counts()
        design = Design(test["captions"], test["person_ids"], len(study.seeds), trained)
        if not design.people or not design.queries:
            continue
        group = earlier.get(name)
        if group is not None and design.seeds > 1 and measured(group):
            cells = sum(len(each.cells) for each in group.methods.values())
            known[name] = KnownVariances(
                design, f"measured on {plural(cells, 'finished run')} in {out}", group
            )
        else:
            known[name] = KnownVariances(design, f"assumed: {Assumptions().sentence}")
    return known


def detectable_differences(study: Study, known: Mapping[str, KnownVariances]) -> dict[str, Detectable]:
    """By dataset of the study: which difference in R1 its test split and the study's seeds could show."""
    from reports.looks import planned_level
    from reports.power import detectable, plan

    level = planned_level(len(study.looks))
    methods, differences = len({cell.method for cell in study.cells()}), {}
    # The comparisons with the reference on all datasets are one family.
    comparisons = max(1, (methods - 1) * len(study.datasets))
    for name, one in known.items():
        alone, together = (
            plan(one.design, count, alpha=level)
            if one.group is None
            else detectable(one.group, one.design.seeds, one.design.people, count, one.design.methods)
            for count in (1, comparisons)
        )
        differences[name] = Detectable(alone, together, comparisons, one.variances)
    return differences


def _earlier_groups(
    study: Study, context: Context, out: Path, notes: list[str]
) -> dict[str, ComparisonGroup]:
    """The comparison on each dataset of the study that finished cells in `out` allow.

    Of cells that the study asks for but for the seed: the same people, and the same settings.
    """
    from reports.comparison import ComparisonOptions, comparison_groups
    from reports.looks import planned_level
    from reports.stored_runs import read

    try:
        stored_runs = read([out])
        asked = [_but_for_the_seed(context.parts(cell)) for cell in study.cells()]
        same = tuple(cell for cell in stored_runs.cells if _but_for_the_seed(cell.parts) in asked)
        # The variances need no resampling.
        options = ComparisonOptions(resamples=1, level=planned_level(len(study.looks)))
        groups = comparison_groups(replace(stored_runs, cells=same), options, transfer=False)
    except FileNotFoundError:  # nothing ran there yet
        return {}
    except (OSError, ValueError, HarnessError) as error:
        notes.append(f"--out {out}: finished cells cannot be read, so variances are assumed: {error}")
        return {}
    return {one.evaluation.source: one for one in groups}


def _but_for_the_seed(parts: Mapping[str, Any]) -> str:
    """What cells have in common whose scores differ by their seeds alone: of the code it does not ask."""
    named = {name: parts.get(name) for name in ("method", "dataset", "settings")}
    protocol = parts.get("protocol", {})
    return json.dumps([named, protocol.get("preset"), protocol.get("recipe", "shared")], sort_keys=True)


def _states(cells: list[Cell], context: Context, out: Path) -> dict[str, str]:
    store, states = RunStore(out), dict[str, str]()
    for cell in cells:
        try:
            path = store.path_of(cell, context.identity(cell))
            states[cell.key] = store.cell(path.name).status.state
        except (StoreError, UnknownNameError):
            continue
    return states
