"""Hugging Face Hub: a model card for each method and dataset, with its scores as `.eval_results`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from harness.exchange.page_export import PageExport
from harness.machine.files import atomic_write
from harness.machine.terms import METRICS
from reports.formatting import listed, number, plural
from reports.outcomes import SCOPES, MethodOutcome, TargetOutcome, outcomes

RESULTS = ".eval_results"
TASK = "text-to-image-person-retrieval"


def write(export: PageExport) -> None:
    """Write a folder for each method and training dataset: `README.md`, and YAML for each test split."""
    for outcome in outcomes(export.context):
        home = export.folder / outcome.name
        atomic_write(home / "README.md", card(outcome))
        for of in outcome.targets:
            entries = yaml.safe_dump(
                eval_results(outcome, of), sort_keys=False, allow_unicode=True, width=1000
            )
            atomic_write(home / RESULTS / f"{of.target}.yaml", entries)


def eval_results(outcome: MethodOutcome, of: TargetOutcome) -> list[dict[str, Any]]:
    """An entry for each metric of a test split, as the Hub reads them from `.eval_results`."""
    return [
        {
            "dataset": {"id": of.target, "task_id": metric},
            "value": mean,
            "notes": f"{TASK}, {metric} in percent, {_over(of, metric)}; {_verdicts(of, metric)}"
            f"epoch chosen: {outcome.selection}" + "".join(f"; {note}" for note in of.data_notes),
        }
        for metric, mean in of.means.items()
    ]


def _over(of: TargetOutcome, metric: str) -> str:
    seeds = list(of.by_seed[metric])
    width = of.deviations.get(metric)
    spread = "" if width is None else f", standard deviation {number(width, 2)}"
    return f"mean over {plural(len(seeds), 'seed')} ({listed([str(seed) for seed in seeds])}){spread}"


def _verdicts(of: TargetOutcome, metric: str) -> str:
    judged = {key for key, _ in of.comparisons}
    if metric not in judged:
        return ""
    return "".join(f"{words}: {of.in_words(metric, scope)}; " for scope, words in SCOPES.items())


def card(outcome: MethodOutcome) -> str:
    """The model card: metadata with every score as `model-index`, then tables for a reader."""
    metadata = {
        "tags": ["person-retrieval", TASK],
        "model-index": [{"name": outcome.name, "results": [_indexed(of) for of in outcome.targets]}],
    }
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{head}---\n" + "\n".join([*_intro(outcome), *_tables(outcome)])


def _indexed(of: TargetOutcome) -> dict[str, Any]:
    return {
        "task": {"type": TASK},
        "dataset": {"name": of.target, "type": of.target, "split": "test"},
        "metrics": [{"type": metric, "name": metric, "value": mean} for metric, mean in of.means.items()],
    }


def _intro(outcome: MethodOutcome) -> Iterator[str]:
    trained = "not known, trained by other code" if outcome.elsewhere else outcome.dataset
    yield from (
        f"# {outcome.method} on {outcome.dataset}",
        "",
        "Finds images of a person from a sentence. Scores are means over runs that differ by their seed; "
        "those of each stand beside them.",
        "",
        f"* Trained on: {trained}",
        f"* Protocol: {outcome.preset}",
        f"* The epoch was chosen: {outcome.selection}",
    )
    yield from (f"* Seed {cell.seed}: cell `{cell.directory}`" for cell in outcome.cells)


def _tables(outcome: MethodOutcome) -> Iterator[str]:
    for of in outcome.targets:
        yield from ("", f"## {of.group.evaluation.title}", "", "| metric | mean | by seed |", "|---|---|---|")
        for metric in METRICS:
            if metric in of.means:
                each = ", ".join(number(score, 2) for score in of.by_seed[metric].values())
                yield f"| {metric} | {number(of.means[metric])} | {each} |"
        yield ""
        for scope, words in SCOPES.items():
            yield f"* R1, {words}: {of.in_words('R1', scope)}."
        yield from (f"* {note}" for note in of.data_notes)
    yield ""
