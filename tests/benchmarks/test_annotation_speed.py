"""A million rows of a table are read in seconds."""

from __future__ import annotations

import csv
import resource
import time
from pathlib import Path

from factories import draw_person
from pytest_benchmark.fixture import BenchmarkFixture

from harness.data.dataset_files import load_folder
from harness.data.layout import Columns, Layout

ROWS, IMAGES = 1_000_000, 10_000


def test_a_million_rows_take_less_than_twenty_seconds_and_two_gigabytes(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    draw_person(tmp_path / "0.jpg", 0, 0)
    for number in range(1, IMAGES):
        (tmp_path / f"{number}.jpg").hardlink_to(tmp_path / "0.jpg")
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "person", "text", "split"])
        for row in range(ROWS):
            image = row % IMAGES
            text = f"A person in a red coat and blue trousers walks by with a black bag, sentence {row}"
            writer.writerow([f"{image}.jpg", image // 4, text, "test" if image >= 8_000 else "train"])
    layout = Layout(
        annotations=("table.csv",),
        images=".",
        rows="caption",
        columns=Columns(image=("image",), person=("person",), captions=("text",)),
    )
    # Seconds of the processor, so that other programs on the machine do not count; reading uses one core.
    began = time.process_time()
    dataset = benchmark.pedantic(load_folder, (layout, "table", tmp_path), rounds=1)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{ROWS:,} rows: {seconds:.1f} s, peak {peak / 1e9:.2f} GB")
    assert sum(len(split.captions) for split in dataset.splits.values()) == ROWS
    assert seconds < 20
    assert peak < 2e9
