"""The pictures of the page: each beside the dataset and the method that it belongs to."""

from __future__ import annotations

from pathlib import Path

import stores
from stores import Truth

from harness.store import pictures
from reports.comparison import ComparisonOptions
from reports.context import ReportContext
from reports.document import TemplateBlock
from reports.published import published
from reports.sections import sheets
from reports.stored_runs import read

DATASETS = ("rendered-plaza", "rendered-campus", "rendered-station")


def pruned_blocks(*folders: Path) -> dict[str, list[tuple[str, str]]]:
    """What the page shows of pruned captions, by title."""
    context = ReportContext(read(list(folders)), (), ComparisonOptions(resamples=300), published())
    section = sheets.section(context)
    blocks = section.blocks if section is not None else ()
    return {
        block.values["title"]: block.values["examples"]
        for block in blocks
        if isinstance(block, TemplateBlock)
    }


def keep_pruned(folder: Path, dataset: str, data: str, count: int, tagger: str = "pattern 1") -> None:
    captions = {f"a man of {dataset} {n} in {folder.name}": f"man {dataset} {n}" for n in range(count)}
    pictures.write_pruned(folder, dataset, data, tagger, captions)


def trained_on(folder: Path) -> dict[str, str]:
    """The fingerprint of what each dataset's cells were trained on."""
    found = read([folder]).cells
    return {cell.dataset: str(cell.parts["dataset"]["fingerprint"]) for cell in found if cell.parts}


def test_every_dataset_shows_its_own_captions_before_and_after_pruning(tmp_path: Path) -> None:
    truth = Truth(r1={"uit": 60.0, "baseline": 55.0}, seeds=1, people=10, datasets=DATASETS)
    stores.write(tmp_path, truth)
    data = trained_on(tmp_path)
    for count, dataset in enumerate(DATASETS[1:], 2):
        keep_pruned(tmp_path, dataset, data[dataset], count)
    keep_pruned(tmp_path, DATASETS[0], data[DATASETS[1]], 1)  # left of other data: not shown
    shown = pruned_blocks(tmp_path)
    titles = {
        f"Captions of {name} before and after pruning, tagged by pattern 1": name for name in DATASETS[1:]
    }
    assert list(shown) == list(titles)
    for count, (title, dataset) in enumerate(titles.items(), 2):
        assert len(shown[title]) == count
        assert all(
            dataset in caption and pruned == f"man {dataset} {number}"
            for number, (caption, pruned) in enumerate(shown[title])
        )


def test_a_dataset_of_two_runs_shows_its_pruned_captions_once_and_no_more_than_a_dozen(
    tmp_path: Path,
) -> None:
    for name in ("first", "second"):
        stores.write(tmp_path / name, Truth(r1={"uit": 60.0}, seeds=1, people=10, name=name))
        data = trained_on(tmp_path / name)["rendered-plaza"]
        keep_pruned(tmp_path / name, "rendered-plaza", data, 40)
    ((title, examples),) = pruned_blocks(tmp_path / "first", tmp_path / "second").items()
    assert "rendered-plaza" in title
    assert len(examples) == sheets.PRUNED
    assert all(caption.endswith("in first") for caption, _ in examples)
