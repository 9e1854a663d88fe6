"""Annotation files made to do harm, or damaged on their way: refused with the reason, within bounds."""

import contextlib
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from factories import write_cuhk
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import json_lists
from harness.data.annotations import read_annotation
from harness.data.datasets import load_dataset
from harness.data.json_lists import json_list
from harness.data.rows import read_rows
from harness.machine.errors import DataError

RECORD = {"split": "train", "id": 1, "file_path": "a.jpg", "captions": ["a coat"]}


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_annotation(path)
    (problem,) = caught.value.lines
    return problem


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "reid_raw.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_record_with_one_key_twice_is_refused_with_its_place_in_every_json_format(tmp_path: Path) -> None:
    sound, twice = json.dumps(RECORD), json.dumps(RECORD)[:-1] + ', "id": 2}'
    name = "the key 'id' is written twice in one object"
    path = written(tmp_path, f"[{sound},\n{twice}]")
    assert refusal(path) == f"{path}:2: record 1, which begins here: {name}"
    lines = tmp_path / "a.jsonl"
    lines.write_text(f"{sound}\n{twice}\n")
    assert refusal(lines) == f"{lines}:2: {name}"
    coco = tmp_path / "coco.json"
    coco.write_text('{"images": [{"id": 1, "id": 2}], "annotations": []}')
    with pytest.raises(DataError, match=name):
        list(read_rows(coco, "coco"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a list"),
        ("{}", "not a list of records"),
        ('{"train": []}', "not a list of records"),
        ("null", "not a list of records"),
        ("[{}", "ends in the middle, after 1 records"),
        ('[{"split": "tr', "ends in the middle"),
        ("[{},", "ends in the middle"),
        ("[{},]", "not JSON"),
        ("[{} {}]", "not JSON"),
        ("[{'split': 1}]", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('[{"a":' * 50_000, "nested too deeply"),
        (b"\xff\xfe\xff", "not a JSON text"),
        (b"[{\x80}]", "not a JSON text"),
        ("[" + "1" * 5000 + "]", "not JSON"),
    ],
)
def test_a_file_that_is_no_list_of_records_is_refused_with_the_reason(
    text: str | bytes, reason: str, tmp_path: Path
) -> None:
    problem = refusal(written(tmp_path, text))
    assert reason in problem
    assert str(tmp_path) in problem
    assert len(problem) < 1000


def test_broken_json_is_found_by_its_line(tmp_path: Path) -> None:
    assert "reid_raw.json:3: not JSON" in refusal(written(tmp_path, '[{"a": 1},\n{"b": 2},\n{"c" 3}]'))


def test_a_folder_or_pipe_in_place_of_the_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in refusal(tmp_path / "pipe")
    assert "not a file" in refusal(tmp_path)


def test_a_file_beyond_the_size_limit_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "reid_raw.json"
    with path.open("wb") as file:
        file.truncate(json_lists.MAX_FILE_BYTES + 1)
    tracemalloc.start()
    assert "wrong file" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


def test_millions_of_records_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lists, "MAX_RECORDS", 10_000)
    path = written(tmp_path, "[" + ",".join(["{}"] * 2_000_000) + "]")
    tracemalloc.start()
    assert "more than 10,000 records" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * json_lists.CHUNK


def test_a_long_caption_is_refused_by_its_length(tmp_path: Path) -> None:
    write_cuhk(tmp_path, edit=lambda records: records[0].update(captions=["x" * 20_000]))
    with pytest.raises(DataError, match="record 0 has 20,000"):
        load_dataset("cuhk-pedes", tmp_path)


