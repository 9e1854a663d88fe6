"""The verbs, nothing else: each imports what it needs when it is called, so that `--help` answers at once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.answers import answer, print_lines, refusals, replace_unknown_letters
from harness.cli.bench import bench_app
from harness.cli.command import StrictTyper, completion_of_a_module
from harness.cli.data import data_app
from harness.cli.exchange import exchange_app
from harness.cli.options import (
    AnswerOptions,
    Checkpoint,
    CheckpointOptions,
    DataAnswerOptions,
    DeviceOptions,
    Json,
    MachineOptions,
    Out,
    ReportPage,
    RunFolders,
    SearchedDataset,
    SearchedOptions,
    StudyOptions,
    Subset,
    listed_names,
    takes_groups,
)
from harness.machine import paths
from harness.machine.errors import ExitCode
from harness.registry.variables import older_names

app = StrictTyper(
    help="Compare methods of text-to-image person retrieval under one protocol, and keep the evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.registered_commands += exchange_app.registered_commands


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from harness.machine.environment import commit

        print(f"tipr-harness {version('tipr-harness')} {commit()[:12]}".rstrip())
        raise typer.Exit


@app.callback()
def harness(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Compare methods of text-to-image person retrieval under one protocol, and keep the evidence."""


@app.command()
@takes_groups
def run(
    options: StudyOptions,
    machine: MachineOptions,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress: the results and errors alone.")
    ] = False,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUNS", help="Another run, whose finished cells are copied where identical."),
    ] = None,
) -> None:
    """Train and evaluate what is left of a study; ends with the table and the report's path.

    Finished cells are skipped, interrupted ones resume, failed ones are tried again.
    """
    with refusals():
        from harness.cli.run import run_study
        from harness.cli.run_folder import refuse_another_study, runs_to_reuse
        from harness.machine.display import shown

        machine.register()
        study = options.load()
        out = options.folder(study)
        refuse_another_study(study, out, asked=options.out is not None)
        launch = replace(machine.launch_options(), reuse=runs_to_reuse(reuse or ()))
        with shown(quiet=quiet) as progress:
            if out.name != study.name and options.out is None:
                progress.say(f"a changed study has a folder of its own: {out}")
            code = run_study(study, launch, out, progress)
    raise typer.Exit(code)


@app.command()
@takes_groups
def check(options: StudyOptions, machine: MachineOptions, as_json: Json = False) -> None:
    """Everything `run` would refuse, before a device is touched; prints the cells and the expected cost."""
    with refusals():
        from harness.cli.check import examine, trials_left
        from harness.cli.check_text import render
        from harness.cli.run_folder import another_study
        from harness.cli.time_check import UnknownTimeError, expected_time
        from harness.launch.context import Context
        from harness.machine.display import shown
        from harness.store.run_files import OVERHEAD

        machine.register()
        study = options.load()
        launch = machine.launch_options()
        with shown() as progress:
            context = Context(launch.machine, progress)
            out = options.folder(study)
            result = examine(study, context, launch, out)
            result.problems += another_study(study, out, asked=options.out is not None)
            if not result.problems:
                left = [cell for cell in result.cells if result.states.get(cell.key) != "done"]
                overhead = None if (out / OVERHEAD).exists() else study.overhead
                trials = trials_left(study, context, out)
                try:
                    result.time = expected_time(left, context, launch, out, overhead, trials)
                except UnknownTimeError as unknown:
                    result.notes.append(str(unknown))
    answer(result.plain(study), as_json, lambda: render(result, study))
    print_lines(result.problems)
    raise typer.Exit(ExitCode.BAD_INPUT if result.problems else ExitCode.DONE)


@app.command("list")
@takes_groups
def list_(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="methods, datasets, studies or runs.")],
    cost: Annotated[bool, typer.Option("--cost", help="With parameters and compute of each method.")] = False,
    *,
    options: DataAnswerOptions,
) -> None:
    """What there is, one line each."""
    with refusals():
        from harness.cli.catalogue import listing, render

        options.register()
        entries = listing(what, cost=cost)
    answer({what: entries}, options.as_json, lambda: render(entries))


