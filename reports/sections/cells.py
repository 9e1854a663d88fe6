"""Every run behind the numbers: its state, settings, identity, and the command that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from harness.store.stored_cell import options_again
from reports.cell_views import ALTERED, CellView, Evaluation
from reports.context import ReportContext, runs_anchor, state
from reports.document import Block, Column, Prose, Section, Table, TableCell, TemplateBlock
from reports.formatting import listed, naming_cells, number, plural

ALARMING = ("failed", ALTERED)
"""What a reader should look into before anything else."""


def section(context: ReportContext) -> Section:
    """The runs, grouped by dataset and method; each is an anchor that numbers point to."""
    blocks: list[Block] = []
    failures = _failures(context)
    if failures is not None:
        blocks.append(failures)
    common = _common(context)
    blocks.append(
        Prose(
            "Settings that are the same in every run that has them are listed once; each run lists the "
            "others. A run that does not train has no settings of training."
        )
    )
    blocks.append(TemplateBlock("settings.html", {"title": "Settings of every run", "settings": common}))
    blocks.append(TemplateBlock("runs.html", {"groups": _groups(context, common)}))
    return Section("runs", "Every run", tuple(blocks))


def _failures(context: ReportContext) -> Table | None:
    """Runs without a result and why."""
    cells = [cell for cell in context.stored_runs.cells if cell.status != "done"]
    if not cells:
        return None
    columns = (
        *(Column(name, "left") for name in ("Method", "Trained on")),
        Column("Seed"),
        Column("State", "left"),
        Column("Detail", "text"),
    )
    rows = tuple(
        (
            *naming_cells(cell),
            TableCell(state(cell), state(cell), kind="alert" if cell.status in ALARMING else "quiet"),
            TableCell(cell.detail, cell.detail),
        )
        for cell in cells
    )
    return Table("unfinished", f"{plural(len(cells), 'run')} without a result", columns, rows)


def _common(context: ReportContext) -> dict[str, str]:
    """Settings with one value in all described cells that have them."""
    values: dict[str, set[str]] = {}
    for cell in context.stored_runs.cells:
        for name, value in cell.settings.items():
            values.setdefault(name, set()).add(shown(value))
    return {name: next(iter(texts)) for name, texts in sorted(values.items()) if len(texts) == 1}


def _groups(context: ReportContext, common: Mapping[str, str]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str, str], list[CellView]] = {}
    order = context.stored_runs
    ranked = sorted(
        order.cells, key=lambda cell: (order.datasets.index(cell.dataset), order.methods.index(cell.method))
    )
    for cell in ranked:
        groups.setdefault((cell.preset, cell.dataset, cell.population, cell.method), []).append(cell)
    return [
        {
            "anchor": runs_anchor(preset, dataset, method, population),
            "title": f"{method} on {' '.join(filter(None, (dataset, population)))}",
            "preset": preset,
            "differs": _differs(cells[0], groups.get((preset, dataset, population, order.reference), ())),
            "runs": [_run(cell, common) for cell in sorted(cells, key=lambda cell: cell.seed)],
        }
        for (preset, dataset, population, method), cells in groups.items()
    ]


def _differs(cell: CellView, reference: Sequence[CellView]) -> str:
    """In which settings a method differs from the reference, in a sentence; empty where in none."""
    if not reference or reference[0].method == cell.method or not (cell.settings and reference[0].settings):
        return ""
    own, other = (
        {name: shown(value) for name, value in one.settings.items()} for one in (cell, reference[0])
    )
    if not cell.trains:
        return f"Is not trained, unlike {reference[0].method}."
    parts = [
        f"{name} {value} ({other[name]})"
        for name, value in sorted(own.items())
        if name in other and other[name] != value
    ]
    parts += [f"{name} {own[name]} (none)" for name in sorted(own.keys() - other.keys())]
    parts += [f"no {name} ({other[name]})" for name in sorted(other.keys() - own.keys())]
    return (
        f"Unlike {reference[0].method}, whose settings stand in brackets: {listed(parts)}." if parts else ""
    )


def _run(cell: CellView, common: Mapping[str, str]) -> dict[str, Any]:
    evaluation = Evaluation(cell.preset, cell.dataset, cell.dataset, "t2i", cell.population)
    row = cell.row(evaluation, "val")
    own = {name: shown(value) for name, value in sorted(cell.settings.items()) if name not in common}
    facts = {
        "Identity": cell.identity or "none yet",
        "Folder": f"{cell.run.path.name}/cells/{cell.directory}",
        "Commit": str(cell.recorded.get("commit") or "not recorded"),
        "Ran as": str(cell.recorded.get("command") or "not recorded"),
        "Again": again(cell),
        **{name.replace("_", " ").capitalize(): shown(value) for name, value in _recorded(cell).items()},
    }
    return {
        "anchor": cell.anchor,
        "seed": cell.seed,
        "state": state(cell),
        "failed": cell.status in ALARMING,
        "detail": cell.detail,
        "scores": ", ".join(f"{name} {number(float(row[name]), 2)}" for name in ("R1", "mAP")) if row else "",
        "epoch": row.get("epoch") if row else None,
        "facts": facts,
        "settings": own,
        "notes": list(cell.notes),
    }


def _recorded(cell: CellView) -> dict[str, Any]:
    return {
        name: value
        for name, value in sorted(cell.recorded.items())
        if name not in ("command", "commit") and isinstance(value, (str, int, float, bool)) and value != ""
    }


def again(cell: CellView) -> str:
    """The exact command that trains this one cell again, from the resolved study in its run folder."""
    if cell.imported:
        return "not possible here: it was trained elsewhere"
    words = ["python", "-m", "harness", "run", str(cell.run.path / "study.yaml")]
    words += ["--methods", cell.label, "--datasets", cell.dataset, "--set", f"seeds=[{cell.seed}]"]
    words += options_again(cell.run.path, [cell.recorded])
    return shlex.join([*words, "--out", str(cell.run.path) + "-again"])


def shown(value: Any) -> str:
    """A setting as a study file would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value)
    return str(value)
