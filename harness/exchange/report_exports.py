"""`report --export`: what a page says, in the files of other tools."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from harness.exchange import to_croissant, to_hub, to_mlflow, to_tensorboard
from harness.exchange.page_export import PageExport
from harness.machine.errors import StudyError
from harness.registry.errors import nearest
from reports.context import ReportContext

WRITERS: dict[str, Callable[[PageExport], None]] = {
    "tensorboard": to_tensorboard.write,
    "mlflow": to_mlflow.write,
    "hub": to_hub.write,
    "croissant": to_croissant.write,
}
NEEDED = {"tensorboard": "tensorboard", "mlflow": "mlflow"}
"""What must be installed for an export, by its name; the extra has the same name."""
SHOWN_WITH = {
    "tensorboard": "tensorboard --logdir {}",
    "mlflow": "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {}",
    "hub": "a folder for each model, to be put beside its weights; "
    "the Hub lists .eval_results of registered benchmarks: put their names in place of ours",
    "croissant": "mlcroissant validate --jsonld {}/NAME/croissant.json",
}


def export_names(text: str) -> list[str]:
    """The exports that a list separated by commas asks for.

    Raises:
        StudyError: an unknown name, with the nearest one, or a package that is not installed.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    mistakes = [_unknown(name) for name in names if name not in WRITERS]
    mistakes += [
        f"--export {name}: {NEEDED[name]} is not installed: pip install 'tipr-harness[{name}]'"
        for name in names
        if name in NEEDED and importlib.util.find_spec(NEEDED[name]) is None
    ]
    if mistakes:
        raise StudyError(mistakes)
    return names


def _unknown(name: str) -> str:
    close = nearest(name, WRITERS)
    hint = f"did you mean {close!r}?" if close else f"there are {', '.join(WRITERS)}"
    return f"--export: {name!r} is unknown; {hint}"


def write_exports(
    names: Sequence[str], context: ReportContext, page: Path, data_root: Path | None = None
) -> dict[str, Path]:
    """Write these exports into the folder beside a page; where each lies, by its name.

    Args:
        names: as `export_names` gave them.
        context: what the page was made from.
        page: the page's file.
        data_root: the folder below which datasets lie, if any.

    Raises:
        DataError: a dataset that shall be described is not here, or is not the one that was used.
    """
    written = {}
    for name in names:
        folder = page.with_suffix("") / name
        with _replaced(folder) as new:
            WRITERS[name](PageExport(context, new, folder, data_root))
        written[name] = folder
    return written


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """An empty folder to write into, which takes the place of `folder` once everything is written."""
    # A name of its own: MLflow remembers every store that it has opened, by its path.
    new = folder.with_name(f".{folder.name}.{uuid4().hex}")
    new.mkdir(parents=True)
    try:
        yield new
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def how_to_show(name: str, folder: Path) -> str:
    """A line that says where an export lies and how it is opened."""
    return f"{name}: {folder} ({SHOWN_WITH[name].format(folder)})"
