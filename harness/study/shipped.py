"""The studies that come with this project, found by name wherever the program is started."""

from __future__ import annotations

from pathlib import Path

from harness.machine.errors import StudyError
from harness.registry import nearest

FOLDER = Path(__file__).resolve().parents[2] / "studies"


def shipped_studies() -> dict[str, Path]:
    """By name, the file of each."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def study_path(given: Path) -> Path:
    """The file of a study that is given by its path, or by the name of a shipped one.

    Raises `StudyError` for a name that is neither, and for the path of a shipped study that is not there.
    """
    shipped = shipped_studies()
    if given.is_file():
        return given
    if str(given) in shipped:
        return shipped[str(given)]
    if not given.exists() and given.stem in shipped:
        raise StudyError([f"{given}: no such file; the study that is shipped runs by its name: {given.stem}"])
    if not given.exists() and not given.suffix and len(given.parts) == 1:
        close = nearest(str(given), shipped)
        hint = f": did you mean {close!r}?" if close else f"; shipped are {', '.join(shipped)}"
        raise StudyError([f"{given}: neither a file nor the name of a shipped study{hint}"])
    return given
