"""The page of a study with caption noise: best and last epoch, what was found, apart from clean runs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import stores

import reports
from reports.comparison import ComparisonOptions

QUICK = ComparisonOptions(resamples=50)


def write_noisy(folder: Path, share: float, name: str) -> None:
    pairs = {"rde": {"trust": {"all": 0.5, "moved": 0.1, "in_place": 0.96}}}
    r1 = {"rde": 60.0, "rde-no-ccd": 52.0}
    stores.write(folder, stores.Truth(r1, people=60, caption_noise=share, pairs=pairs, name=name))


def rows(page: Path, start: str) -> list[dict[str, str]]:
    (table,) = (page.with_suffix("") / "tables").glob(f"{start}*.csv")
    return list(csv.DictReader(table.read_text().splitlines()))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noisy")
    write_noisy(folder, 0.5, "noisy")
    return folder


def test_best_and_last_epoch_and_the_moved_captions_that_were_found_stand_side_by_side(noisy: Path) -> None:
    made = reports.build([noisy], options=QUICK)
    rde, without = rows(made.path, "caption-noise")
    assert (rde["Method"], without["Method"]) == ("rde", "rde-no-ccd")
    assert rde["Moved captions found"].startswith("90")
    assert rde["Others lost"].startswith("4")
    assert {"R1, best epoch", "R1, last epoch"} <= rde.keys()
    assert float(rde["R1, best epoch"]) > float(without["R1, best epoch"])
    assert "caption noise 0.5" in made.path.read_text()


def test_runs_with_caption_noise_share_no_table_with_runs_without(noisy: Path, tmp_path: Path) -> None:
    write_noisy(tmp_path / "clean", 0.0, "clean")
    made = reports.build([noisy, tmp_path / "clean"], tmp_path / "both.html", options=QUICK)
    tables = made.path.with_suffix("") / "tables"
    results = [table for table in tables.glob("*.csv") if table.name.startswith("results-r1")]
    for table in results:
        text = table.read_text()
        assert not ("[noisy]" in text and "[clean]" in text), text
    assert len(rows(made.path, "caption-noise")) == 2
