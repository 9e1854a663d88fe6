"""The folder beside a page holds what the page shows, and the user's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stores
from stores import Truth

import reports
from harness.cli.verify_bundle import verify_bundle
from harness.exchange.bundling import write_bundle
from reports.comparison import ComparisonOptions
from reports.figures import FigureWriter

QUICK = ComparisonOptions(resamples=50)
METHODS = {"uit": 60.0, "weak": 45.0}


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "report" / "tables").iterdir()}


def test_a_study_that_was_reported_while_unfinished_and_then_finished_is_reproduced_from_its_bundle(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    truth = Truth(r1=METHODS, people=40, seeds=2)
    stores.write(run, truth, unstarted=frozenset({"weak"}))
    reports.build([run])
    assert "unfinished.csv" in names(run)
    stores.write(run, truth)
    bundle = write_bundle([run])
    assert not {name for name in names(run) if name.startswith("unfinished")}
    assert verify_bundle(bundle.path).differences == []


def test_what_a_user_put_or_changed_beside_the_page_stays(tmp_path: Path) -> None:
    run = tmp_path / "run"
    truth = Truth(r1=METHODS, people=40, seeds=2)
    stores.write(run, truth, unstarted=frozenset({"weak"}))
    reports.build([run], options=QUICK)
    tables = run / "report" / "tables"
    (tables / "mine.csv").write_text("my own")
    (tables / "unfinished.md").write_text("my notes on what is missing")
    stores.write(run, truth)
    reports.build([run], options=QUICK)
    assert (tables / "mine.csv").read_text() == "my own"
    assert (tables / "unfinished.md").is_file()
    assert not (tables / "unfinished.csv").exists()


def test_a_list_of_written_files_that_was_altered_removes_nothing_outside_the_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    stores.write(run, Truth(r1=METHODS, people=40, seeds=2))
    (outside := tmp_path / "precious").write_bytes(b"")
    reports.build([run], options=QUICK)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (run / "report" / "written.json").write_text(f'{{"../../precious": "{empty}"}}')
    reports.build([run], options=QUICK)
    assert outside.is_file()


def test_a_figure_file_that_was_altered_or_is_of_other_data_is_drawn_again_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    draw = FigureWriter._draw

    def noted(drawing: Any, pdf: Path, png: Path) -> None:
        drawn.append(pdf.stem)
        draw(drawing, pdf, png)

    monkeypatch.setattr(FigureWriter, "_draw", staticmethod(noted))
    run = tmp_path / "run"
    stores.write(run, Truth(r1=METHODS, people=40, seeds=2))
    reports.build([run], options=QUICK)
    assert drawn
    every = {path: path.read_bytes() for path in (run / "report" / "figures").iterdir()}
    drawn.clear()
    reports.build([run], options=QUICK)
    assert drawn == []
    altered = next(path for path in every if path.suffix == ".png")
    altered.write_bytes(b"another picture")
    reports.build([run], options=QUICK)
    assert drawn == [altered.stem]
    assert {path: path.read_bytes() for path in (run / "report" / "figures").iterdir()} == every
    drawn.clear()
    stores.write(run, Truth(r1={"uit": 60.0, "weak": 20.0}, people=40, seeds=2))
    reports.build([run], options=QUICK)
    assert drawn
