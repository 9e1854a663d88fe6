"""`verify BUNDLE`: everything that follows from the records computed again, without torch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.cli.answers import answer, refusals
from harness.exchange.archives import unpack
from harness.exchange.bundling import bundled_runs, texts
from harness.exchange.ro_crate import METADATA, code_of_texts, misdescribed, written_by
from harness.machine.errors import ExitCode, StudyError
from harness.machine.words import plural
from harness.trust import made_again
from harness.trust.bundled_run import RunCheck, check_run

NAMED = 3
"""Files named in a sentence; the others are counted."""
ONLY_TRAINING_TELLS = (
    "whether a training gave these records is not seen here: a forgery with all checksums and seals renewed "
    "is found only by training again (`report` unpacks the bundle, `verify FOLDER --cell NAME` trains)"
)


@dataclass
class BundleCheck:
    """What a verification of a bundle found."""

    path: Path
    runs: list[str] = field(default_factory=list)
    cells: int = 0
    records: int = 0
    verdicts: int = 0
    claims: int = 0
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was not compared, and why."""
    trusted: list[str] = field(default_factory=list)
    """What cannot be computed again, and is believed."""

    def add(self, run: RunCheck) -> None:
        """Count what was found in one of its runs."""
        self.runs.append(run.name)
        for name in ("cells", "records", "verdicts", "claims"):
            setattr(self, name, getattr(self, name) + getattr(run, name))
        self.differences += [f"{run.name}/{text}" for text in run.differences]
        self.differences += [f"{run.name}: {text}" for text in run.about]
        self.notes += [f"{run.name}: {text}" for text in run.notes]
        self.trusted += [text for text in run.trusted if text not in self.trusted]

    def plain(self) -> dict[str, Any]:
        """As printed by `--json`."""
        verdict = "differs" if self.differences else "reproduced"
        return {**asdict(self), "path": str(self.path), "verdict": verdict}


def verify_bundle(path: Path) -> BundleCheck:
    """Unpack a bundle aside and compute again what it says.

    Raises:
        BundleError: it is damaged or unsafe.
    """
    check = BundleCheck(path)
    with tempfile.TemporaryDirectory(prefix="bundle-") as aside:
        folder = Path(aside)
        check.differences += unpack(path, folder)
        metadata = _metadata(folder)
        other_version = written_by(metadata) != code_of_texts()
        check.differences += _beside_runs(check, folder, metadata, other_version)
        for run in bundled_runs(folder):
            found = check_run(run, other_version=other_version)
            found.differences = [text.replace(f"{run}/", "") for text in found.differences]
            check.add(found)
    check.trusted.append(f"license and dates in {METADATA}")
    return check


def _metadata(folder: Path) -> Any:
    try:
        return json.loads((folder / METADATA).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _beside_runs(check: BundleCheck, folder: Path, metadata: Any, other_version: bool) -> Iterator[str]:
    """What of the texts beside the runs is not what the files give."""
    if metadata is None:
        yield f"{METADATA} is gone or damaged"
    elif wrong := misdescribed(metadata, folder):
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        yield f"{METADATA}: describes other files than these: {', '.join(wrong[:NAMED])}{more}"
    for name, again in texts(folder).items():
        if not (folder / name).is_file():
            yield f"{name} is gone"
            continue
        written = (folder / name).read_text("utf-8", errors="replace")
        found = list(made_again.passages(written, again, name))
        if found and other_version:
            check.notes.append(f"{name}: not in the words of this version of the harness, so not compared")
        else:
            yield from found


def render(check: BundleCheck) -> None:
    """Print what was found for a person."""
    print(
        f"{check.path}: {', '.join(check.runs)}; {plural(check.cells, 'finished cell')}, "
        f"{plural(check.records, 'record')}, "
        f"{plural(check.verdicts, 'verdict')} and {plural(check.claims, 'claim')} computed again"
    )
    for text in check.notes:
        print(f"  note: {text}")
    print(f"  taken on trust: {'; '.join(check.trusted)}")
    for text in check.differences:
        print(f"  differs: {text}")
    print(f"  {ONLY_TRAINING_TELLS}")
    print(f"  {'differs' if check.differences else 'reproduced'}")


def _unpack_first(path: Path) -> str:
    unpacked = f"{path.with_name(path.stem)}-bundle/RUN"
    return (
        f"{path}: nothing of a bundle is run; unpack it with `report {path}`, then `verify {unpacked}` "
        "with these options trains cells again"
    )


def verify_bundles(paths: Sequence[Path], as_json: bool, *, asks_to_run: bool = False) -> ExitCode:
    """Verify bundles and print what was found. They must be alone: runs are verified by running them.

    `asks_to_run`: cells were asked to be run again, which is refused.
    """
    with refusals():
        if asks_to_run:
            raise StudyError([_unpack_first(path) for path in paths if path.suffix == ".zip"])
        if others := [path for path in paths if path.suffix != ".zip"]:
            raise StudyError([f"{path}: a run; verify it apart from bundles" for path in others])
        checked = [verify_bundle(path) for path in paths]

    def shown() -> None:
        for check in checked:
            render(check)

    answer({str(check.path): check.plain() for check in checked}, as_json, shown)
    return ExitCode.DIFFERS if any(check.differences for check in checked) else ExitCode.DONE
