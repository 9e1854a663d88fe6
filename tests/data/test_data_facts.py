"""What a loader must not hide: ids, shared captions and images, cut captions, wide pixels, near names."""

from __future__ import annotations

import io
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import write_cuhk, write_rstp
from PIL import Image

from harness.data import captions as captions_module
from harness.data.captions import captions_cut, captions_cut_cached
from harness.data.checks import check_dataset
from harness.data.datasets import load_dataset
from harness.data.decoding import BrokenImageError, decode
from harness.launch.context import Context, InputSpec
from harness.machine.environment import Machine
from harness.machine.errors import DataError
from methods.tokenizer import CLIP_VOCABULARY, Tokenizer


def problems_of(name: str, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(name, root)
    return "\n".join(caught.value.lines)


@pytest.mark.parametrize(
    "spelling", ["{:04d}".format, "{}.0".format, "+{}".format, lambda id: chr(ord("０") + id)]
)
def test_ids_that_are_equal_as_numbers_are_one_person_and_said(
    tmp_path: Path, spelling: Callable[[int], str]
) -> None:
    def spelled(records: list[dict[str, Any]]) -> None:
        for number, record in enumerate(records):
            record["id"] = spelling(record["id"]) if number % 2 and record["id"] < 10 else record["id"]

    write_cuhk(tmp_path / "plain")
    write_cuhk(tmp_path / "spelled", edit=spelled)
    dataset = load_dataset("cuhk-pedes", tmp_path / "spelled")
    assert dataset.splits["train"].persons == ("1", "2", "3", "4", "5", "6")
    assert dataset.fingerprint == load_dataset("cuhk-pedes", tmp_path / "plain").fingerprint
    assert any(f"'1' and '{spelling(1)}' (record 1)" in problem for problem in dataset.problems)
    assert not any("two ways" in line for line in load_dataset("cuhk-pedes", tmp_path / "plain").problems)


def test_captions_of_several_persons_are_counted_and_their_queries_said_undecidable(tmp_path: Path) -> None:
    def same(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["captions"][0] = "A man in  a coat"

    write_rstp(tmp_path, edit=same)
    counts = check_dataset("rstpreid", tmp_path)["splits"]["test"]
    assert counts["shared_captions"] == counts["undecidable"] == 6
    assert counts["shared_images"] == 0
    notes = load_dataset("rstpreid", tmp_path).notes
    assert any("6 of 12 test queries are undecidable: 6 captions and 0 images" in note for note in notes)


def test_one_picture_under_all_test_persons_makes_every_query_undecidable(tmp_path: Path) -> None:
    folder = write_rstp(tmp_path)
    test = load_dataset("rstpreid", tmp_path).splits["test"].image_paths
    for path in test[1:]:
        shutil.copy(test[0], path)
    assert folder.is_dir()
    counts = check_dataset("rstpreid", tmp_path)["splits"]["test"]
    assert counts["shared_images"] == 6
    assert counts["undecidable"] == 12


def saved_again(source: Path, target: Path) -> None:
    """The same pixels in other bytes, under the name of another picture."""
    Image.open(source).convert("RGB").save(target, "PNG", compress_level=1)
    again = target.with_suffix(".again")
    Image.open(target).save(again, "PNG", compress_level=9)
    shutil.copy(target, source)
    again.replace(target)


def test_a_picture_that_was_saved_again_under_another_person_is_found_by_its_pixels(tmp_path: Path) -> None:
    write_rstp(tmp_path)
    test = load_dataset("rstpreid", tmp_path).splits["test"].image_paths
    for image in (2, 3):
        saved_again(test[image - 2], test[image])
    checked = check_dataset("rstpreid", tmp_path)
    assert checked["splits"]["test"]["shared_images"] == 4
    assert checked["splits"]["test"]["undecidable"] == 8
    (named,) = [line for line in checked["problems"] if "belong to several persons" in line]
    assert f"{test[0].name} (person " in named
    assert f"{test[2].name} (person " in named

    context, spec = Context(Machine(tmp_path, "cpu")), InputSpec(None, (32, 16), 512, 77)
    assert "undecidable" not in str(context.data_provenance("rstpreid", spec)["notes"])
    context.images("rstpreid", spec, "test")
    assert "8 of 12 test queries are undecidable" in str(context.data_provenance("rstpreid", spec)["notes"])


def test_a_picture_in_train_and_in_test_is_told_by_check_and_beside_every_number(tmp_path: Path) -> None:
    write_rstp(tmp_path)
    splits = load_dataset("rstpreid", tmp_path).splits
    train, test = splits["train"].image_paths, splits["test"].image_paths
    saved_again(train[0], test[1])
    assert "in train and in test" not in str(load_dataset("rstpreid", tmp_path).notes)
    (said,) = [line for line in check_dataset("rstpreid", tmp_path)["problems"] if "in train and in" in line]
    assert said.startswith("rstpreid: 1 image is in train and in test: in test, ")
    assert said.endswith(f"{test[1].name} is imgs/{train[0].name}")
    shutil.copy(train[0], test[1])
    assert "1 image is in train and in test" in str(load_dataset("rstpreid", tmp_path).notes)
    assert str(check_dataset("rstpreid", tmp_path)).count("1 image is in train and in test") == 1


def test_a_person_with_one_picture_of_their_own_can_still_be_found(tmp_path: Path) -> None:
    write_rstp(tmp_path)
    test = load_dataset("rstpreid", tmp_path).splits["test"].image_paths
    shutil.copy(test[0], test[2])
    counts = check_dataset("rstpreid", tmp_path)["splits"]["test"]
    assert counts["shared_images"] == 2
    assert counts["undecidable"] == 0


def test_equal_captions_of_one_person_are_no_problem(tmp_path: Path) -> None:
    def twice(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["captions"] = [f"person {record['id']}"] * 2

    write_rstp(tmp_path, edit=twice)
    assert check_dataset("rstpreid", tmp_path)["splits"]["test"]["shared_captions"] == 0


def test_captions_longer_than_the_context_are_counted_by_split(tmp_path: Path) -> None:
    def long(records: list[dict[str, Any]]) -> None:
        records[0]["captions"][0] = "a " * 76
        records[-1]["captions"] = ["a " * 75, "a " * 76]

    write_rstp(tmp_path, edit=long)
    splits = check_dataset("rstpreid", tmp_path)["splits"]
    assert [splits[name]["captions_cut"] for name in ("train", "val", "test")] == [1, 0, 1]


@pytest.mark.parametrize("context", [8, 77, 120])
def test_a_caption_is_cut_exactly_when_its_last_word_changes_nothing(context: int) -> None:
    encode = Tokenizer(49408, context)
    for words in range(context - 4, context + 2):
        caption = "a " * (words - 1)
        cut = bool((encode([caption + "red"]) == encode([caption + "blue"])).all())
        assert captions_cut([caption + "red"], encode) == int(cut)


def picture(array: Any, ending: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, ending)
    return buffer.getvalue()


RAMP = np.linspace(0, 1, 96)[:, None] * np.ones((96, 32))


@pytest.mark.parametrize(
    ("values", "ending"),
    [
        ((RAMP * 65535).astype(np.uint16), "PNG"),
        ((RAMP * 65535).astype(np.uint16), "TIFF"),
        ((RAMP * 4095).astype(np.uint16), "PNG"),
        ((RAMP * 65535).astype(np.int32), "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
        ((RAMP * 255).astype(np.float32), "TIFF"),
    ],
)
def test_pixels_of_more_than_eight_bits_are_scaled_by_their_own_range(values: Any, ending: str) -> None:
    decoded = np.asarray(decode(picture(values, ending))).astype(int)
    expected = np.asarray(Image.fromarray((RAMP * 255).astype(np.uint8)).convert("RGB")).astype(int)
    assert decoded.shape == (96, 32, 3)
    assert np.abs(decoded - expected).max() <= 1


def test_pixels_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(BrokenImageError, match="NaN"):
        decode(picture(np.full((4, 4), np.nan, np.float32), "TIFF"))


def test_a_check_lists_the_modes_and_rotations_of_the_images(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    Image.fromarray((RAMP * 65535).astype(np.uint16)).save(folder / "imgs/CUHK03/0001_0.jpg", "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(folder / "imgs/CUHK03/0001_1.jpg") as image:
        image.save(folder / "imgs/CUHK03/0001_1.jpg", exif=exif)
    report = check_dataset("cuhk-pedes", tmp_path)
    assert report["modes"] == {"RGB": 23, "I;16": 1}
    assert any("1 images have an EXIF orientation" in problem for problem in report["problems"])


def test_a_photograph_is_turned_upright_where_that_is_asked_for() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray((RAMP * 255).astype(np.uint8)).save(buffer, "JPEG", exif=exif)
    assert decode(buffer.getvalue()).size == (32, 96)
    assert decode(buffer.getvalue(), upright=True).size == (96, 32)


def test_an_annotation_in_another_encoding_is_said_not_to_be_utf8(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    for encoding, caption in (("gbk", "一个男人"), ("latin-1", "a man at a café")):
        text = (folder / "reid_raw.json").read_text("utf-8").replace("She", caption, 1)
        (folder / "reid_raw.json").write_bytes(text.encode(encoding))
        assert "not UTF-8" in problems_of("cuhk-pedes", tmp_path)
        (folder / "reid_raw.json").write_text(text.replace(caption, "She"), "utf-8")


def test_an_absolute_path_below_the_images_is_the_file_it_names(tmp_path: Path) -> None:
    def absolute(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["img_path"] = str(tmp_path / "b/RSTPReid/imgs" / record["img_path"])

    write_rstp(tmp_path / "a")
    write_rstp(tmp_path / "b", edit=absolute)
    expected = load_dataset("rstpreid", tmp_path / "a").fingerprint
    assert load_dataset("rstpreid", tmp_path / "b").fingerprint == expected


def test_a_path_of_another_machine_is_called_absolute(tmp_path: Path) -> None:
    write_rstp(tmp_path, edit=lambda records: records[0].update(img_path="D:\\data\\a.jpg"))
    assert "an absolute image path of another machine" in problems_of("rstpreid", tmp_path)


def test_a_linked_image_folder_is_told_the_way_out(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path / "root")
    shutil.move(folder / "imgs/CUHK03", tmp_path / "elsewhere")
    (folder / "imgs/CUHK03").symlink_to(tmp_path / "elsewhere")
    text = problems_of("cuhk-pedes", tmp_path / "root")
    assert "let the whole image folder be the link, or place them below the data root" in text


def test_a_file_that_differs_in_case_or_unicode_form_is_named(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    os.rename(folder / "imgs/CUHK03/0001_0.jpg", folder / "imgs/CUHK03/0001_0.JPG")
    assert "0001_0.jpg (there is '0001_0.JPG', of another spelling)" in problems_of("cuhk-pedes", tmp_path)
    shutil.rmtree(folder)

    def composed(records: list[dict[str, Any]]) -> None:
        records[0]["file_path"] = unicodedata.normalize("NFC", "CUHK03/é.jpg")

    folder = write_cuhk(tmp_path, edit=composed)
    os.rename(
        folder / "imgs/CUHK03/0001_0.jpg", folder / "imgs/CUHK03" / unicodedata.normalize("NFD", "é.jpg")
    )
    assert "of another spelling" in problems_of("cuhk-pedes", tmp_path)


def test_paths_that_repeat_the_image_folder_are_explained(tmp_path: Path) -> None:
    def prefixed(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["img_path"] = f"imgs/{record['img_path']}"

    write_rstp(tmp_path, edit=prefixed)
    assert "the paths begin with imgs/ already" in problems_of("rstpreid", tmp_path)


def test_what_the_loader_says_of_its_data_is_data(tmp_path: Path) -> None:
    write_rstp(tmp_path, edit=lambda records: records[-1].update(id=1))
    dataset = load_dataset("rstpreid", tmp_path, subset=2)
    provenance = dataset.provenance()
    assert provenance["official"] is False
    assert any("only 2 identities" in note for note in provenance["notes"])
    assert any("also in test" in problem for problem in provenance["problems"])
    assert provenance["skipped"] == 0


def test_cut_captions_are_counted_once_for_captions_and_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = ["red " * 80, "a red coat"]
    assert captions_cut_cached(long, CLIP_VOCABULARY, 77, tmp_path) == 1
    monkeypatch.setattr(captions_module, "captions_cut", lambda *_: 7)
    assert captions_cut_cached(long, CLIP_VOCABULARY, 77, tmp_path) == 1
    assert captions_cut_cached(long, CLIP_VOCABULARY, 99, tmp_path) == 7
    assert captions_cut_cached(long[:1], CLIP_VOCABULARY, 77, tmp_path) == 7
