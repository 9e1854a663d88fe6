"""`verify FOLDER`: cells are run again and compared, which needs the full installation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.cli.answers import answer, print_lines, refusals
from harness.cli.options import AnswerOptions
from harness.machine.errors import ExitCode


def verify_runs(runs: Sequence[Path], options: AnswerOptions, **asked: Any) -> ExitCode:
    """Verify folders of runs, or all below `runs`, and print what was found.

    Args:
        runs: the folders.
        options: where to run, and how to print.
        asked: keyword arguments of `harness.trust.verify.verify`: which cells are run again, and how.

    Returns:
        4 when something differs, else 0.
    """
    with refusals():
        from harness.cli.report import run_folders
        from harness.machine.display import shown
        from harness.trust.certificate import render
        from harness.trust.verify import verify

        machine = options.machine()
        with shown() as progress:
            certificates = verify(run_folders(runs), machine, progress=progress, **asked)
    found = {str(each.store): each.plain() for each in certificates}
    answer(found, options.as_json, lambda: render(certificates))
    print_lines([each.not_written for each in certificates if each.not_written])
    return ExitCode.DIFFERS if any(each.differences for each in certificates) else ExitCode.DONE
