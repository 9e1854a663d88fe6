"""The studies that come with this project, found by name wherever the program is started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.machine.errors import StudyError
from harness.machine.paths import SOURCE
from harness.registry import mistyped, nearest

FOLDER = SOURCE / "studies"


def shipped_studies() -> dict[str, Path]:
    """By name, the file of each; those of a folder have its name before theirs, like `questions/mining`."""
    files = (*sorted(FOLDER.glob("*.yaml")), *sorted(FOLDER.glob("questions/*.yaml")))
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in files}


def study_path(given: Path) -> Path:
    """The file of a study that is given by its path, or by the name of a shipped one.

    Raises `StudyError` for a name that is neither, and for a path that is not there where a study is called
    like it.
    """
    shipped = shipped_studies()
    if given.is_file():
        return given
    if str(given) in shipped:
        return shipped[str(given)]
    same_file = next((name for name, path in shipped.items() if path.name == f"{given.stem}.yaml"), None)
    if not given.exists() and same_file:
        raise StudyError([f"{given}: no such file; the study that is shipped runs by its name: {same_file}"])
    if not given.exists() and not given.suffix and len(given.parts) == 1:
        close = nearest(str(given), shipped)
        hint = f": did you mean {close!r}?" if close else f"; shipped are {', '.join(shipped)}"
        raise StudyError([f"{given}: neither a file nor the name of a shipped study{hint}"])
    if not given.exists() and (close := _similar(given, shipped)):
        raise StudyError([f"{given}: no such file: did you mean {close}?"])
    return given


def _similar(given: Path, shipped: Mapping[str, Path]) -> str:
    """A study file beside a path that is not there, or else a shipped study, of a name like it; or empty."""
    beside = {path.name: path for path in sorted(given.parent.glob("*.y*ml"))}
    if close := mistyped(given.name, beside):
        return repr(str(beside[close]))
    known = mistyped(given.stem, shipped)
    return f"the shipped study {known!r}" if known else ""
