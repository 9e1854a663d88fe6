"""The verbs, nothing else: each imports what it needs when it is called, so that `--help` answers at once."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from harness.cli.options import (
    Backbone,
    DataRoot,
    Datasets,
    Deterministic,
    Device,
    Devices,
    Gpus,
    Ignore,
    ImageSize,
    Json,
    LauncherName,
    Methods,
    Out,
    PerDevice,
    Plugin,
    Seeds,
    Set,
    SkipBroken,
    StudyFile,
    Subset,
    Threads,
    Workers,
    data_root_of,
    image_size_of,
    machine_of,
    narrowed,
    options_of,
)
from harness.machine.errors import ExitCode

app = typer.Typer(
    help="Compare methods of text-to-image person retrieval under one protocol, and keep the evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Check a dataset, or build its cache of decoded images.", no_args_is_help=True)
app.add_typer(data_app, name="data")
bench_app = typer.Typer(help="How fast a training step is here, and what was measured.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")


@app.command()
def run(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    datasets: Datasets = None,
    methods: Methods = None,
    seeds: Seeds = None,
    subset: Subset = None,
    overrides: Set = None,
    device: Device = "auto",
    devices: Devices = 1,
    workers: Workers = None,
    threads: Threads = 1,
    trials_per_device: PerDevice = 1,
    launcher: LauncherName = "local",
    gpus_per_cell: Gpus = None,
    deterministic: Deterministic = False,
    plugin: Plugin = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Train and evaluate what is left of a study; ends with the table and the report's path.

    Finished cells are skipped, cut-off ones resume, failed ones are tried again.
    """
    with refusals():
        from harness.cli.run import run_study
        from harness.machine.progress import shown
        from harness.study.study import load_study

        _load_plugins(plugin, data_root)
        loaded = load_study(study, overrides or (), **narrowed(methods, datasets, seeds, subset))
        options = options_of(
            data_root,
            device,
            devices,
            workers,
            threads,
            trials_per_device,
            launcher,
            deterministic,
            skip_broken,
            plugin,
            gpus_per_cell,
        )
        with shown() as progress:
            code = run_study(loaded, options, out or Path("runs") / loaded.name, progress)
    raise typer.Exit(code)


@app.command()
def check(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    datasets: Datasets = None,
    methods: Methods = None,
    seeds: Seeds = None,
    subset: Subset = None,
    overrides: Set = None,
    device: Device = "auto",
    devices: Devices = 1,
    workers: Workers = None,
    threads: Threads = 1,
    trials_per_device: PerDevice = 1,
    launcher: LauncherName = "local",
    gpus_per_cell: Gpus = None,
    plugin: Plugin = None,
    skip_broken: SkipBroken = False,
    as_json: Json = False,
) -> None:
    """Everything `run` would refuse, before a device is touched; prints the cells and the expected cost."""
    with refusals():
        from harness.cli.check import examine, render
        from harness.launch.context import Context
        from harness.machine.progress import shown
        from harness.study.study import load_study

        _load_plugins(plugin, data_root)
        loaded = load_study(study, overrides or (), **narrowed(methods, datasets, seeds, subset))
        options = options_of(
            data_root,
            device,
            devices,
            workers,
            threads,
            trials_per_device,
            launcher,
            False,
            skip_broken,
            plugin,
            gpus_per_cell,
        )
        with shown() as progress:
            context = Context(options.machine, progress)
            found = examine(loaded, context, options, out or Path("runs") / loaded.name)
    _answer(found.plain(loaded), as_json, lambda: render(found, loaded))
    for problem in found.problems:
        print(problem, file=sys.stderr)
    raise typer.Exit(ExitCode.BAD_INPUT if found.problems else ExitCode.DONE)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="methods, datasets or studies.")],
    cost: Annotated[bool, typer.Option("--cost", help="With parameters and compute of each method.")] = False,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """What there is, one line each."""
    with refusals():
        from harness.cli.catalogue import listing, render

        _load_plugins(plugin)
        entries = listing(what, cost=cost)
    _answer({what: entries}, as_json, lambda: render(entries))


@app.command()
def report(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs; default: all below runs.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page to write; default: report.html of the run, of several beside them."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 4 when a claim is contradicted, 5 when one is undecided.")
    ] = False,
    allow_undecided: Annotated[
        bool, typer.Option("--allow-undecided", help="With --check: undecided claims are accepted.")
    ] = False,
) -> None:
    """Tables and one offline page from what runs have stored; works while a study is unfinished."""
    with refusals():
        from harness.cli.report import write_report

        code = write_report(runs or [], out, check=check, allow_undecided=allow_undecided)
    raise typer.Exit(code)


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A model of a run, or a released checkpoint.")],
    dataset: Annotated[str, typer.Option(help="The dataset whose test split is searched.")],
    data_root: DataRoot = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    backbone: Backbone = None,
    image_size: ImageSize = None,
    ignore: Ignore = None,
    subset: Subset = None,
    device: Device = "auto",
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """One model on one dataset, under the harness's protocol."""
    with refusals():
        from harness.launch.models import evaluate_checkpoint, render

        _load_plugins(plugin, data_root)
        machine = machine_of(data_root, device, plugin)
        found = evaluate_checkpoint(
            checkpoint,
            dataset,
            machine,
            split=split,
            backbone=backbone,
            subset=subset,
            image_size=image_size_of(image_size),
            ignore=ignore or (),
        )
    _answer(found, as_json, lambda: render(found))


