"""The showcase: studies that answer the paper's open questions, each with its page, tables and evidence.

Run: make showcase      (resumable; `python -m harness.exchange.showcase --only mining` for one study)

`reports/showcase/NAME/` holds what is kept of a study: its page, `results.csv`, `verdicts.csv`, and
`evidence.zip`, from which `python -m harness verify` recomputes every number. What the README files say of
the results is written here, from the evidence that is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.exchange.archives import unpack
from harness.exchange.bundling import bundled_runs
from harness.machine.generated_text import begin_mark, replace_generated
from harness.store.cell_run import CellRun, evaluation_key
from harness.store.pictures import RESTORATIONS
from harness.store.run_files import targets_of
from harness.store.runs import RunStore
from reports.assemble import ReportResult, build
from reports.comparison import DIRECTION, ComparisonGroup
from reports.context import ReportContext
from reports.formatting import interval, number, plural, signed
from reports.index_page import write_index
from reports.sections.first_screen import undecided
from reports.statistics import Comparison

ROOT = Path(__file__).resolve().parents[2]
STUDIES: Mapping[str, str] = {
    "ablation": "ablation.yaml",
    "fine-detail": "questions/fine-detail.yaml",
    "tir-or-mlm": "questions/tir-or-mlm.yaml",
    "factorial": "factorial.yaml",
    "text-augmentation": "questions/text-augmentation.yaml",
    "field": "field.yaml",
    "mining": "questions/mining.yaml",
    "mask-ratio": "questions/mask-ratio.yaml",
    "caption-noise": "caption-noise.yaml",
    "transfer": "transfer.yaml",
    "tuned-ablation": "questions/tuned-ablation.yaml",
}
"""By the name of its folder, the study's file below `studies/`; in the order in which they run."""
PAGE, TABLES, EVIDENCE = "report.html", ("results.csv", "verdicts.csv"), "evidence.zip"
SELECTION = "val"
"""The models that are compared: those chosen on validation."""
LEFT_OUT_OF_EVIDENCE = ("pictures", "data")
"""Folders of a run: the page has the pictures, and the package the datasets' files."""
LINE, WIDTH = 120, 80
"""Letters of a line of the README files, and of the terminal that they quote."""
BEGIN = begin_mark("harness.exchange.showcase")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left of the studies, keep their evidence, write what was found into the README files."""
    parser = argparse.ArgumentParser(prog="python -m harness.exchange.showcase", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES), help="these alone")
    parser.add_argument("--runs", type=Path, default=Path("runs/showcase"), help="folder of the run folders")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "showcase", help="what is kept")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="takes the headlines")
    given = parser.parse_args(arguments)
    for name in given.only:
        run = given.runs / name
        others = [given.runs / other for other in STUDIES if other != name]
        shared = [word for other in others if (other / "cells").is_dir() for word in ("--reuse", str(other))]
        _harness("run", str(ROOT / "studies" / STUDIES[name]), "--out", str(run), *shared)
        keep(run, given.out / name)
    with tempfile.TemporaryDirectory() as aside:
        write(read_kept(given.out, Path(aside)), given.out, given.readme)


def keep(run: Path, folder: Path) -> None:
    """Copy what verdicts of a run rest on, and write its page, tables and evidence into `folder`."""
    place = Path("runs", "showcase", run.name)  # as the page names it, wherever the copy lies
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVIDENCE).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as aside:
        kept = Path(aside) / place
        copy_evidence(run, kept)
        _harness("report", str(place), folder=Path(aside))
        for name in (PAGE, *TABLES):
            shutil.copyfile(kept / name, folder / name)
        for name in LEFT_OUT_OF_EVIDENCE:
            shutil.rmtree(kept / name, ignore_errors=True)
        leave_out_pictures(RunStore(kept))
        _harness("bundle", str(place), "--out", str(folder.resolve() / EVIDENCE), folder=Path(aside))


def copy_evidence(run: Path, into: Path) -> None:
    """Copy a run without what no verdict of its study rests on, which would be most of it.

    Left out are the records and scores of images that search captions, those on targets that another study
    asked for when it trained a cell that was reused, those of other targets by models that are not compared
    there, and the similarities of the images found.
    """
    shutil.copytree(run, into, ignore=shutil.ignore_patterns("report", "report.html", "lock", "checkpoint"))
    study = RunStore(into).study()
    for cell in RunStore(into).all_cells():
        home = cell.cell.dataset
        asked = targets_of(study, home)
        rows = [
            row
            for row in cell.results
            if row["direction"] == DIRECTION
            and (asked is None or row["target"] in asked)
            and (row["target"] == home or row["selection"] == SELECTION)
        ]
        stay = {cell.records_path(*evaluation_key(row)) for row in rows}
        for path in {*cell.directory.glob("records/*.parquet")} - stay:
            path.unlink()
        cell.write_results(rows)
        _without_column(cell, rows, "top_score")


def leave_out_pictures(store: RunStore) -> None:
    """Drop restored pictures, and from the records the ten nearest images, which only pictures need."""
    for cell in store.all_cells():
        (cell.directory / RESTORATIONS).unlink(missing_ok=True)
        _without_column(cell, cell.results, "top")


def _without_column(cell: CellRun, rows: Sequence[Mapping[str, Any]], column: str) -> None:
    """Drop a column from the records of these results, and finish the cell with what is left."""
    for key in map(evaluation_key, rows):
        cell.save_records(*key, cell.records(*key).drop(columns=column))
    cell.finish(cell.kept_models)


def write(made: Mapping[str, ReportResult], out: Path, readme: Path) -> None:
    """Write the index of pages and the generated parts of both README files."""
    pages = [replace(result, path=out / name / PAGE) for name, result in made.items()]
    write_index(out / "index.html", pages)
    replace_generated(out / "README.md", BEGIN, findings(made))
    replace_generated(readme, BEGIN, headlines(made))


def read_kept(out: Path, aside: Path) -> dict[str, ReportResult]:
    """The report of every study that is kept below `out`, from its evidence alone, unpacked into `aside`."""
    made = {}
    for name in STUDIES:
        if (out / name / EVIDENCE).is_file():
            unpack(out / name / EVIDENCE, aside / name)
            (run,) = bundled_runs(aside / name)
            made[name] = build([run], aside / name / "again" / PAGE, width=WIDTH)
    return made


def findings(made: Mapping[str, ReportResult]) -> str:
    """What every study found, as Markdown: a line for each comparison of R1, for new people."""
    contexts = _contexts(made)
    first = _first_shown(contexts)
    return "\n\n".join(_finding(name, context, first) for name, context in contexts.items())


def headlines(made: Mapping[str, ReportResult]) -> str:
    """How many comparisons were decided, and what the terminal says of the first study, as Markdown.

    One of the same trainings, which several studies show, counts once.
    """
    contexts = _contexts(made)
    first = _first_shown(contexts)
    judged = [
        item
        for name, context in contexts.items()
        for group, item in _compared(context)
        if first[_trainings(context, group, item)] == name
    ]
    decided = sum(item.verdict != "cannot tell" for item in judged)
    shown = next(iter(contexts))
    text = (
        f"{decided} of {plural(len(judged), 'comparison')} of R1 in "
        f"{plural(len(contexts), 'study', 'studies')} on rendered people are decided "
        f"([reports/showcase](reports/showcase/README.md)). `python -m harness run {shown}` ends with:"
    )
    lines = 2 + len(contexts[shown].stored_runs.methods)  # title, header, a line a method
    table = "\n".join(made[shown].table_text.splitlines()[:lines])
    return f"{textwrap.fill(text, LINE, break_long_words=False)}\n\n```text\n{table}\n```"


def question(name: str) -> str:
    """The question of a study: the first line of its file."""
    first = (ROOT / "studies" / STUDIES[name]).read_text("utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def _contexts(made: Mapping[str, ReportResult]) -> dict[str, ReportContext]:
    return {name: result.context for name, result in made.items() if result.context is not None}


def _first_shown(contexts: Mapping[str, ReportContext]) -> dict[frozenset[str], str]:
    """By the trainings that a comparison rests on, the first study that shows it."""
    first: dict[frozenset[str], str] = {}
    for name, context in contexts.items():
        for group, item in _compared(context):
            first.setdefault(_trainings(context, group, item), name)
    return first


def _trainings(context: ReportContext, group: ComparisonGroup, item: Comparison) -> frozenset[str]:
    """Hashes of the ranks by both methods' models: trained again by another version, they give the same."""
    found = set()
    for cell in context.stored_runs.cells:
        if cell.method in (item.one, item.other) and group.evaluation.holds(cell) and cell.stored:
            ranks = cell.stored.record_columns(group.evaluation.target, SELECTION, DIRECTION, ("rank",))[
                "rank"
            ]
            found.add(f"{cell.method} {hashlib.sha256(ranks.tobytes()).hexdigest()}")
    return frozenset(found)


