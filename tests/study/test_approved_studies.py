"""What every shipped study trains, cell by cell and setting by setting, as it was last read and approved.

A change that was meant is approved by

    APPROVE=1 python -m pytest tests/study/test_approved_studies.py

and shows in the diff of `tests/study/approved/`, where it is to be read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.study.cell import Cell
from harness.study.shipped import shipped_studies
from harness.study.study import Study, load_study

APPROVED = Path(__file__).with_name("approved")


def described(study: Study) -> dict[str, Any]:
    """The study with its cells; settings that all cells share are listed once."""
    cells = study.cells()
    settings = {cell.method: plain(cell.all_settings()) for cell in cells}
    common = {
        key: value
        for key, value in settings[cells[0].method].items()
        if all(other.get(key) == value for other in settings.values())
    }
    return {
        "cells": [in_a_line(cell) for cell in cells],
        "settings of all": common,
        "settings of its own": {
            method: {key: value for key, value in own.items() if key not in common}
            for method, own in settings.items()
        },
        "notes": list(study.notes),
        "file": plain({key: value for key, value in study.resolved().items() if key != "methods"}),
    }


def in_a_line(cell: Cell) -> str:
    """What else tells a cell from others."""
    more = {"preset": cell.preset, "recipe": cell.recipe, "subset": cell.subset, "noise": cell.caption_noise}
    words = " ".join(f"{name}={value}" for name, value in more.items() if value)
    where, chosen = ", ".join(cell.targets), f"{cell.select.split}/{cell.select.metric}"
    return f"{cell.key} ({cell.base}) -> {where} by {chosen} {words}"


def plain(values: Any) -> Any:
    """Values as YAML has them."""
    if isinstance(values, dict):
        return {str(key): plain(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [plain(value) for value in values]
    return values if isinstance(values, (str, int, float, bool, type(None))) else str(values)


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_trains_what_was_approved(name: str) -> None:
    file = APPROVED / f"{name.replace('/', '-')}.yaml"
    found = described(load_study(shipped_studies()[name]))
    if os.environ.get("APPROVE") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(found, sort_keys=False, width=110))
    assert found == yaml.safe_load(file.read_text())


def test_nothing_is_approved_that_is_not_shipped() -> None:
    assert {file.stem for file in APPROVED.iterdir()} == {
        name.replace("/", "-") for name in shipped_studies()
    }
