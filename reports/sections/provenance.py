"""Where the numbers come from: the studies as resolved, the machine, and how to read the verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from harness.machine.errors import StoreError
from harness.store.results_table import results_sha256
from harness.store.run_files import CERTIFICATE
from harness.store.runs import TRAIN_KEYS, RunStore
from reports.context import ReportContext
from reports.document import Block, Prose, Section, TemplateBlock
from reports.formatting import duration, listed, plural
from reports.sections.cells import shown

NAMED = 20
"""Differences of a certificate that the page names."""

WITHOUT_CHECKSUMS = (
    "left no checksums, since an older version finished them: whether their records are as they were written "
    "cannot be seen, and verify evaluates their models again to tell."
)


def section(context: ReportContext) -> Section:
    """Studies and environments, one after the other."""
    blocks: list[Block] = []
    for run in context.stored_runs.runs:
        blocks += certificate(run.path)
        unchecked = sum(cell.run is run and cell.without_checksums for cell in context.stored_runs.cells)
        if unchecked:
            blocks.append(
                Prose(f"{plural(unchecked, 'finished run')} of {run.path.name} {WITHOUT_CHECKSUMS}")
            )
        facts = {name: shown(value) for name, value in sorted(_flat(run.environment).items())}
        blocks.append(
            TemplateBlock("settings.html", {"title": f"Environment of {run.path.name}", "settings": facts})
        )
        blocks += _train_keys(run.path, run.name)
        text = yaml.safe_dump(dict(run.study), sort_keys=False, allow_unicode=True, width=100)
        blocks.append(
            TemplateBlock("listing.html", {"title": f"Study {run.name}, as resolved", "text": text})
        )
    return Section("provenance", "Settings and environment", tuple(blocks))


def _train_keys(directory: Path, study: str) -> list[Block]:
    """Which methods each key of the study's `train:` reached; nothing where that was not kept."""
    try:
        kept = json.loads((directory / TRAIN_KEYS).read_text("utf-8"))
        reach = {
            str(name): ", ".join(map(str, labels)) or "no method" for name, labels in kept["reach"].items()
        }
        notes = [str(note) for note in kept["notes"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    title = f"What each key of train: reaches in {study}"
    table = [TemplateBlock("settings.html", {"title": title, "settings": reach})] if reach else []
    return [*table, *(Prose(f"Note: {note}.") for note in notes)]


def facts(context: ReportContext) -> list[str]:
    """Machine, commit and duration of the runs, for the line below the title; each once."""
    runs = context.stored_runs.runs
    machines = dict.fromkeys(_machine(run.environment) for run in runs)
    commits = dict.fromkeys(
        str(cell.recorded["commit"])[:10] for cell in context.stored_runs.cells if cell.recorded.get("commit")
    )
    trained = [cell.seconds for cell in context.stored_runs.cells if cell.seconds]
    seconds = sum(trained)
    # Cells that ran at once took less time than their sum.
    over = f", summed over {len(trained):,} cells" if len(trained) > 1 else ""
    return [
        *filter(None, machines),
        *([f"commit {listed(list(commits)[:3])}"] if commits else []),
        *([f"{duration(seconds)} of training{over}"] if seconds else []),
    ]


def _machine(environment: Mapping[str, Any]) -> str:
    accelerators = environment.get("accelerators") or []
    if isinstance(accelerators, list) and accelerators and environment.get("device") != "cpu":
        return ", ".join(map(str, dict.fromkeys(accelerators)))
    known = (environment.get(name) for name in ("processor", "machine", "host"))
    processor = next((str(name) for name in known if name), "")
    cores = environment.get("cores")
    return processor + (f", {plural(cores, 'core')}" if processor and isinstance(cores, int) else "")


def certificate(directory: Path) -> list[Block]:
    """What the last `verify` of a run found; says so when there was none, or results changed since."""
    try:
        verified = json.loads((directory / CERTIFICATE).read_text("utf-8"))
        cells, differences = verified["cells"], [str(text) for text in verified["differences"]]
        exact = sum(bool(cell["bit_for_bit"]) for cell in cells)
        how = f" ({exact} of {len(cells)} compared bit for bit)" if cells else ""
        text = (
            f"Verified {verified['when'][:10]}: {verified['coverage']}{how}; the stored records of all "
            f"{plural(verified['finished'], 'finished cell')} checked: "
            f"{'something differs' if differences else 'no difference was found'}."
        )
        stale = verified["results_sha256"] != results_sha256(RunStore(directory))
    except FileNotFoundError:
        return [Prose(f"{directory.name} has not been verified: no cell of it was run again by verify.")]
    except (OSError, ValueError, KeyError, TypeError, StoreError):
        return [Prose(f"The certificate of {directory.name} is damaged; verify writes a new one.")]
    if stale:
        text += " Results were added or changed since."
    return [Prose(text), *(Prose(f"Differs: {difference}") for difference in differences[:NAMED])]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names; what another run recorded is left to that run."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value not in ("", None, [], {}):
            flat[f"{prefix}{name}"] = value
    return flat


def method_section(context: ReportContext) -> Section:
    """How verdicts are reached, for a reader who has only this page."""
    options = context.options
    return Section(
        "method",
        "How to read this",
        (
            Prose(
                "A caption counts as found when the first image in the ranking shows the right person: R1, "
                "also called Rank-1; "
                "mAP is the mean average precision."
            ),
            Prose(
                "Intervals are 95 %, those of claims 90 %, for new people and new runs. Methods and seeds "
                "form a block, with the test people crossed with it: what a seed does to all methods alike "
                "cancels in a difference, and degrees of freedom are Satterthwaite’s, because few seeds say "
                "little about their own spread. How much seeds differ is estimated from all methods "
                "together: when one is trained again or added, the intervals of the others move, too. "
                "p-values are the larger of that t-test and of a permutation test that swaps two "
                f"methods person by person ({options.resamples:,} times); Holm’s correction covers all "
                "comparisons of a table."
            ),
            Prose(
                "Verdicts: better or worse, significant after Holm’s correction; tied, two one-sided tests "
                f"exclude a difference of more than ±{options.margin:g} points, with Holm’s correction; "
                "cannot tell, neither. A single seed allows no verdict, and fewer than 3 are marked beside "
                "the number."
            ),
        ),
    )


def broken_images(context: ReportContext) -> str:
    """A sentence on images that were left out, or nothing."""
    parts = [
        f"{plural(group.skipped, 'broken image')} of {group.evaluation.target}"
        for group in context.groups
        if group.skipped
    ]
    return f"Left out: {'; '.join(dict.fromkeys(parts))}." if parts else ""
