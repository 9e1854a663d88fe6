"""The dataset file in harness/data/README.md loads a folder as the text says."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from factories import draw_person

from harness.data import dataset_files
from harness.data.layout import presets, read_layout

README = Path(dataset_files.__file__).with_name("README.md")


def test_the_dataset_file_of_the_readme_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README.read_text("utf-8"), re.S)
    (tmp_path / "lab.dataset.yaml").write_text(block)
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "who", "text", "part"])
        for person, part in enumerate(("learn", "learn", "exam")):
            draw_person(tmp_path / f"photos/{person}.jpg", person, 0)
            writer.writerow([f"{person}.jpg", person, "a red coat, a bag", part])
    layout = read_layout(tmp_path / "lab.dataset.yaml")
    dataset = dataset_files.load_folder(layout, "lab", tmp_path)
    assert {name: split.counts()["captions"] for name, split in dataset.splits.items()} == {
        "train": 2,
        "test": 1,
    }


def test_the_readme_names_every_layout_and_every_module() -> None:
    text = README.read_text("utf-8")
    assert [name for name in presets() if f"`{name}`" not in text] == []
    modules = [path.name for path in README.parent.glob("*.py") if path.name != "__init__.py"]
    assert [name for name in modules if f"`{name}`" not in text] == []
