"""The verbs by which results enter and leave: `import`, `compare`, `bundle`. None of them needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.answers import answer, refusals
from harness.cli.command import StrictTyper
from harness.cli.options import DataAnswerOptions, Json, RunFolders, StudyOptions, takes_groups

exchange_app = StrictTyper()

Qrels = Annotated[Path | None, typer.Option(help="The judgements of a TREC run: query 0 document relevance.")]


@exchange_app.command("import")
@takes_groups
def import_(
    file: Annotated[
        Path, typer.Argument(help="Features or similarities (.npz, .safetensors, .pt), or a TREC run.")
    ],
    method: Annotated[str, typer.Option(help="What the method is called in tables.")],
    dataset: Annotated[str, typer.Option(help="The dataset whose test split was searched.")],
    seed: Annotated[int, typer.Option(help="The seed that the model was trained with.")],
    options: DataAnswerOptions,
    into: Annotated[Path, typer.Option(help="The folder of the run.")] = Path("runs/imported"),
    qrels: Qrels = None,
) -> None:
    """Judge results of another code base and keep them in a run, marked as trained elsewhere."""
    with refusals():
        from harness.exchange.importing import import_scores, render
        from harness.exchange.score_files import read_scores
        from harness.exchange.trec import read_trec

        root = options.register()
        scores = read_scores(file) if qrels is None else read_trec(file, qrels)
        made = import_scores(scores, method, dataset, seed, into, root)
    answer(made.plain(), options.as_json, lambda: render(made))


@exchange_app.command()
def compare(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=FILE[,FILE]…", help="Files of scores; several of a method are its seeds."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; default: runs/compare-… by the files' content.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verdicts between files of scores: no study, no dataset, no torch."""
    with refusals():
        from harness.exchange.comparing import compare_files, render

        compared = compare_files(files, out)
    answer(compared.plain(), as_json, lambda: render(compared))


@exchange_app.command()
@takes_groups
def lock(options: StudyOptions) -> None:
    """Keep the plan of a study before its first cell: study, claims, margins, seeds, looks and their hash."""
    with refusals():
        from harness.exchange.planning import lock_study, render

        study = options.load()
        render(lock_study(study, options.folder(study)))


@exchange_app.command()
def bundle(
    runs: RunFolders = None,
    out: Annotated[Path | None, typer.Option(help="The archive; default: named like the first run.")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="Put the models in as well.")] = False,
) -> None:
    """The evidence of runs in one archive, which `verify` and `report` read without torch."""
    with refusals():
        from harness.cli.report import run_folders
        from harness.exchange.bundling import render, write_bundle
        from harness.machine.files import refuse_unwritable

        folders = run_folders(runs or [])
        for folder in folders:
            refuse_unwritable(folder, "a bundle renews the run's report: copy the run to a folder of yours")
        refuse_unwritable((out or folders[0].absolute()).parent, "name the archive elsewhere: --out FILE.zip")
        render(write_bundle(folders, out, weights=weights))
