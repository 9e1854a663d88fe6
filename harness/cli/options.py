"""The options that verbs share, and what they say together. Heavy imports happen when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harness.launch.cells import LaunchOptions
    from harness.machine.environment import Machine

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="A study file, like studies/demo.yaml.")]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder of the benchmark datasets; default: the variable TIPR_DATA.")
]
Out = Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/<study name>.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the study: train.epochs=2."),
]
Methods = Annotated[str | None, typer.Option(help="Only these methods, separated by commas.")]
Datasets = Annotated[str | None, typer.Option(help="Only these datasets, separated by commas.")]
Seeds = Annotated[str | None, typer.Option(help="How many seeds (3), or which (0,4,7).")]
Subset = Annotated[int | None, typer.Option(help="Keep only so many identities per split.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or one device like cuda:1.")]
Devices = Annotated[int, typer.Option(min=1, help="Devices that train one cell together.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Cells that train at once; default: one per GPU, or per CPU core.")
]
Threads = Annotated[
    int, typer.Option(min=1, help="CPU threads of a cell; another number rounds differently.")
]
PerDevice = Annotated[int, typer.Option(min=1, help="Cells or trials that share one GPU.")]
Gpus = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-cell", min=0, help="GPUs that a cell asks of Ray or Slurm; default: as on this machine."
    ),
]
Backbone = Annotated[str | None, typer.Option(help="Of a checkpoint that does not say.")]
ImageSize = Annotated[
    str | None,
    typer.Option(metavar="HEIGHTxWIDTH", help="Of a checkpoint that does not say: 384x128."),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(metavar="PREFIX", help="Weights of another code that may be left out, by how names start."),
]
LauncherName = Annotated[str, typer.Option("--launcher", help="Where cells run: local, ray or slurm.")]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="Repeat bit for bit, also on a GPU.")]
Plugin = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        "--dataset-file",
        help="A Python file that registers methods or datasets, or a NAME.dataset.yaml.",
    ),
]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Leave out broken images, and count them.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def data_root_of(option: Path | None) -> Path | None:
    """The folder of the benchmark datasets: the option, else the variable TIPR_DATA."""
    from harness.machine import paths

    return paths.data_root(option)


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def narrowed(
    methods: str | None, datasets: str | None, seeds: str | None, subset: int | None
) -> dict[str, Any]:
    """What `load_study` takes to narrow a study. Raises `typer.BadParameter` for seeds that are no number."""
    wanted: int | list[int] | None = None
    if seeds is not None:
        try:
            numbers = [int(part) for part in _listed(seeds)]
        except ValueError:
            raise typer.BadParameter(f"--seeds takes 3 or 0,1,2, not {seeds!r}") from None
        wanted = numbers[0] if "," not in seeds and numbers else numbers
    return {"methods": _listed(methods), "datasets": _listed(datasets), "seeds": wanted, "subset": subset}


def machine_of(
    data_root: Path | None,
    device: str,
    plugins: list[Path] | None,
    *,
    devices: int = 1,
    threads: int = 1,
    deterministic: bool = False,
    skip_broken: bool = False,
) -> Machine:
    """Where and how to run, with this process made ready for it."""
    from harness import registry
    from harness.machine.environment import Machine, command

    given = tuple(path.resolve() for path in plugins or ())
    machine = Machine(
        data_root=data_root_of(data_root),
        device=device,
        devices=devices,
        threads=threads,
        deterministic=deterministic,
        skip_broken=skip_broken,
        # Dataset files that were found or named by the study are passed to workers too.
        plugins=tuple(dict.fromkeys((*given, *registry.plugins()))),
        command=command(),
    )
    from harness.launch.context import prepare_process

    prepare_process(machine)
    return machine


def options_of(
    data_root: Path | None,
    device: str,
    devices: int,
    workers: int | None,
    threads: int,
    per_device: int,
    launcher: str,
    deterministic: bool,
    skip_broken: bool,
    plugins: list[Path] | None,
    gpus_per_cell: float | None = None,
) -> LaunchOptions:
    """How a study is run."""
    from harness.launch.cells import LaunchOptions, accelerators

    machine = machine_of(
        data_root,
        device,
        plugins,
        devices=devices,
        threads=threads,
        deterministic=deterministic,
        skip_broken=skip_broken,
    )
    return LaunchOptions(machine, workers, launcher, per_device, accelerators(device, devices), gpus_per_cell)


def image_size_of(text: str | None) -> tuple[int, int] | None:
    """Height and width of `384x128`. Raises `StudyError` for anything else."""
    if text is None:
        return None
    height, _, width = text.lower().replace("×", "x").partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        from harness.machine.errors import StudyError

        raise StudyError([f"--image-size: takes HEIGHTxWIDTH in pixels, like 384x128, not {text!r}"])
    return int(height), int(width)
