"""The real program in a process that starts at once, and that can be asked to halt within a stage."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from harness.cli import run  # noqa: F401  (imported once, by the process that the others are forked from)
from harness.cli.verbs import app
from harness.data import images
from harness.search import study as study_search  # noqa: F401
from harness.search.trial_queue import TrialQueue
from harness.store.cell_run import CellRun
from harness.train.loop import Trainer
from reports import assemble

STAGES: dict[str, tuple[Any, str]] = {
    "cache build": (images, "_close_gaps"),
    "search": (TrialQueue, "report"),
    "training": (Trainer, "end_step"),
    "checkpoint write": (torch, "save"),
    "evaluation": (CellRun, "save_records"),
    "end of a cell": (CellRun, "finish"),
    "report": (assemble, "_write_tables"),
}
"""By name: the function at whose first return the program halts, its work half done."""


def start(
    arguments: Sequence[object], errors: Path, *, halt_in: str = "", flag: Path = Path()
) -> BaseProcess:
    """Run `python -m harness ARGUMENTS`, with standard error in a file; it makes `flag` when it halts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["halting_program"])
    # The server that preloads does not know the import path of this process (before Python 3.13).
    here = Path(__file__).parent
    os.environ["PYTHONPATH"] = os.pathsep.join((str(here), str(here.parent)))
    words = [str(word) for word in arguments]
    process = context.Process(target=_program, args=(words, errors, halt_in, flag, dict(os.environ)))
    process.start()
    return process


def _program(words: list[str], errors: Path, halt_in: str, flag: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with errors.open("w") as file:
        os.dup2(file.fileno(), 2)
        os.dup2(file.fileno(), 1)
    torch.set_num_threads(1)
    if halt_in:
        _halt_after(*STAGES[halt_in], flag)
    sys.argv = ["harness", *words]
    app()


def _halt_after(place: Any, name: str, flag: Path) -> None:
    real = getattr(place, name)

    def halting(*arguments: Any, **named: Any) -> Any:
        result = real(*arguments, **named)
        flag.touch()
        # A process that is asked to stop lets a write in another thread come to its end.
        time.sleep(600 if threading.current_thread() is threading.main_thread() else 3)
        return result

    setattr(place, name, halting)
