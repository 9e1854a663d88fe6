"""What every verb does around its work: refuse in lines, answer as text or JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from harness.machine.errors import HarnessError


FULL_INSTALLATION = frozenset({
    "torch", "torchvision", "open_clip", "lightning_fabric", "optuna", "cmaes", "sqlalchemy", "sklearn",
    "textblob", "nltk", "filelock",
})  # fmt: skip
"""Packages of the project, as they are imported, that `requirements-review.txt` leaves out."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn an error that a user may meet into its lines on standard error and its exit code.

    An exception in a plugin's code is one of them (`PluginError`): a line with the plugin's file and line.

    Raises:
        typer.Exit: with the error's exit code, in place of such an error; others pass unchanged.
    """
    from harness.machine.errors import refusal_of
    from harness.machine.passwords import masked_text
    from harness.registry import plugin_fault

    try:
        yield
    except Exception as error:
        refusal = refusal_of(error) or plugin_fault(error)
        if refusal is None and isinstance(error, ModuleNotFoundError):
            refusal = _not_installed(error)
        if refusal is None:
            raise
        print_lines(map(masked_text, refusal.lines))
        raise typer.Exit(refusal.exit_code) from error


def _not_installed(error: ModuleNotFoundError) -> HarnessError | None:
    """Says that a package of the full installation is needed; None for any other module.

    With `requirements-review.txt` alone, evidence is checked and shown, and nothing is trained.
    """
    from harness.machine.errors import HarnessError

    package = (error.name or "").partition(".")[0]
    if package not in FULL_INSTALLATION:
        return None
    return HarnessError(
        f"this needs the full installation, {package} is missing: type `pip install -c constraints.txt -e .` "
        "in a clone of the harness; without it, `verify` and `report` of a bundle (.zip), `compare` and "
        "`import` work"
    )


def answer(value: Any, as_json: bool, render: Callable[[], None]) -> None:
    """Print a result: one JSON object, or what `render` prints for a person."""
    if as_json:
        print(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        render()


def replace_unknown_letters() -> None:
    """Let a terminal that lacks a letter, such as the minus sign, show a question mark instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_lines(lines: Iterator[str] | Sequence[str]) -> None:
    """Print lines on standard error."""
    for line in lines:
        print(line, file=sys.stderr)


def one_of(option: str, value: str | None, choices: Sequence[str]) -> None:
    """Raise `typer.BadParameter` unless an option that was given is one of its choices."""
    if value is not None and value not in choices:
        raise typer.BadParameter(f"{option} is one of {', '.join(choices)}, not {value!r}")