@app.command()
def free(
    runs: RunFolders = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="val, last, test, checkpoint: what stays beside the selected model; repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this it is only listed.")] = False,
    as_json: Json = False,
) -> None:
    """What of finished runs no score, record or report needs any more, and with --yes its removal."""
    with refusals():
        from harness.cli.free import freed, render
        from harness.cli.report import run_folders

        found = freed(run_folders(runs or []), keep or [], remove=yes)
    answer({"removed": yes, "cells": found}, as_json, lambda: render(found, removed=yes))


@app.command()
@takes_groups
def report(
    runs: RunFolders = None,
    out: ReportPage = None,
    export: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Also for tensorboard, mlflow, hub, croissant; with commas."),
    ] = "",
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Exit 4 when a claim is contradicted, 5 when one is undecided or not run."
        ),
    ] = False,
    allow_undecided: Annotated[
        bool,
        typer.Option("--allow-undecided", help="With --check: accept undecided claims; not those not run."),
    ] = False,
    wide: Annotated[
        bool, typer.Option("--wide", help="Every column of the tables, however wide the terminal is.")
    ] = False,
    options: DataAnswerOptions,
) -> None:
    """Tables and one offline page from what runs have stored; works while a study is unfinished."""
    with refusals():
        from harness.cli.report import write_report

        exports, data_root = [], None
        if export:
            from harness.exchange.report_exports import export_names

            exports, data_root = export_names(export), options.register()
        code = write_report(
            runs or [],
            out,
            check=check,
            allow_undecided=allow_undecided,
            wide=wide,
            as_json=options.as_json,
            exports=exports,
            data_root=data_root,
        )
    raise typer.Exit(code)


@app.command()
@takes_groups
def evaluate(
    checkpoint: Checkpoint,
    dataset: SearchedDataset,
    searched: SearchedOptions,
    options: AnswerOptions,
) -> None:
    """One model on one dataset, under the harness's protocol."""
    with refusals():
        from harness.launch.models import evaluate_checkpoint, render

        machine = options.machine(skip_broken=searched.skip_broken)
        evaluation = evaluate_checkpoint(checkpoint, dataset, machine, **searched.keywords())
    answer(evaluation, options.as_json, lambda: render(evaluation))


@app.command()
@takes_groups
def query(
    checkpoint: Annotated[str, typer.Argument(help="A model of a run, a released one, or tiny:rendered.")],
    sentences: Annotated[
        list[str] | None, typer.Argument(metavar="[SENTENCE]...", help="Who is looked for.")
    ] = None,
    dataset: SearchedDataset = "",
    gallery: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A folder of pictures, instead of --dataset.")
    ] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture: its best captions.")] = None,
    sentences_from: Annotated[
        Path | None, typer.Option("--from", help="A text file with one sentence per line.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many answers to each.")] = 10,
    out: Annotated[Path, typer.Option(help="The sheet: .html or .png.")] = Path("query.html"),
    *,
    searched: SearchedOptions,
    options: AnswerOptions,
) -> None:
    """The people whom a sentence describes best, or the captions that describe a picture best."""
    with refusals():
        from harness.cli.query import Question, ask, check_sheet, plain, render

        check_sheet(out)
        machine = options.machine(skip_broken=searched.skip_broken)
        question = Question.of(sentences or (), sentences_from, image or ())
        keywords = searched.keywords()
        answers = ask(Path(checkpoint), question, dataset, machine, top, pictures=gallery, **keywords)
        answers.write(out)
    answer(plain(answers), options.as_json, lambda: render(answers, out))


