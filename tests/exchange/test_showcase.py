"""The showcase: what its text says follows from the evidence beside it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from harness.cli.verify_bundle import verify_bundle
from harness.exchange import showcase
from harness.exchange.archives import unpack
from harness.exchange.bundling import bundled_runs
from harness.machine.generated_text import END, generated_part
from reports.assemble import ReportResult

SHOWCASE = showcase.ROOT / "reports" / "showcase"
KEPT = [name for name in showcase.STUDIES if (SHOWCASE / name).is_dir()]
CITED = re.compile(r"\((`[\w-]+`: [^)]+)\)")
"""`(`study`: `one` worse, `two` tied in mAP; `other study`: …)`: rows of `verdicts.csv` behind a sentence."""
ROW = re.compile(
    r"`([\w-]+)` (better|worse|tied|cannot tell)(?: from ([\w-]+))?(?: on ([\w-]+))?(?: in (mAP|R5|R10))?"
)


def written(path: Path) -> str:
    """The part of a README that people wrote."""
    before, _, rest = path.read_text("utf-8").partition(showcase.BEGIN)
    return before + rest.partition(END)[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReportResult]:
    """The report of every kept study, from its evidence alone, in which nothing is altered."""
    folder = tmp_path_factory.mktemp("kept")
    for name in KEPT:
        assert unpack(SHOWCASE / name / showcase.EVIDENCE, folder / "checked" / name) == []
    return showcase.read_kept(SHOWCASE, folder)


def test_every_question_has_its_evidence_page_and_tables_below_20_megabytes() -> None:
    assert KEPT
    for name in KEPT:
        assert {showcase.PAGE, *showcase.TABLES, showcase.EVIDENCE} <= {
            path.name for path in (SHOWCASE / name).iterdir()
        }
    assert sum(path.stat().st_size for path in SHOWCASE.rglob("*") if path.is_file()) < 20e6


@pytest.mark.parametrize("name", KEPT)
def test_every_number_and_verdict_follows_from_the_records(name: str) -> None:
    check = verify_bundle(SHOWCASE / name / showcase.EVIDENCE)
    assert check.differences == []
    assert check.cells > 0
    assert check.verdicts > 0


def test_what_the_readmes_say_was_found_follows_from_the_evidence(made: dict[str, ReportResult]) -> None:
    assert generated_part(SHOWCASE / "README.md", showcase.BEGIN) == showcase.findings(made)
    assert generated_part(showcase.ROOT / "README.md", showcase.BEGIN) == showcase.headlines(made)


@pytest.mark.parametrize(
    "page", [showcase.ROOT / "README.md", *SHOWCASE.rglob("*.md"), *SHOWCASE.rglob("*.html")]
)
def test_commands_and_folders_are_those_below_a_clone(page: Path) -> None:
    assert not re.findall(r"\S*/runs/\S*", page.read_text("utf-8")), "a folder of the machine that ran it"


def test_the_tables_beside_a_page_are_those_of_its_evidence(tmp_path: Path) -> None:
    for name in KEPT:
        unpack(SHOWCASE / name / showcase.EVIDENCE, tmp_path / name)
        (run,) = bundled_runs(tmp_path / name)
        for table in ("results.csv", "verdicts.csv"):
            assert (run / table).read_bytes() == (SHOWCASE / name / table).read_bytes()


def test_every_sentence_on_what_was_found_names_rows_that_say_so() -> None:
    text = written(SHOWCASE / "README.md").partition("## What it means")[2].partition("\n## ")[0]
    sentences = [" ".join(part.split()) for part in text.split("\n* ")[1:]]
    assert sentences
    for sentence in sentences:
        cited = CITED.findall(sentence)
        assert cited, sentence
        for rows in "; ".join(cited).split("; "):
            study, _, listed = rows.partition(": ")
            named = ROW.findall(listed)
            assert len(named) == listed.count("`") // 2
            for one, verdict, trained_on, dataset, metric in named:
                found = verdicts(study.strip("`"), one, trained_on, dataset, metric or "R1")
                assert found == {verdict}, f"{study}: {one}: {sentence}"


def verdicts(study: str, one: str, trained_on: str, dataset: str, metric: str) -> set[str]:
    """The verdicts for new people on a method in a study, searching images by captions.

    Where no dataset of training is named, all of the study count; where none of testing, the same one.
    """
    with (SHOWCASE / study / "verdicts.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = [
        row
        for row in rows
        if (row["one"], row["metric"], row["scope"], row["direction"]) == (one, metric, "people", "t2i")
        and row["dataset"] == (trained_on or row["dataset"])
        and row["target"] == (dataset or row["dataset"])
    ]
    assert found, f"{study}: no row of {one}"
    return {row["verdict"] for row in found}
