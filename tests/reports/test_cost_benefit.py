"""The chapter on cost and benefit: the gain of the runs beside the cost that the same study measured."""

from __future__ import annotations

import json
from pathlib import Path

import stores
from stores import Truth

from reports.assemble import _context
from reports.comparison import ComparisonOptions
from reports.document import Figure, Section, Table
from reports.sections import cost_benefit, overhead


def measured(method: str, quantity: str, ratio: float) -> dict[str, object]:
    return {
        "method": method,
        "against": "uit-no-tir",
        "quantity": quantity,
        "value": 100 * ratio,
        "unit": "ms",
        "ratio": ratio,
        "low": ratio - 0.1,
        "high": ratio + 0.1,
    }


def section(folder: Path, entries: list[dict[str, object]]) -> Section | None:
    stores.write(folder, Truth(r1={"uit": 60.0, "uit-mlm": 50.0, "uit-no-tir": 40.0}, people=80, seeds=2))
    (folder / overhead.OVERHEAD).write_text(json.dumps(entries))
    return cost_benefit.section(_context([folder], folder / "report.html", ComparisonOptions(resamples=200)))


def test_the_gain_of_a_method_stands_beside_the_price_of_its_training_step(tmp_path: Path) -> None:
    entries = [
        measured("uit", "training step", 1.4),
        measured("uit", "parameters used", 1.2),
        measured("uit-mlm", "training step", 1.7),
    ]
    made = section(tmp_path / "run", entries)
    assert made is not None
    table = next(block for block in made.blocks if isinstance(block, Table))
    shown = {row[0].text: row for row in table.rows}
    assert set(shown) == {"uit", "uit-mlm"}  # the method measured against has no row of its own
    assert abs(float(shown["uit"][1].sort or 0) - 20) < 6
    assert abs(float(shown["uit-mlm"][1].sort or 0) - 10) < 6
    assert [cell.text for cell in shown["uit"][2:]] == ["1.40×", "1.20×"]
    assert [cell.text for cell in shown["uit-mlm"][2:]] == ["1.70×", "—"]
    assert any(isinstance(block, Figure) for block in made.blocks)


def test_a_method_whose_step_was_not_measured_has_no_place_in_the_chapter(tmp_path: Path) -> None:
    assert section(tmp_path / "run", [measured("uit", "parameters used", 1.2)]) is None