def _finding(name: str, context: ReportContext, first: Mapping[frozenset[str], str]) -> str:
    links = f"[page]({name}/{PAGE}) · [verdicts]({name}/verdicts.csv) · [evidence]({name}/{EVIDENCE})"
    lines = [f"### {name}: {question(name)}", "", links, ""]
    for group, item in _compared(context):
        shown = first[_trainings(context, group, item)]
        lines.append(f"* {_sentence(group, item)}{'' if shown == name else f' The trainings of *{shown}*.'}")
    if rest := [line["text"].rstrip(":.") + "." for line in undecided(context)]:
        lines += ["", *rest]
    return "\n".join(lines)


def _compared(context: ReportContext) -> list[tuple[ComparisonGroup, Comparison]]:
    """Every method's R1 beside the reference's, on the dataset it was trained on, for new people."""
    return [
        (group, item)
        for group in context.same_dataset
        for (_, metric), item in group.judged("people").items()
        if metric == "R1"
    ]


def _sentence(group: ComparisonGroup, item: Comparison) -> str:
    verdict = {
        "better": f"`{item.one}` is better than `{item.other}`",
        "worse": f"`{item.one}` is worse than `{item.other}`",
        "tied": f"`{item.one}` and `{item.other}` are tied within ±{group.options.margin:g}",
        "cannot tell": f"`{item.one}` beside `{item.other}`: cannot tell",
    }[item.verdict]
    found = number(group.mean(item.one, "R1").value)
    numbers = f"{signed(item.value)} {interval(item.estimate)} points of R1 (to {found} %)"
    return f"{verdict} on {group.evaluation.title}: {numbers}, {plural(item.estimate.seeds, 'seed')}."


def _harness(*words: str, folder: Path | None = None) -> None:
    """A verb of the harness in a process of its own; ends with its exit code when that is not 0."""
    code = subprocess.run([sys.executable, "-m", "harness", *words], cwd=folder, check=False).returncode
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
