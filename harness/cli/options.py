"""The options that verbs share, one by one and in groups. Heavy imports happen when they are asked for."""

from __future__ import annotations

import functools
import inspect
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from harness.machine.errors import StudyError

if TYPE_CHECKING:
    from harness.launch.cells import LaunchOptions
    from harness.machine.environment import Machine
    from harness.study.study import Study

StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY", help="A study file, or a shipped study's name, like demo.")
]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder of the benchmark datasets; default: the variable HARNESS_DATA.")
]
Out = Annotated[
    Path | None, typer.Option(help="Folder of the run; default: runs/<study name>[+what --set changed].")
]
ReportPage = Annotated[
    Path | None,
    typer.Option(
        help="The page; tables, figures and verdicts.csv go beside it; default: report.html of the run."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the study: train.epochs=2."),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(metavar="NAMES", help="Only these, separated by commas; may be repeated."),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option(metavar="NAMES", help="Only these, separated by commas; may be repeated."),
]
Seeds = Annotated[
    list[str] | None,
    typer.Option(metavar="NUMBERS", help="How many seeds (3), or which (0,4,7)."),
]
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
        metavar="FILE",
        help="A Python file that registers methods or datasets, or a NAME.dataset.yaml.",
    ),
]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Leave out broken images, and count them.")]
DatasetName = Annotated[str, typer.Argument(help="A dataset's name.")]
SearchedDataset = Annotated[str, typer.Option("--dataset", help="The dataset that is searched.")]
Checkpoint = Annotated[Path, typer.Argument(help="A model of a run, or a released checkpoint.")]
RunFolders = Annotated[list[Path] | None, typer.Argument(help="Folders of runs; default: all below runs.")]
Split = Annotated[str, typer.Option(help="train, val or test.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def takes_groups(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a command take groups of options: a parameter whose type is a dataclass becomes its fields.

    The groups come first on the command line's help, in the order of the verb's parameters.
    """
    hints = get_type_hints(verb, include_extras=True)
    hints.pop("return", None)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(verb).parameters.values():
        kind = groups.get(parameter.name)
        if kind is None:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
        else:
            parameters += inspect.signature(kind).parameters.values()
    keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    annotations = {name: hint for kind in groups.values() for name, hint in _field_hints(kind).items()}
    annotations |= {name: hint for name, hint in hints.items() if name not in groups}

    @functools.wraps(verb)
    def command(**values: Any) -> None:
        made = {
            name: kind(**{each.name: values.pop(each.name) for each in fields(kind)})
            for name, kind in groups.items()
        }
        verb(**made, **values)

    typed: Any = command
    typed.__signature__ = inspect.Signature(
        [each.replace(annotation=annotations[each.name]) for each in keyword]
    )
    typed.__annotations__ = annotations
    return command


def _field_hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


@dataclass(frozen=True)
class StudyOptions:
    """Which study, and which part or variation of it; the same for `run` and `check`."""

    study: StudyFile
    out: Out = None
    datasets: Datasets = None
    methods: Methods = None
    seeds: Seeds = None
    subset: Subset = None
    overrides: Set = None

    def load(self) -> Study:
        """The study, checked. Raises `StudyError`, and `typer.BadParameter` for seeds that are no number."""
        from harness.study.study import load_study

        _refuse_repeated(self.overrides or ())
        return load_study(
            self.study,
            self.overrides or (),
            methods=_named("--methods", self.methods),
            datasets=_named("--datasets", self.datasets),
            seeds=_seeds(self.seeds),
            subset=self.subset,
        )

    def folder(self, study: Study) -> Path:
        """Where the run lies: as asked for, or below `runs`, apart for every change of the study."""
        from harness.cli.run_folder import default_folder

        return self.out or default_folder(study.name, self.study, self.overrides or (), self.subset)


def listed_names(texts: Sequence[str] | None) -> list[str]:
    """The names that an option was given, each once: repeated, or with commas."""
    parts = [part.strip() for text in texts or () for part in text.split(",")]
    return list(dict.fromkeys(part for part in parts if part))


def _named(option: str, texts: Sequence[str] | None) -> list[str]:
    """The names of a list; none where it was not given. Raises `StudyError` where it names nothing."""
    names = listed_names(texts)
    if texts and not names:
        raise StudyError([f"{option}: names nothing; leave it out for all"])
    return names


def _refuse_repeated(overrides: Sequence[str]) -> None:
    """Raise `StudyError` where `--set` gives one key twice, of which the first would be lost."""
    counts = Counter(text.partition("=")[0].strip() for text in overrides)
    if repeated := [key for key, count in counts.items() if count > 1]:
        raise StudyError([f"--set: {key}: given {counts[key]} times; keep one of them" for key in repeated])


def _seeds(texts: Sequence[str] | None) -> int | list[int] | None:
    """One number alone says how many seeds; several, or a comma, say which."""
    if not texts:
        return None
    parts = [part.strip() for text in texts for part in text.split(",")]
    try:
        numbers = [int(part) for part in parts if part]
    except ValueError:
        raise typer.BadParameter(f"--seeds takes 3 or 0,1,2, not {','.join(texts)!r}") from None
    repeated = [str(number) for number, count in Counter(numbers).items() if count > 1]
    if repeated or not numbers:
        named = f"lists {', '.join(repeated)} more than once" if repeated else "names no seed"
        raise typer.BadParameter(f"--seeds {named}; give 3, or different ones like 0,1,2")
    return numbers[0] if len(texts) == 1 and "," not in texts[0] else numbers


@dataclass(frozen=True)
class DataOptions:
    """Where datasets lie, and which files register more datasets or methods."""

    data_root: DataRoot = None
    plugin: Plugin = None

    def register(self) -> Path | None:
        """Register what plugins and the dataset files of the data root describe; the data root, if any."""
        from harness import registry
        from harness.data.dataset_files import register_data_root
        from harness.machine import paths

        registry.load_plugins(self.plugin or ())
        root = paths.data_root(self.data_root)
        if root is not None:
            register_data_root(root)
        return root


@dataclass(frozen=True)
class DataAnswerOptions(DataOptions):
    """What the commands share that print what is known of data or of this machine."""

    as_json: Json = False


@dataclass(frozen=True)
class DeviceOptions(DataOptions):
    """The same, and the device to compute on."""

    device: Device = "auto"

    def machine(self, **settings: Any) -> Machine:
        """Where and how to run, with plugins registered and this process made ready for it.

        Args:
            settings: other fields of `Machine`: `devices`, `threads`, `deterministic`, `skip_broken`.
        """
        from harness import registry
        from harness.launch.context import prepare_arithmetic
        from harness.machine.environment import Machine, command

        root = self.register()
        # Dataset files that were found or named by the study are passed to workers too.
        plugins = registry.plugins()
        machine = Machine(root, self.device, plugins=plugins, command=command(), **settings)
        prepare_arithmetic(machine)
        return machine


@dataclass(frozen=True)
class AnswerOptions(DeviceOptions):
    """What the commands share that compute something on a device and print it."""

    as_json: Json = False


@dataclass(frozen=True)
class CheckpointOptions:
    """What a checkpoint does not say of itself."""

    backbone: Backbone = None
    image_size: ImageSize = None
    ignore: Ignore = None
    skip_broken: SkipBroken = False

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments of `open_model`. Raises `StudyError` for a size that is none."""
        size = None if self.image_size is None else height_and_width(self.image_size, "--image-size")
        return {"backbone": self.backbone, "image_size": size, "ignore": self.ignore or ()}


@dataclass(frozen=True)
class SearchedOptions(CheckpointOptions):
    """The same, and which part of a dataset is searched with it."""

    split: Split = "test"
    subset: Subset = None

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments of `evaluate_checkpoint` and `ask`. Raises `StudyError` as its base does."""
        return {**super().keywords(), "split": self.split, "subset": self.subset}


@dataclass(frozen=True)
class MachineOptions(DeviceOptions):
    """Where the cells of a study run; the same for `run` and `check`."""

    devices: Devices = 1
    workers: Workers = None
    threads: Threads = 1
    trials_per_device: PerDevice = 1
    launcher: LauncherName = "local"
    gpus_per_cell: Gpus = None
    deterministic: Deterministic = False
    skip_broken: SkipBroken = False

    def launch_options(self) -> LaunchOptions:
        """How a study is run, with this process made ready for it."""
        from harness.launch.cells import LaunchOptions, accelerators

        machine = self.machine(
            devices=self.devices,
            threads=self.threads,
            deterministic=self.deterministic,
            skip_broken=self.skip_broken,
        )
        per_device, gpus = self.trials_per_device, accelerators(self.device, self.devices)
        return LaunchOptions(machine, self.workers, self.launcher, per_device, gpus, self.gpus_per_cell)


def height_and_width(text: str, option: str) -> tuple[int, int]:
    """Height and width in pixels of `384x128`. Raises `StudyError`, naming the option, for anything else."""
    match = re.fullmatch(r"(\d{1,4})[xX×](\d{1,4})", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise StudyError([f"{option} takes height×width in pixels, like 384x128, not {text!r}"])
    return int(match[1]), int(match[2])