@app.command()
def query(
    checkpoint: Annotated[str, typer.Argument(help="A model of a run, a released one, or tiny:rendered.")],
    sentences: Annotated[
        list[str] | None, typer.Argument(metavar="[SENTENCE]...", help="Who is looked for.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="The dataset whose test split is searched.")] = "",
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture: the captions that describe it best.")
    ] = None,
    sentences_from: Annotated[
        Path | None, typer.Option("--from", help="A text file with one sentence per line.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many answers to each.")] = 10,
    out: Annotated[Path, typer.Option(help="The sheet: a page (.html) or a picture (.png).")] = Path(
        "query.html"
    ),
    data_root: DataRoot = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    backbone: Backbone = None,
    image_size: ImageSize = None,
    ignore: Ignore = None,
    subset: Subset = None,
    device: Device = "auto",
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """The people whom a sentence describes best, or the captions that describe a picture best."""
    with refusals():
        from harness.cli.query import Question, ask, plain, render

        _load_plugins(plugin, data_root)
        machine = machine_of(data_root, device, plugin)
        question = Question.of(sentences or (), sentences_from, image or ())
        answers = ask(
            Path(checkpoint),
            question,
            dataset,
            machine,
            top,
            split=split,
            backbone=backbone,
            subset=subset,
            image_size=image_size_of(image_size),
            ignore=ignore or (),
        )
        answers.write(out)
    _answer(plain(answers), as_json, lambda: render(answers, out))


@app.command()
def verify(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs; default: all below runs.")
    ] = None,
    cells: Annotated[int, typer.Option(min=0, help="Finished cells to run again, trained ones first.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    evaluate_only: Annotated[
        bool, typer.Option("--evaluate-only", help="Evaluate the stored models again; train nothing.")
    ] = False,
    data_root: DataRoot = None,
    device: Device = "auto",
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Run a few finished cells again and compare every number. Exits 4 when something differs."""
    with refusals():
        from harness.cli.report import run_folders
        from harness.machine.progress import shown
        from harness.trust.certificate import render
        from harness.trust.verify import verify

        _load_plugins(plugin, data_root)
        machine = machine_of(data_root, device, plugin)
        with shown() as progress:
            found = verify(
                run_folders(runs or []),
                machine,
                cells=cells,
                seed=seed,
                evaluate_only=evaluate_only,
                progress=progress,
            )
    _answer({str(one.store): one.plain() for one in found}, as_json, lambda: render(found))
    for certificate in found:
        if certificate.not_written:
            print(certificate.not_written, file=sys.stderr)
    raise typer.Exit(ExitCode.DIFFERS if any(one.differences for one in found) else ExitCode.DONE)


@app.command()
def why(
    cell: Annotated[str, typer.Argument(help="A cell's folder, or how the name of one below runs starts.")],
    other: Annotated[
        str | None, typer.Argument(help="Another cell, or a study file; default: the same cell run now.")
    ] = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """What a cell's identity is made of, and what has changed since it ran."""
    with refusals():
        from harness.trust.why import render, why

        _load_plugins(plugin, data_root)
        answer = why(cell, other, machine_of(data_root, device, plugin))
    _answer(answer.plain(), as_json, lambda: render(answer))


@app.command()
def doctor(
    study: Annotated[Path | None, typer.Argument(metavar="[STUDY]", help="A study to be run here.")] = None,
    out: Out = None,
    data_root: DataRoot = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """What this machine has, what can run on it, and the mend for what cannot. Exits 1 if the demo cannot."""
    with refusals():
        from harness.trust.doctor import as_plain, conclude, diagnose, healthy, render

        _load_plugins(plugin, data_root)
        tell = None if as_json else render
        findings = diagnose(data_root_of(data_root), out or Path("runs"), study, tell)
    _answer(as_plain(findings, out or Path("runs")), as_json, lambda: conclude(findings))
    raise typer.Exit(ExitCode.DONE if healthy(findings) else ExitCode.ERROR)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A model of a run, or a released checkpoint.")],
    out: Annotated[Path, typer.Argument(help="The open_clip checkpoint to write.")],
    backbone: Backbone = None,
    image_size: ImageSize = None,
    ignore: Ignore = None,
) -> None:
    """Write a model's dual encoder as a checkpoint that open_clip loads."""
    with refusals():
        from harness.launch.models import export_checkpoint

        print(
            export_checkpoint(
                checkpoint, out, backbone=backbone, image_size=image_size_of(image_size), ignore=ignore or ()
            )
        )


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="A dataset's name.")],
    data_root: DataRoot = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Counts beside the published ones, missing and broken files. Exits 2 when the data is damaged."""
    with refusals():
        from harness.cli.data import check_data, render

        _load_plugins(plugin, data_root)
        found = check_data(name, data_root_of(data_root))
    _answer(found, as_json, lambda: render(found))
    if found["damaged"]:
        for problem in found["problems"]:
            print(problem, file=sys.stderr)
        raise typer.Exit(ExitCode.BAD_INPUT)


@data_app.command("cache")
def data_cache(
    name: Annotated[str, typer.Argument(help="A dataset's name.")],
    data_root: DataRoot = None,
    size: Annotated[str, typer.Option(help="Height×width of the images, like 384x128.")] = "384x128",
    subset: Subset = None,
    skip_broken: SkipBroken = False,
    plugin: Plugin = None,
) -> None:
    """Decode every image once, so that training never waits for it."""
    with refusals():
        from harness.cli.data import cache_data
        from harness.machine.progress import shown

        _load_plugins(plugin, data_root)
        with shown() as progress:
            lines = cache_data(name, data_root_of(data_root), size, subset, skip_broken, progress)
    print("\n".join(lines))


@bench_app.command("step")
def bench_step(
    method: Annotated[str, typer.Option(help="A method's name.")] = "uit",
    backbone: Annotated[str, typer.Option(help="tiny, or an open_clip model name.")] = "tiny",
    dataset: Annotated[str, typer.Option(help="Whose training pairs are used.")] = "rendered-plaza",
    subset: Annotated[int, typer.Option(min=2, help="Identities of it that are used.")] = 200,
    image_size: Annotated[str | None, typer.Option("--size", help="Height×width, like 384x128.")] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Pairs per step.")] = 128,
    precision: Annotated[str | None, typer.Option(help="bf16, fp32 or released.")] = None,
    compiled: Annotated[str, typer.Option("--compile", help="auto (on a GPU), on or off.")] = "auto",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps in a row between turns; default: 5, on a CPU 2.")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Blocks of turns; default: 6, on a CPU 4.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that feed the plain step.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON object to this file.")] = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    threads: Threads = 1,
    deterministic: Deterministic = False,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """A training step beside a plain one, in turns: pairs per second, compute, memory, and the ratio."""
    _one_of("--precision", precision, ("bf16", "fp32", "released"))
    _one_of("--compile", compiled, ("auto", "on", "off"))
    with refusals():
        from harness.cli.data import image_size_of
        from harness.launch.context import Context
        from harness.machine.files import atomic_json
        from harness.machine.progress import shown
        from harness.speed.bench import StepBench, render
        from harness.speed.bench import bench_step as measured

        _load_plugins(plugin, data_root)
        machine = machine_of(data_root, device, plugin, threads=threads, deterministic=deterministic)
        size = None if image_size is None else image_size_of(image_size)
        wanted = StepBench(
            method=method,
            backbone=backbone,
            dataset=dataset,
            subset=subset,
            image_size=size,
            batch_size=batch_size,
            precision=cast(Any, precision),
            compiled=cast(Any, compiled),
            steps=steps,
            blocks=blocks,
            workers=workers,
        )
        with shown() as progress:
            found = measured(wanted, Context(machine, progress))
        if out is not None:
            atomic_json(out, found)
    _answer(found, as_json, lambda: render(found))


@bench_app.command("table")
def bench_table(
    folder: Annotated[Path, typer.Argument(help="Of measurements.")] = Path("reports/benchmarks"),
) -> None:
    """Measurements that were kept, as Markdown."""
    with refusals():
        from harness.speed.bench import table

        print(table(folder))


# -- what verbs share -----------------------------------------------------------------------------


@contextmanager
def refusals() -> Iterator[None]:
    """Turn an error that a user may meet into its lines on standard error and its exit code."""
    from harness.machine.errors import refusal_of
    from harness.machine.passwords import masked_text

    try:
        yield
    except Exception as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        for line in refusal.lines:
            print(masked_text(line), file=sys.stderr)
        raise typer.Exit(refusal.exit_code) from error


def _answer(value: Any, as_json: bool, render: Any) -> None:
    if as_json:
        print(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        render()


def _load_plugins(plugins: list[Path] | None, data_root: Path | None = None) -> None:
    """Register what plugins and the dataset files of the data root describe."""
    from harness.data.dataset_files import register_data_root
    from harness.registry import load_plugin

    for path in plugins or ():
        load_plugin(path)
    root = data_root_of(data_root)
    if root is not None:
        register_data_root(root)


def _one_of(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise typer.BadParameter(f"{option} is one of {', '.join(choices)}, not {value!r}")


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no minus sign shows a question mark, and the study goes on.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()