MEGABYTES = 8_000_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"captions": ["' + "x" * MEGABYTES + '"]}]', "record 0 has over 1,000,000 characters"),
        ('[{"captions": ["' + "\\u00e9" * (MEGABYTES // 6) + '"]}]', "record 0 has over 1,000,000"),
        ('[{"captions": ["' + '","'.join(["x"] * (MEGABYTES // 4)) + '"]}]', "record 0 has over 1,000,000"),
        ('[{}, {"' + '": 0, "'.join(map(str, range(MEGABYTES // 12))) + '": 0}]', "record 1 has over"),
        ('[{}, {"a": ' + "[]" + " " * MEGABYTES + "}]", "record 1 has over"),
        ('["' + "x" * MEGABYTES, "record 0 has over"),
        ('["' + "x" * MEGABYTES + "\U0001f600" + '"]', "record 0 has over"),
        ('[{"id": ' + "9" * MEGABYTES + "}]", "a number of too many digits"),
        ('"' + "x" * MEGABYTES + '"', "not a list"),
        ("[" * MEGABYTES + "]" * MEGABYTES, "nested too deeply"),
        (" " * MEGABYTES + "[", "ends in the middle"),
        ("[{}" + "\n" * MEGABYTES + "x]", "8000001: not JSON"),
    ],
)
def test_what_takes_megabytes_takes_no_memory(text: str, reason: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    del text
    tracemalloc.start()
    assert reason in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * json_lists.CHUNK


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
@pytest.mark.parametrize("chunk", [4, 5, 7, 64])
def test_records_are_the_same_wherever_the_window_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, chunk: int
) -> None:
    monkeypatch.setattr(json_lists, "CHUNK", chunk)
    monkeypatch.setattr(json_lists, "MAX_RECORD_CHARACTERS", 100)
    items = [{"é\u4e00": number, "a": ["\U0001f600", -1.5e-3, True, None]} for number in range(30)]
    text = json.dumps(items, ensure_ascii=False, indent=1)
    assert list(json_list(written(tmp_path, text.encode(encoding)))) == items
    broken = text.replace("-0.0015", "-0.0015 7", 30).replace("-0.0015 7", "-0.0015", 29)
    line = broken.count("\n", 0, broken.index("-0.0015 7")) + 1
    assert f":{line}: not JSON, in record 29" in refusal(written(tmp_path, broken.encode(encoding)))


def test_a_byte_that_is_no_text_is_named_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lists, "CHUNK", 5)
    monkeypatch.setattr(json_lists, "MAX_RECORD_CHARACTERS", 100)
    assert "at byte 7)" in refusal(written(tmp_path, b'["\xc3\xa9","\xe4\xb8x"]' + b" " * 200))


@pytest.mark.parametrize("person", ["1\x1b[2J", "\u202e21", "", "x" * 300, None, [1], True])
def test_an_identity_that_could_not_be_printed_is_refused(person: Any, tmp_path: Path) -> None:
    reading = read_annotation(written(tmp_path, json.dumps([{**RECORD, "id": person}])))
    assert not reading.records
    assert sum(reading.refused.counts.values()) == 1


def test_a_text_where_the_list_of_captions_should_be_is_one_caption(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps([{**RECORD, "captions": "a red coat"}]))
    assert read_annotation(path).records[0].captions == ("a red coat",)


@pytest.mark.parametrize(
    "path",
    [
        "../a.jpg",
        "cam_a/../../a.jpg",
        "/etc/passwd",
        "//server/a.jpg",
        "..\\..\\a.jpg",
        "C:\\a.jpg",
        "c:/a.jpg",
        "..",
        ".",
        "cam_a/..",
        "a\0.jpg",
        "\x1b[31ma.jpg",
        "gpj.a\u202e.jpg",
        "\ud800.jpg",
        "",
        "  ",
        "a" * 2000,
        None,
        7,
        ["a.jpg"],
    ],
)
def test_paths_that_lead_out_or_nowhere_are_refused(path: Any, tmp_path: Path) -> None:
    reading = read_annotation(written(tmp_path, json.dumps([{**RECORD, "file_path": path}])))
    assert not reading.records
    assert sum(reading.refused.counts.values()) == 1


@pytest.mark.parametrize(
    "path", ["cam_a/a.jpg", "./cam_a/a.jpg", "cam_a//a.jpg", "x/../cam_a/a.jpg", "cam_a\\a.jpg"]
)
def test_odd_spellings_of_a_path_below_the_images_mean_the_same_file(path: str, tmp_path: Path) -> None:
    reading = read_annotation(written(tmp_path, json.dumps([{**RECORD, "file_path": path}])))
    assert reading.records[0].path == "cam_a/a.jpg"


def test_a_byte_order_mark_and_other_unicode_encodings_are_understood(tmp_path: Path) -> None:
    text = json.dumps([{**RECORD, "captions": ["穿红色外套"]}], ensure_ascii=False)
    for encoding in ("utf-8-sig", "utf-16"):
        assert read_annotation(written(tmp_path, text.encode(encoding))).records[0].captions == (
            "穿红色外套",
        )


def test_repeating_one_image_fifty_thousand_times_is_merged_in_linear_time(tmp_path: Path) -> None:
    write_cuhk(
        tmp_path,
        edit=lambda records: records.extend({**records[0], "captions": [str(n)]} for n in range(50_000)),
    )
    train = load_dataset("cuhk-pedes", tmp_path).splits["train"]
    assert len(train.image_paths) == 12
    assert (train.caption_image == 0).sum() == 50_002


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3)
    ),
    max_leaves=6,
)
records = st.fixed_dictionaries(
    {},
    optional={
        "split": st.sampled_from(["train", "val", "test"]) | json_values,
        "id": st.integers(0, 5) | json_values,
        "file_path": st.sampled_from(["a.jpg", "b/c.jpg"]) | json_values,
        "captions": st.lists(st.text(max_size=10), max_size=3) | json_values,
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(records | json_values, max_size=5))
def test_no_json_list_whatever_it_holds_ends_in_anything_but_records_and_reasons(
    tmp_path_factory: pytest.TempPathFactory, content: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("annotation") / "reid_raw.json"
    path.write_text(json.dumps(content))
    reading = read_annotation(path)
    assert len(reading.records) <= len(content)
    refused = {example for lines in reading.refused.examples.values() for example in lines}
    assert len(reading.records) == len(content) or refused
    for record in reading.records:
        assert record.split in ("train", "val", "test")
        assert not record.path.startswith(("/", ".."))
        assert all(caption.strip() for caption in record.captions)
        "".join(record.captions).encode()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_no_sequence_of_bytes_escapes_as_another_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("annotation") / "reid_raw.json"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        read_annotation(path)
