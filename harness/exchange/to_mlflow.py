"""MLflow: a run for each method and dataset, with mean, interval and verdict, and a child for each seed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Any

from harness.exchange.page_export import PageExport
from reports.cell_views import CellView
from reports.outcomes import MethodOutcome, TargetOutcome, outcomes
from reports.statistics import Scope

ALLOWED = "MLFLOW_ALLOW_FILE_STORE"
"""Recent versions of MLflow open a store of plain files only where this variable is `true`."""
ENDINGS: Mapping[Scope, str] = {"people": "", "benchmark": "_benchmark"}
"""What the names of a comparison's metrics and tags end in, by what it is about."""


def write(export: PageExport) -> None:
    """Write a file store: an experiment for each study, with everything that the page says of its methods.

    `R1` is the mean over seeds, `R1_sd` its standard deviation; `R1_difference`, `R1_low` and `R1_high` are
    the difference to the reference with its interval for new people, `R1_p` its corrected p; those on this
    benchmark end in `_benchmark`. Scores on another dataset begin with its name and a slash. Verdicts are
    tags: `R1_verdict`.
    """
    with _allowed():
        from mlflow import MlflowClient

        client = MlflowClient(export.folder.absolute().as_uri())
        name = " + ".join(dict.fromkeys(run.name for run in export.context.stored_runs.runs))
        artifacts = (export.place.absolute() / "artifacts").as_uri()
        experiment = client.create_experiment(name, artifact_location=artifacts)
        for outcome in outcomes(export.context):
            _write_outcome(client, experiment, outcome)


@contextmanager
def _allowed() -> Iterator[None]:
    before = os.environ.get(ALLOWED)
    os.environ[ALLOWED] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[ALLOWED]
        else:
            os.environ[ALLOWED] = before


def _write_outcome(client: Any, experiment: str, outcome: MethodOutcome) -> None:
    common = {"method": outcome.method, "dataset": outcome.dataset, "preset": outcome.preset}
    common |= {"population": outcome.population} if outcome.population else {}
    tags = {"epoch_chosen": outcome.selection, **_verdicts(outcome)}
    metrics: dict[str, float] = {}
    for of in outcome.targets:
        metrics |= {f"{_prefix(outcome, of)}{name}": value for name, value in _numbers(of).items()}
    seeds = {**common, "seeds": len(outcome.cells), "reference": outcome.targets[0].group.reference}
    parent = _run(client, experiment, outcome.name, seeds, tags, metrics)
    for cell in outcome.cells:
        scores = {
            f"{_prefix(outcome, of)}{metric}": by_seed[cell.seed]
            for of in outcome.targets
            for metric, by_seed in of.by_seed.items()
            if cell.seed in by_seed
        }
        tags = {"mlflow.parentRunId": parent, "cell": cell.directory, "identity": cell.identity}
        parameters = {**_settings(cell), **common, "seed": cell.seed}
        _run(client, experiment, f"{outcome.name} seed {cell.seed}", parameters, tags, scores)


def _prefix(outcome: MethodOutcome, of: TargetOutcome) -> str:
    return "" if of.target == outcome.dataset else f"{of.target}/"


def _numbers(of: TargetOutcome) -> dict[str, float]:
    """Means, deviations, and differences to the reference, by the name of a metric."""
    found = {**of.means, **{f"{metric}_sd": width for metric, width in of.deviations.items()}}
    for (metric, scope), item in of.comparisons.items():
        values = {"difference": item.value, "low": item.low, "high": item.high, "p": item.p_holm}
        found |= {
            f"{metric}_{name}{ENDINGS[scope]}": value for name, value in values.items() if isfinite(value)
        }
    return found


def _verdicts(outcome: MethodOutcome) -> dict[str, str]:
    tags: dict[str, str] = {}
    for of in outcome.targets:
        for (metric, scope), item in of.comparisons.items():
            tags[f"{_prefix(outcome, of)}{metric}_verdict{ENDINGS[scope]}"] = item.verdict
        if of.method == of.group.reference:
            tags[f"{_prefix(outcome, of)}R1_verdict"] = "the reference"
        if of.data_notes:
            tags[f"{_prefix(outcome, of)}data_notes"] = " ".join(of.data_notes)
    return tags


def _settings(cell: CellView) -> dict[str, Any]:
    """What can change a number, by its flat name; of an imported cell nothing is known."""
    return {} if cell.imported else dict(cell.settings)


def _run(
    client: Any,
    experiment: str,
    name: str,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
) -> str:
    from mlflow.entities import Metric, Param, RunTag

    run = client.create_run(experiment, run_name=name)
    identity: str = run.info.run_id
    at = int(run.info.start_time)
    client.log_batch(
        identity,
        metrics=[Metric(key, value, at, 0) for key, value in metrics.items()],
        params=[Param(key, str(value)) for key, value in parameters.items()],
        tags=[RunTag(key, str(value)) for key, value in tags.items()],
    )
    client.set_terminated(identity)
    return identity