@app.command()
@takes_groups
def verify(
    runs: RunFolders = None,
    cells: Annotated[
        int | None,
        typer.Option(min=0, help="Cells drawn to be run again, trained ones first; 2, beside --cell none."),
    ] = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Cells to run again: folders below cells/, or how they start."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    evaluate_only: Annotated[
        bool, typer.Option("--evaluate-only", help="Evaluate the stored models again; train nothing.")
    ] = False,
    *,
    options: AnswerOptions,
) -> None:
    """Run a few finished cells again and compare every number. Exits 4 when something differs.

    Of a bundle (.zip) the numbers and verdicts are computed again from its records; nothing is run.
    """
    named = listed_names(cell)
    if runs and any(path.suffix == ".zip" for path in runs):
        from harness.cli.verify_bundle import verify_bundles

        asks_to_run = bool(named or cells or evaluate_only)
        raise typer.Exit(verify_bundles(runs, options.as_json, asks_to_run=asks_to_run))
    from harness.cli.verify_runs import verify_runs

    drawn = (0 if named else 2) if cells is None else cells
    raise typer.Exit(
        verify_runs(runs or [], options, cells=drawn, named=named, seed=seed, evaluate_only=evaluate_only)
    )


@app.command()
@takes_groups
def why(
    cell: Annotated[str, typer.Argument(help="A cell's folder, or how the name of one below runs starts.")],
    other: Annotated[
        str | None, typer.Argument(help="Another cell, or a study file; default: the same cell run now.")
    ] = None,
    *,
    options: AnswerOptions,
) -> None:
    """What a cell's identity is made of, and what has changed since it ran."""
    with refusals():
        from harness.trust.why import render, why

        explained = why(cell, other, options.machine())
    answer(explained.plain(), options.as_json, lambda: render(explained))


@app.command()
@takes_groups
def doctor(
    study: Annotated[Path | None, typer.Argument(metavar="[STUDY]", help="A study to be run here.")] = None,
    *,
    options: DataAnswerOptions,
    out: Out = None,
) -> None:
    """What this machine has, what can run on it, and what repairs the rest. Exits 1 if the demo cannot."""
    with refusals():
        from harness.trust.doctor import as_plain, conclude, diagnose, healthy, render

        data_root = options.register()
        on_finding = None if options.as_json else render
        findings = diagnose(data_root, out or paths.RUNS, study, on_finding)
    answer(as_plain(findings, out or paths.RUNS), options.as_json, lambda: conclude(findings))
    raise typer.Exit(ExitCode.DONE if healthy(findings) else ExitCode.ERROR)


@app.command()
@takes_groups
def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="The folder to write; with --features, the file.")],
    options: CheckpointOptions,
    computed: DeviceOptions,
    trec: Annotated[bool, typer.Option("--trec", help="A run file and qrels of --dataset instead.")] = False,
    features: Annotated[
        bool, typer.Option("--features", help="Features of --dataset's test split instead, as .npz.")
    ] = False,
    dataset: SearchedDataset = "",
    subset: Subset = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="With --trec: documents of each query; default: all.")
    ] = None,
) -> None:
    """Write a model's dual encoder for open_clip, or what it gives on a test split for other tools."""
    with refusals():
        from harness.exchange.exporting import Export, write_export
        from harness.launch.models import export_checkpoint, open_model

        Export.refuse(trec, features, dataset, subset, depth)
        computed.register()
        if not trec and not features:
            print(export_checkpoint(checkpoint, out, **options.keywords()))
            return
        machine = computed.machine(skip_broken=options.skip_broken)
        export = Export(open_model(checkpoint, **options.keywords()), dataset, subset, depth)
        print(write_export(export, machine, out, trec=trec))


def main() -> None:
    """The console script."""
    replace_unknown_letters()
    if foreign := paths.foreign_packages():
        print_lines(foreign)
        raise SystemExit(ExitCode.BAD_INPUT)
    if wrong := completion_of_a_module():
        print_lines([wrong])
        raise SystemExit(ExitCode.BAD_INPUT)
    made = paths.ensure_home()
    if made and "--quiet" not in sys.argv:
        print_lines([made])
    print_lines(older_names())
    app()
