"""Dataset files: every layout loads by a short YAML, as the same data, and every mistake in one is named."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest
from factories import draw_person, sentence
from own_registry import without_plugins
from pyarrow import parquet

from harness import registry
from harness.data.dataset import Dataset
from harness.data.dataset_files import register_dataset_file
from harness.data.datasets import load_dataset
from harness.data.layout import presets, read_layout
from harness.machine.errors import DataError

PERSONS = {"train": (2, 5), "test": (7, 11)}
"""Two views each, so eight images."""


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    without_plugins(monkeypatch)


def records(captions: int = 2) -> list[dict[str, Any]]:
    """The data that every layout below holds: split, person, view and captions of each image."""
    return [
        {
            "split": split,
            "person": person,
            "view": view,
            "captions": [sentence(person, view * 2 + number) for number in range(captions)],
        }
        for split, persons in PERSONS.items()
        for person in persons
        for view in range(2)
    ]


def drawn(folder: Path, row: dict[str, Any], name: str) -> str:
    draw_person(folder / name, row["person"], row["view"])
    return name


def name_of(row: dict[str, Any]) -> str:
    return f"{row['person']:04d}_c1s1_00000{row['view']}_00.jpg"


def reference(folder: Path, rows: list[dict[str, Any]]) -> Dataset:
    """The same data in the layout of CUHK-PEDES."""
    root = folder / "CUHK-PEDES"
    content = [
        {
            "split": row["split"],
            "id": row["person"],
            "file_path": drawn(root / "imgs", row, name_of(row)).removeprefix("imgs/"),
            "captions": row["captions"],
        }
        for row in rows
    ]
    (root / "reid_raw.json").write_text(json.dumps(content))
    return load_dataset("cuhk-pedes", folder)


def dump(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def cuhk(
    folder: Path, rows: list[dict[str, Any]], key: str = "file_path", name: str = "reid_raw.json"
) -> None:
    made = [
        {
            "split": row["split"],
            "id": row["person"],
            key: drawn(folder / "imgs", row, name_of(row)),
            "captions": row["captions"],
        }
        for row in rows
    ]
    dump(folder / name, made)


def icfg(folder: Path, rows: list[dict[str, Any]]) -> None:
    cuhk(folder, rows, name="ICFG-PEDES.json")


def rstp(folder: Path, rows: list[dict[str, Any]]) -> None:
    cuhk(folder, rows, "img_path", "data_captions.json")


def tbps_clip(folder: Path, rows: list[dict[str, Any]]) -> None:
    for split in PERSONS:
        mine = [
            {
                "id": row["person"],
                "file_path": drawn(folder / "imgs", row, name_of(row)),
                "captions": row["captions"],
                "captions_bt": ["translated back"] * len(row["captions"]),
            }
            for row in rows
            if row["split"] == split
        ]
        dump(folder / f"{split}_reid.json", mine)


def aptm(folder: Path, rows: list[dict[str, Any]]) -> None:
    def of(row: dict[str, Any], caption: Any) -> dict[str, Any]:
        name = drawn(folder, row, f"CUHK-PEDES/{name_of(row)}")
        return {"image": name, "image_id": row["person"], "caption": caption}

    train = [of(row, text) for row in rows if row["split"] == "train" for text in row["captions"]]
    dump(folder / "cuhk_train.json", train)
    dump(folder / "cuhk_test.json", [of(row, row["captions"]) for row in rows if row["split"] == "test"])


def shards(folder: Path, rows: list[dict[str, Any]]) -> None:
    for shard, split in enumerate(PERSONS):
        mine = [
            {
                "image": drawn(folder, row, f"{shard}/{name_of(row)}"),
                "image_id": row["person"],
                "label": 0,
                "caption": text,
            }
            for row in rows
            if row["split"] == split
            for text in row["captions"]
        ]
        dump(folder / f"shard-{split}.json", mine)


def synth(folder: Path, rows: list[dict[str, Any]]) -> None:
    for split in PERSONS:
        mine = [
            {
                "id": row["person"],
                "file_path": drawn(folder, row, f"Part1/{name_of(row)}"),
                "captions": row["captions"],
            }
            for row in rows
            if row["split"] == split
        ]
        dump(folder / f"{split}.json", mine)


def iiitd(folder: Path, rows: list[dict[str, Any]]) -> None:
    for split in PERSONS:
        mine = [
            {
                "Image ID": drawn(folder / "images", row, name_of(row)),
                "Description 1": row["captions"][0],
                "Description 2": row["captions"][1],
                "person": row["person"],
            }
            for row in rows
            if row["split"] == split
        ]
        dump(folder / f"{split}.json", mine)


def image_folder(folder: Path, rows: list[dict[str, Any]]) -> None:
    for split, ending in (("train", "csv"), ("test", "jsonl")):
        mine = [
            {
                "file_name": drawn(folder / split, row, name_of(row)),
                "person_id": row["person"],
                "text": text,
            }
            for row in rows
            if row["split"] == split
            for text in row["captions"]
        ]
        path = folder / split / f"metadata.{ending}"
        if ending == "csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(mine[0]))
                writer.writeheader()
                writer.writerows(mine)
        else:
            path.write_text("\n".join(map(json.dumps, mine)))


def coco(folder: Path, rows: list[dict[str, Any]]) -> None:
    for split in PERSONS:
        mine = [row for row in rows if row["split"] == split]
        images = [
            {
                "id": number,
                "file_name": drawn(folder, row, f"{split}2026/{name_of(row)}"),
                "person_id": row["person"],
            }
            for number, row in enumerate(mine)
        ]
        annotations = [
            {"image_id": number, "caption": text}
            for number, row in enumerate(mine)
            for text in row["captions"]
        ]
        dump(folder / f"captions_{split}2026.json", {"images": images, "annotations": annotations})


def market(folder: Path, rows: list[dict[str, Any]]) -> None:
    folders = {"train": "bounding_box_train", "test": "bounding_box_test"}
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for row in rows:
            name = drawn(folder, row, f"{folders[row['split']]}/{name_of(row)}")
            writer.writerows([name, text] for text in row["captions"])
        writer.writerow(["bounding_box_test/-1_c1s1_000001_00.jpg", "a distractor"])


Case = tuple[str, Callable[..., None], str]
CASES: list[Case] = [
    ("cuhk-pedes", cuhk, "like: cuhk-pedes"),
    ("icfg-pedes", icfg, "like: icfg-pedes"),
    ("rstpreid", rstp, "like: rstpreid"),
    ("ufine6926", cuhk, "like: ufine6926"),
    ("tbps-clip", tbps_clip, "like: tbps-clip"),
    ("aptm", aptm, "like: aptm"),
    ("mals", shards, "like: mals\nonly: ''\nannotations: {train: shard-train.json, test: shard-test.json}"),
    ("synth-pedes", synth, "like: synth-pedes\nonly: ''\nannotations: {train: train.json, test: test.json}"),
    ("iiitd-20k", iiitd, "like: iiitd-20k\ncolumns: {person: person}"),
    ("hf-imagefolder", image_folder, "like: hf-imagefolder"),
    ("coco", coco, "like: coco"),
    ("market1501", market, "like: market1501"),
]


def registered(folder: Path, text: str) -> str:
    path = folder / "lab.dataset.yaml"
    path.write_text(text)
    return register_dataset_file(path)


def test_there_is_a_fixture_of_every_shipped_layout() -> None:
    assert tuple(sorted(name for name, _, _ in CASES)) == presets()


@pytest.mark.parametrize("case", CASES, ids=[name for name, _, _ in CASES])
def test_a_layout_loads_by_a_short_file_with_the_fingerprint_of_the_same_data_in_cuhk_layout(
    case: Case, tmp_path: Path
) -> None:
    _, write, text = case
    rows, folder = records(), tmp_path / "lab"
    folder.mkdir()
    write(folder, rows)
    assert len(text.splitlines()) <= 12
    dataset = load_dataset(registered(folder, text), None)
    expected = reference(tmp_path, rows)
    assert dataset.fingerprint == expected.fingerprint
    assert dataset.splits["test"].persons == ("7", "11")
    assert not dataset.official


def test_a_person_pattern_reads_the_name_of_the_file_and_not_its_folders(tmp_path: Path) -> None:
    """Days and cameras have numbers too: `day3/cam1/0007_c1s1_…` shows person 7."""
    content = [
        {
            "split": row["split"],
            "file_path": drawn(tmp_path / "lab/imgs", row, f"day3/cam{row['view']}/{name_of(row)}"),
            "captions": row["captions"],
        }
        for row in records()
    ]
    dump(tmp_path / "lab/list.json", content)
    text = "annotations: list.json\nimages: imgs\nperson_pattern: '(?P<person>\\d+)'"
    splits = load_dataset(registered(tmp_path / "lab", text), None).splits
    assert splits["test"].persons == ("7", "11")
    assert {*splits["train"].persons, *splits["val"].persons} == {"2", "5"}  # val is carved from train


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_of_captions_with_its_own_columns_loads_from_every_format(
    ending: str, tmp_path: Path
) -> None:
    rows = records()
    (tmp_path / "lab/photos").mkdir(parents=True)
    table = [
        {
            "photo": drawn(tmp_path / "lab/photos", row, name_of(row)),
            "who": row["person"],
            "said": text,
            "part": {"train": "learn", "test": "exam"}[row["split"]],
        }
        for row in rows
        for text in row["captions"]
    ]
    path = tmp_path / f"lab/table.{ending}"
    if ending == "parquet":
        parquet.write_table(arrow.Table.from_pylist(table), path)
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, table)))
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(table[0]), delimiter="\t" if ending == "tsv" else ",")
            writer.writeheader()
            writer.writerows(table)
    text = (
        f"annotations: table.{ending}\nimages: photos\nrows: caption\nsplits: {{learn: train, exam: test}}\n"
        "columns: {image: photo, person: who, captions: said, split: part}"
    )
    dataset = load_dataset(registered(tmp_path / "lab", text), None)
    assert dataset.fingerprint == reference(tmp_path, rows).fingerprint


def test_a_dataset_of_a_test_split_alone_loads_and_has_nothing_to_train_on(tmp_path: Path) -> None:
    cuhk(tmp_path, [row for row in records() if row["split"] == "test"])
    dataset = load_dataset(registered(tmp_path, "like: ufine6926\nonly: test"), None)
    assert set(dataset.splits) == {"test"}
    assert dataset.fingerprint


def test_a_dataset_without_the_splits_it_should_have_is_refused(tmp_path: Path) -> None:
    cuhk(tmp_path, [row for row in records() if row["split"] == "test"])
    with pytest.raises(DataError, match="no usable record of the split 'train'"):
        load_dataset(registered(tmp_path, "like: cuhk-pedes"), None)


def test_two_datasets_train_together_with_their_identities_kept_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cuhk(tmp_path / name, records())
        registered(tmp_path / name, f"name: {name}\nlike: cuhk-pedes")
    alone, both = load_dataset("a", None), load_dataset("a+b", None)
    assert both.splits["test"].persons == ("a/7", "a/11", "b/7", "b/11")
    assert both.splits["train"].counts() == {
        kind: 2 * number for kind, number in alone.splits["train"].counts().items()
    }
    second = both.splits["test"].captions.index(alone.splits["test"].captions[0], 1)
    assert both.splits["test"].caption_person[second] == 2
    assert (
        both.splits["test"]
        .image_paths[both.splits["test"].caption_image[second]]
        .is_relative_to(tmp_path / "b")
    )
    assert len(both.digests["test"]) == len(both.splits["test"].image_paths)
    assert registry.dataset("a+b").name == "a+b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("like: cuhk", "lab.dataset.yaml:1: like: unknown layout 'cuhk', did you mean 'cuhk-pedes'?"),
        ("images: imgs\nanotations: a.json", ":2: anotations: unknown key, did you mean 'annotations'?"),
        ("columns: {pictures: x}", ":1: columns.pictures: unknown key"),
        ("images: ../elsewhere", ":1: images: must be a folder below"),
        ("person_pattern: '(\\d+)'", ":1: person_pattern: needs a group"),
        ("person_pattern: '('", ":1: person_pattern: is no regular expression"),
        ("splits: {exam: tset}", ":1: splits: Input should be"),
        ("images: [", "not YAML"),
        ("just words", "not a dataset file"),
        ("images: !!python/object/apply:os.system ['true']", "images"),
    ],
)
def test_every_mistake_in_a_dataset_file_is_named_with_its_line(
    text: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "lab.dataset.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_layout(path)
    assert expected in "\n".join(caught.value.lines)


def test_a_key_written_twice_in_a_dataset_file_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "lab.dataset.yaml"
    path.write_text(
        "annotations: a.csv\nimages: one\nimages: two\ncolumns: {image: file, image: path}\n"
        "splits:\n  exam: test\n  learn: train\n  exam: val\n"
    )
    with pytest.raises(DataError) as caught:
        read_layout(path)
    assert caught.value.lines == [
        f"{path}:3: images: written twice, first in line 2",
        f"{path}:4: columns.image: written twice, first in line 4",
        f"{path}:8: splits.exam: written twice, first in line 6",
    ]


def test_a_wrong_column_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    cuhk(tmp_path, records())
    name = registered(tmp_path, "like: cuhk-pedes\ncolumns: {person: ids, captions: caption}")
    with pytest.raises(DataError) as caught:
        load_dataset(name, None)
    text = "\n".join(caught.value.lines)
    assert "a record without 'ids', 8 times: record 0 (did you mean 'id'?)" in text
    assert "a record without 'caption', 8 times: record 0 (did you mean 'captions'?)" in text


def test_an_annotation_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    tbps_clip(tmp_path, records())
    (tmp_path / "test_reid.json").unlink()
    with pytest.raises(DataError, match=r"looked for .*test_reid\.json, which is not there"):
        load_dataset(registered(tmp_path, "like: tbps-clip"), None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,2,3\n", "table.csv:2: 3 cells, the header has 2"),
        ("a,a\n1,2\n", "table.csv:1: a header of different column names"),
        ("", "table.csv:1: a header"),
        ("a\n" + "x" * 2_000_000, "over 1,000,000 characters"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(content: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        load_dataset(registered(tmp_path, "annotations: table.csv"), None)
    assert expected in "\n".join(caught.value.lines)


def test_a_dataset_file_whose_name_is_taken_is_refused(tmp_path: Path) -> None:
    cuhk(tmp_path, records())
    (tmp_path / "cuhk-pedes.dataset.yaml").write_text("like: cuhk-pedes")
    with pytest.raises(registry.PluginError, match="already registered"):
        registry.load_dataset_file(tmp_path / "cuhk-pedes.dataset.yaml")


def test_moving_a_dataset_file_with_its_data_changes_no_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    cuhk(tmp_path / "a", records())
    first = load_dataset(registered(tmp_path / "a", "name: first\nlike: cuhk-pedes"), None)
    shutil.move(tmp_path / "a", tmp_path / "b")
    second = load_dataset(registered(tmp_path / "b", "name: second\nlike: cuhk-pedes"), None)
    assert first.fingerprint == second.fingerprint
