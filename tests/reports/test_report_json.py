"""`report --json` and `verdicts.csv`: what a program reads, with numbers as numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import stores
from stores import Truth
from typer.testing import CliRunner

from harness.cli.verbs import app
from reports.verdicts import VERDICT_COLUMNS, read_verdicts

ASKED = (
    "dataset target direction metric scope family one other value low high se df p p_holm p_tost verdict "
    "seeds people look"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of two methods, one of a third, and a claim."""
    path = tmp_path_factory.mktemp("json") / "run"
    truth = Truth(
        {"uit": 60.0, "irra": 50.0, "once": 50.0},
        seeds=2,
        people=60,
        directions=("t2i",),
        failed={("once", 1): "nan"},
    )
    stores.write(path, truth)
    (path / "claims.yaml").write_text(
        "claims:\n  - {id: gain, better: uit, than: irra, dataset: rendered-plaza, size: 10}\n"
    )
    return path


def test_report_json_is_one_object_with_every_comparison_claim_and_look_in_numbers(folder: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    (report,) = json.loads(done.stdout)["reports"]
    rows = report["comparisons"]
    assert [tuple(row) for row in rows] == [VERDICT_COLUMNS] * 8
    for row in rows:
        assert all(isinstance(row[name], int | float) for name in ("value", "p", "p_holm", "p_tost", "seeds"))
    assert report["claims"][0]["id"] == "gain"
    assert set(report["claims"][0]["scopes"]) == {"people", "benchmark"}
    assert report["looks"] == {"number": 1, "planned": [], "taken": [2], "level": 0.05, "real_level": 0.05}
    assert Path(report["report"]).is_file()


def test_verdicts_csv_has_the_columns_in_order_and_its_numbers_are_numbers(folder: Path) -> None:
    assert " ".join(VERDICT_COLUMNS) == ASKED
    CliRunner().invoke(app, ["report", str(folder)])
    with (folder / "verdicts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == VERDICT_COLUMNS
    for row in rows:
        for name in VERDICT_COLUMNS[8:16]:
            float(row[name])
        assert row["look"] == "1"
        assert int(row["people"]) == 60
        assert row["family"] == (
            "primary" if (row["metric"], row["scope"]) == ("R1", "people") else "exploratory"
        )


def test_what_one_seed_cannot_tell_is_an_empty_field_a_null_and_none_when_read(tmp_path: Path) -> None:
    stores.write(tmp_path / "run", Truth({"7": 60.0, "nan": 50.0}, seeds=1, people=60, directions=("t2i",)))
    done = CliRunner().invoke(app, ["report", str(tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.output
    path = tmp_path / "run" / "verdicts.csv"
    with path.open(newline="") as file:
        texts = [row for row in csv.DictReader(file) if row["scope"] == "benchmark"]
    read = [row for row in read_verdicts(path) if row["scope"] == "benchmark"]
    answered = [
        row for row in json.loads(done.stdout)["reports"][0]["comparisons"] if row["scope"] == "benchmark"
    ]
    assert len(texts) == 2
    for text, row, plain in zip(texts, read, answered, strict=True):
        assert [text[name] for name in ("low", "high", "se")] == ["", "", ""]
        assert [row[name] for name in ("low", "high", "se")] == [None, None, None]
        assert {name: row[name] for name in ("one", "other", "seeds", "people")} == {
            "one": "nan",
            "other": "7",
            "seeds": 1,
            "people": 60,
        }
        assert row == pytest.approx(plain)
