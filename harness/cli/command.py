"""How the program reads its arguments: as typer does, but an option that is given twice is no accident."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand


class StrictCommand(TyperCommand):
    """A command that refuses a second value for an option that takes one; click would drop the first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of one call.

        Raises:
            typer.BadParameter: an option that takes one value was given twice.
        """
        _, _, parameters = self.make_parser(ctx).parse_args(list(args))
        for parameter in parameters:
            takes_one = not parameter.multiple and parameter.param_type_name == "option"
            if takes_one and not getattr(parameter, "is_flag", False) and parameters.count(parameter) > 1:
                raise typer.BadParameter("given more than once", ctx=ctx, param_hint=repr(parameter.opts[0]))
        return super().parse_args(ctx, args)


class StrictTyper(typer.Typer):
    """A typer app whose commands are strict."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """Register a command."""
        return super().command(name, **{"cls": StrictCommand, **settings})


def completion_of_a_module() -> str:
    """Why `python -m harness` completes nothing, where it is asked to: a shell completes programs."""
    as_module = Path(sys.argv[0]).name == "__main__.py"
    asked = next(
        (word for word in sys.argv[1:2] if word in ("--show-completion", "--install-completion")), ""
    )
    if not asked or not as_module:
        return ""
    return f"a shell completes a program by its name, not `python -m harness`: type `harness {asked}`"
