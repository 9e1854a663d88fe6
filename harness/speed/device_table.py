"""The parts that `bench device` wrote, as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def device_table(stored: Sequence[Mapping[str, Any]]) -> str:
    """Parts that were measured, as a Markdown table; a step's figures stand in short."""
    lines = [
        "## Parts of `bench device`",
        "",
        "| part | what | result | s | device | date |",
        "|" + "---|" * 6,
    ]
    for record in stored:
        cells = (
            record["part"],
            record["what"],
            _short(record),
            record["seconds"],
            record["device"],
            record["date"],
        )
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _short(record: Mapping[str, Any]) -> str:
    if record["status"] != "done":
        return f"failed: {record['error']}"
    result = record["result"]
    numbers = result if isinstance(result, dict) else {"rows": len(result)}
    shown = {name: value for name, value in numbers.items() if isinstance(value, (int, float, str))}
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in shown.items()
    )
