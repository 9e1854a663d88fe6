"""The verb `bundle`: the evidence of runs in one archive that anybody can check without torch."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.exchange.archives import MANIFEST, stored_once, write_archive
from harness.exchange.checklists import answered, checklists
from harness.exchange.ro_crate import METADATA, crate
from harness.machine.errors import StudyError
from harness.store.runs import RunStore

README = "README.md"
CHECKLISTS = {"neurips-checklist.md": "neurips", "reforms.md": "reforms"}
_KEPT = (".json", ".jsonl", ".yaml", ".csv", ".html", ".md", ".txt")
_FOLDERS = ("report/tables", "plugins", "data", "pictures")
_CELL = ("*.json", "*.jsonl", "error.txt", "records/*.parquet", "restorations.parquet")
_README = """# Evidence bundle

Made by `python -m harness bundle`. Check it without torch, and see it as a page. The first line is typed in a
clone of the harness, where `requirements-review.txt` lies:

    pip install -r requirements-review.txt && pip install --no-deps .
    python -m harness verify {name}
    python -m harness report {name}

`verify` computes numbers, verdicts and claims again from the per-query records. Whether these are the records
of the training is seen by training again, with the full installation (in the clone,
`pip install -c constraints.txt -e .`) and in the folder that `report` unpacked:

    python -m harness verify {stem}-bundle/{run} --cells 1       # one cell, drawn
    python -m harness verify {stem}-bundle/{run} --cell NAME     # this one; NAME is a folder below cells/

`ro-crate-metadata.json` describes the files, `manifest.json` has their checksums (of records with equal bytes
one is stored, and the others are restored by `verify` and `report`), `neurips-checklist.md` and `reforms.md`
answer two checklists as far as the files do, and say "not known" otherwise.
"""


@dataclass(frozen=True)
class Bundle:
    """What was written: the archive, its size in bytes, and how many files are in it."""

    path: Path
    size: int
    files: int


def write_bundle(runs: Sequence[Path], out: Path | None = None, *, weights: bool = False) -> Bundle:
    """Report on each run anew and write the evidence of all into one archive.

    Args:
        runs: folders of runs.
        out: the archive; default: named like the first run, beside it.
        weights: put the models in as well.

    Raises:
        StudyError: a run without a finished cell, two folders of one name, or an archive that is no `.zip`.
    """
    from reports.assemble import build

    path = out or runs[0].absolute().with_name(f"{runs[0].absolute().name}.zip")
    names = [run.absolute().name for run in runs]
    mistakes = [f"{path}: a bundle ends in .zip"] if path.suffix != ".zip" else []
    mistakes += [f"{name}: two runs have this name" for name in sorted(set(names)) if names.count(name) > 1]
    mistakes += [f"{run}: no finished cell, so no evidence" for run in runs if not _finished(run)]
    if mistakes:
        raise StudyError(mistakes)
    contents: dict[str, Path | bytes] = {}
    for run, name in zip(runs, names, strict=True):
        # Of `.` the page would say no folder's name.
        build([run if run.name else run.absolute()])
        contents |= {f"{name}/{file.relative_to(run).as_posix()}": file for file in _files(run, weights)}
    contents["README.md"] = _README.format(name=path.name, stem=path.stem, run=names[0]).encode()
    contents |= {file: text.encode() for file, text in _answers(contents).items()}
    described = json.dumps(crate(names, stored_once(contents)), indent=1, ensure_ascii=False)
    write_archive(path, {**contents, METADATA: described.encode()})
    return Bundle(path, path.stat().st_size, len(contents) + 2)


def texts(folder: Path) -> dict[str, str]:
    """The texts beside the runs of an unpacked bundle, made again: its README and two checklists, by name.

    What the bundle and its first run are called is taken from its own README.
    """
    readme = (folder / README).read_text("utf-8") if (folder / README).is_file() else ""
    name, run = (re.search(pattern, readme) for pattern in (r"verify (\S+\.zip)", r"-bundle/(\S+) --cells"))
    called = name[1] if name else f"{folder.name}.zip"
    first = run[1] if run else bundled_runs(folder)[0].name
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    files = [path for path in paths if path not in (MANIFEST, METADATA, *CHECKLISTS)]
    return {README: _README.format(name=called, stem=Path(called).stem, run=first), **_answers(files)}


def _answers(files: Collection[str]) -> dict[str, str]:
    return {file: answered(checklists()[name], files) for file, name in CHECKLISTS.items()}


def _finished(run: Path) -> bool:
    return any(cell.status.state == "done" for cell in RunStore(run).cells())


def _files(run: Path, weights: bool) -> Iterator[Path]:
    """The files of a run that are evidence: its own, and those of the cells that count."""
    yield from (file for file in _plain_files(run.iterdir()) if file.suffix in _KEPT)
    for folder in _FOLDERS:
        yield from _plain_files((run / folder).rglob("*"))
    for cell in RunStore(run).cells():
        for pattern in (*_CELL, *(["model-*.safetensors"] if weights else [])):
            yield from _plain_files(cell.directory.glob(pattern))


def _plain_files(paths: Iterable[Path]) -> list[Path]:
    """The files among paths, sorted, without hidden ones, which other programs leave."""
    return sorted(path for path in paths if path.is_file() and not path.name.startswith("."))


def bundled_runs(folder: Path) -> list[Path]:
    """The runs of an unpacked bundle. Raises `StudyError` when it holds none."""
    found = sorted(path.parent for path in folder.glob("*/study.yaml"))
    if not found:
        raise StudyError([f"{folder.name}: the bundle holds no run (no study.yaml)"])
    return found


def render(bundle: Bundle) -> None:
    """Print what was written for a person."""
    print(f"{bundle.path}: {bundle.files} files, {bundle.size / 2**20:.1f} MiB")
    print(f"check it: python -m harness verify {bundle.path}")
