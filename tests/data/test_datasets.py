import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import draw_person, write_cuhk, write_icfg, write_rstp
from PIL import Image

from harness.cli.data import render
from harness.data.checks import check_dataset
from harness.data.datasets import load_dataset
from harness.data.layout import shipped_layout
from harness.data.splits import file_list
from harness.machine.errors import DataError
from harness.registry import datasets as registered

WRITERS = {"cuhk-pedes": write_cuhk, "icfg-pedes": write_icfg, "rstpreid": write_rstp}


def problems_of(name: str, root: Path | None, **options: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        load_dataset(name, root, **options)
    return caught.value.lines


def only_problem(name: str, root: Path | None) -> str:
    (problem,) = problems_of(name, root)
    return problem


@pytest.mark.parametrize("name", WRITERS)
def test_a_tree_in_the_official_layout_loads_with_every_record_in_its_place(
    name: str, tmp_path: Path
) -> None:
    folder = WRITERS[name](tmp_path)
    annotated = json.loads(next(folder.glob("*.json")).read_text())
    dataset = load_dataset(name, tmp_path)
    found = set()
    for split in dataset.splits.values():
        for caption, image, person in zip(
            split.captions, split.caption_image, split.caption_person, strict=True
        ):
            path = split.image_paths[image].relative_to(folder / "imgs").as_posix()
            assert split.image_person[image] == person
            found.add((caption, path, split.persons[person]))
    path_key = "img_path" if name == "rstpreid" else "file_path"
    assert found == {
        (caption, record[path_key], str(record["id"]))
        for record in annotated
        for caption in record["captions"]
    }
    assert not dataset.official
    assert not dataset.problems


def test_persons_are_numbered_in_order_of_first_appearance(tmp_path: Path) -> None:
    write_cuhk(tmp_path, edit=lambda records: records.reverse())
    train = load_dataset("cuhk-pedes", tmp_path).splits["train"]
    assert train.persons == ("6", "5", "4", "3", "2", "1")
    assert train.image_person.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_identities_written_as_texts_are_the_same_persons_as_numbers(tmp_path: Path) -> None:
    def as_texts(records: list[dict[str, Any]]) -> None:
        for number, record in enumerate(records):
            record["id"] = [record["id"], f" {record['id']} ", float(record["id"])][number % 3]

    write_cuhk(tmp_path, edit=as_texts)
    assert load_dataset("cuhk-pedes", tmp_path).splits["train"].persons == ("1", "2", "3", "4", "5", "6")


def test_the_split_field_counts_and_the_storage_folder_does_not(tmp_path: Path) -> None:
    write_icfg(tmp_path, {"train": 6, "test": 4})
    dataset = load_dataset("icfg-pedes", tmp_path)
    folders = {path.parts[-3] for path in dataset.splits["test"].image_paths}
    assert folders == {"train", "test"}
    assert dataset.splits["test"].persons == ("6", "7", "8", "9")


def test_a_missing_validation_split_is_carved_from_train_by_identity_and_noted(tmp_path: Path) -> None:
    write_icfg(tmp_path, {"train": 45, "test": 2}, images=1)
    dataset = load_dataset("icfg-pedes", tmp_path)
    train, val = dataset.splits["train"], dataset.splits["val"]
    assert not set(train.persons) & set(val.persons)
    assert set(train.persons) | set(val.persons) == {str(person) for person in range(45)}
    assert len(val.persons) == 3  # 5 % of 45, rounded up
    assert any("3 of 45 training persons" in note and "carve-1" in note for note in dataset.notes)


def test_carving_depends_on_the_identities_alone(tmp_path: Path) -> None:
    write_icfg(tmp_path / "a", {"train": 20, "test": 2}, images=1)
    write_icfg(tmp_path / "b", {"train": 20, "test": 2}, images=3, edit=lambda records: records.reverse())
    first, second = (load_dataset("icfg-pedes", tmp_path / tree) for tree in "ab")
    assert set(first.splits["val"].persons) == set(second.splits["val"].persons)


def test_any_dataset_without_validation_split_is_carved_by_the_same_rule(tmp_path: Path) -> None:
    write_cuhk(tmp_path, {"train": 8, "test": 2})
    write_rstp(tmp_path, {"train": 8, "test": 2})
    assert len(load_dataset("cuhk-pedes", tmp_path).splits["val"].persons) == 2
    assert len(load_dataset("rstpreid", tmp_path).splits["val"].persons) == 2


def test_a_single_training_person_cannot_be_shared_with_validation(tmp_path: Path) -> None:
    write_icfg(tmp_path, {"train": 1, "test": 1})
    assert "none can be carved" in only_problem("icfg-pedes", tmp_path)


def test_published_counts_make_a_dataset_official_even_with_a_carved_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_icfg(tmp_path, {"train": 8, "test": 3})
    layout = registered()["icfg-pedes"].load.args[0]  # type: ignore[union-attr]
    expected = layout.expected
    monkeypatch.setitem(expected, "train", (8, 16, 16))
    monkeypatch.setitem(expected, "test", (3, 6, 6))
    dataset = load_dataset("icfg-pedes", tmp_path)
    assert dataset.official
    assert not load_dataset("icfg-pedes", tmp_path, subset=2).official


def test_the_published_table_is_the_one_of_the_field() -> None:
    cuhk, icfg, rstp = (shipped_layout(name).expected for name in ("cuhk-pedes", "icfg-pedes", "rstpreid"))
    assert cuhk["train"] == (11003, 34054, 68126)
    assert cuhk["val"] == (1000, 3078, 6158)
    assert cuhk["test"] == (1000, 3074, 6156)
    assert icfg["train"] == (3102, 34674, 34674)
    assert icfg["test"] == (1000, 19848, 19848)
    assert rstp["train"] == (3701, 18505, 37010)
    assert rstp["val"] == rstp["test"] == (200, 1000, 2000)


def test_the_old_rstpreid_split_is_recognised_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "RSTPReid"
    draw_person(folder / "imgs" / "one.jpg", 0, 0)
    records = []
    for person in range(4101):
        split = "train" if person < 3901 else "val" if person < 4001 else "test"
        name = f"{person}.jpg"
        os.link(folder / "imgs" / "one.jpg", folder / "imgs" / name)
        records.append({"id": person, "img_path": name, "captions": ["a coat"], "split": split})
    (folder / "data_captions.json").write_text(json.dumps(records))
    dataset = load_dataset("rstpreid", tmp_path)
    assert any(
        "old RSTPReid annotation" in problem and "3901/100/100" in problem for problem in dataset.problems
    )
    assert not dataset.official


def test_counts_that_are_not_published_are_said_with_both_numbers(tmp_path: Path) -> None:
    write_rstp(tmp_path)
    (note,) = load_dataset("rstpreid", tmp_path).notes
    assert "train 6/12/24 instead of 3701/18505/37010" in note
    assert "3901/100/100" in note


def test_without_a_data_root_the_message_says_how_to_name_one_and_what_to_unpack() -> None:
    problem = only_problem("cuhk-pedes", None)
    assert "--data-root" in problem
    assert "HARNESS_DATA" in problem
    assert "CUHK-PEDES/reid_raw.json" in problem


def test_a_missing_dataset_names_what_was_looked_for_and_where(tmp_path: Path) -> None:
    problem = only_problem("rstpreid", tmp_path)
    assert str(tmp_path / "RSTPReid" / "data_captions.json") in problem
    assert "there is no folder RSTPReid" in problem
    assert "does not exist" in only_problem("rstpreid", tmp_path / "nowhere")


def test_a_data_root_one_level_too_deep_is_recognised(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    assert "give the folder above" in only_problem("cuhk-pedes", folder)


def test_caption_all_instead_of_reid_raw_is_said(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    (folder / "reid_raw.json").rename(folder / "caption_all.json")
    problem = only_problem("cuhk-pedes", tmp_path)
    assert "caption_all.json is there, but has no splits" in problem


def test_caption_all_under_the_name_of_reid_raw_is_recognised(tmp_path: Path) -> None:
    def drop_splits(records: list[dict[str, Any]]) -> None:
        for record in records:
            del record["split"]

    write_cuhk(tmp_path, edit=drop_splits)
    problem = only_problem("cuhk-pedes", tmp_path)
    assert "no record has a split" in problem
    assert "caption_all.json" in problem


def test_missing_image_folders_are_named_once_with_their_number_of_images(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    shutil.rmtree(folder / "imgs" / "CUHK03")
    shutil.rmtree(folder / "imgs" / "Market")
    (folder / "imgs" / "cam_a" / "0003_1.jpg").unlink()
    problems = problems_of("cuhk-pedes", tmp_path)
    assert sum("CUHK03 is missing, with 8 annotated images" in problem for problem in problems) == 1
    assert sum("Market is missing, with 8 annotated images" in problem for problem in problems) == 1
    assert any("0003_1.jpg" in problem for problem in problems)
    assert any("--skip-broken" in problem for problem in problems)


def test_skipped_images_are_counted_and_take_their_captions_along(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    (folder / "imgs" / "CUHK03" / "0001_0.jpg").unlink()
    (folder / "imgs" / "CUHK03" / "0001_1.jpg").write_bytes(b"")
    dataset = load_dataset("cuhk-pedes", tmp_path, skip_broken=True)
    assert dataset.skipped == 2
    train = dataset.splits["train"]
    assert train.counts() == {"person_ids": 5, "images": 10, "captions": 20}
    assert train.persons == ("2", "3", "4", "5", "6")
    assert all(
        f"person {train.persons[p]}." in c for c, p in zip(train.captions, train.caption_person, strict=True)
    )
    assert any("skipped 2 images that are missing, empty or unreadable" in note for note in dataset.notes)


def test_an_empty_caption_is_left_out_and_its_image_stays(tmp_path: Path) -> None:
    def empty(records: list[dict[str, Any]]) -> None:
        records[0]["captions"] = ["", " \n"]
        records[1]["captions"] = []

    write_cuhk(tmp_path, edit=empty)
    dataset = load_dataset("cuhk-pedes", tmp_path)
    assert dataset.splits["train"].counts() == {"person_ids": 6, "images": 12, "captions": 20}
    assert any("empty caption" in problem and "2 of 2" in problem for problem in dataset.problems)


def test_captions_of_any_script_and_markup_are_kept_as_they_are(tmp_path: Path) -> None:
    strange = [
        "穿红色外套的女人",
        "<script>alert(1)</script>",
        "abc\u202edef",
        "nul \0 here",
        "tab\tand\nline",
    ]
    write_rstp(tmp_path, edit=lambda records: records[0].update(captions=strange))
    assert load_dataset("rstpreid", tmp_path).splits["train"].captions[:5] == tuple(strange)


def test_half_a_surrogate_pair_is_replaced_because_nothing_could_store_it(tmp_path: Path) -> None:
    write_rstp(tmp_path, edit=lambda records: records[0].update(captions=["a \ud83d coat"]))
    dataset = load_dataset("rstpreid", tmp_path)
    assert dataset.splits["train"].captions[0] == "a \ufffd coat"
    assert any("U+FFFD" in problem for problem in dataset.problems)


def test_the_same_caption_on_different_persons_stays_on_both(tmp_path: Path) -> None:
    def same(records: list[dict[str, Any]]) -> None:
        records[0]["captions"] = records[2]["captions"] = ["a red coat"]

    write_rstp(tmp_path, edit=same)
    train = load_dataset("rstpreid", tmp_path).splits["train"]
    places = [index for index, caption in enumerate(train.captions) if caption == "a red coat"]
    assert train.caption_person[places].tolist() == [0, 1]


def test_an_image_may_have_ten_captions(tmp_path: Path) -> None:
    ten = [f"caption {number}" for number in range(10)]
    write_cuhk(tmp_path, edit=lambda records: records[3].update(captions=ten))
    train = load_dataset("cuhk-pedes", tmp_path).splits["train"]
    assert np.bincount(train.caption_image)[3] == 10


def test_further_keys_are_ignored(tmp_path: Path) -> None:
    def extend(records: list[dict[str, Any]]) -> None:
        for record in records:
            record.update(processed_tokens=[["a", "coat"]], camera={"name": 3})

    write_cuhk(tmp_path, edit=extend)
    assert load_dataset("cuhk-pedes", tmp_path).splits["train"].counts()["captions"] == 24


def test_every_reason_to_refuse_a_tree_is_told_at_once(tmp_path: Path) -> None:
    def spoil(records: list[dict[str, Any]]) -> None:
        records[0]["split"] = "trian"
        del records[1]["captions"]
        del records[2]["id"]
        del records[3]["file_path"]
        records[4]["captions"] = [3, None]
        records[5]["id"] = None
        records[6]["file_path"] = "../../../etc/passwd"
        records[7]["file_path"] = "/etc/passwd"
        records[8] = "not a record"  # type: ignore[call-overload]
        records[9]["file_path"] = "gone/away.jpg"

    write_cuhk(tmp_path, edit=spoil)
    text = "\n".join(problems_of("cuhk-pedes", tmp_path))
    assert "'trian', did you mean 'train'?" in text
    assert "without 'captions': record 1" in text
    assert "without 'id': record 2" in text
    assert "without 'file_path' (or 'img_path'): record 3" in text
    assert "captions that are not texts: record 4" in text
    assert "neither a number nor a text: record 5" in text
    assert "leaves the data root, 2 times: record 6 names '../../../etc/passwd'; record 7" in text
    assert "not an object: record 8" in text
    assert "gone is missing, with 1 annotated images" in text


def test_problems_of_one_kind_are_counted_and_not_all_listed(tmp_path: Path) -> None:
    def spoil(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["split"] = "validation"

    write_cuhk(tmp_path, edit=spoil)
    assert (
        "24 times: record 0 says 'validation', did you mean 'val'?" in problems_of("cuhk-pedes", tmp_path)[0]
    )


def test_an_image_annotated_twice_counts_once_with_all_its_captions(tmp_path: Path) -> None:
    def repeat(records: list[dict[str, Any]]) -> None:
        records.append({**records[0], "captions": [records[0]["captions"][0], "a third sentence"]})

    write_cuhk(tmp_path, edit=repeat)
    dataset = load_dataset("cuhk-pedes", tmp_path)
    train = dataset.splits["train"]
    assert len(train.image_paths) == 12
    assert [c for c, image in zip(train.captions, train.caption_image, strict=True) if image == 0][2:] == [
        "a third sentence"
    ]
    assert any("annotated twice" in problem for problem in dataset.problems)


def test_an_image_annotated_as_two_persons_is_refused(tmp_path: Path) -> None:
    write_cuhk(tmp_path, edit=lambda records: records.append({**records[0], "id": 9, "split": "test"}))
    problem = problems_of("cuhk-pedes", tmp_path)[0]
    assert "person '1' in train (record 0) and person '9' in test (record 24)" in problem


def test_an_image_of_one_person_in_train_and_in_test_is_refused(tmp_path: Path) -> None:
    write_cuhk(tmp_path, edit=lambda records: records.append({**records[0], "split": "test"}))
    problem = problems_of("cuhk-pedes", tmp_path)[0]
    assert "person '1' in train (record 0) and person '1' in test (record 24)" in problem


def test_a_person_in_train_and_test_is_said_but_not_refused(tmp_path: Path) -> None:
    write_cuhk(tmp_path, edit=lambda records: records[-1].update(id=1))
    dataset = load_dataset("cuhk-pedes", tmp_path)
    assert any("of train is also in test: person '1'" in problem for problem in dataset.problems)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_tree_without_train_or_test_is_refused(split: str, tmp_path: Path) -> None:
    persons = {"train": 4, "val": 2, "test": 2}
    write_cuhk(tmp_path, {name: count for name, count in persons.items() if name != split})
    assert f"no usable record of the split '{split}'" in only_problem("cuhk-pedes", tmp_path)


def test_a_subset_keeps_that_many_identities_per_split_whole(tmp_path: Path) -> None:
    write_cuhk(tmp_path, {"train": 30, "val": 5, "test": 9})
    dataset = load_dataset("cuhk-pedes", tmp_path, subset=7)
    assert [len(dataset.splits[name].persons) for name in ("train", "val", "test")] == [7, 5, 7]
    assert dataset.splits["train"].counts()["captions"] == 28
    again = load_dataset("cuhk-pedes", tmp_path, subset=7)
    assert again.splits["train"].persons == dataset.splits["train"].persons
    larger = load_dataset("cuhk-pedes", tmp_path, subset=8)
    assert set(larger.splits["test"].persons) > set(dataset.splits["test"].persons)
    assert dataset.splits["train"].persons != tuple(map(str, range(1, 8)))


def test_a_fingerprint_tells_content_and_not_place(tmp_path: Path) -> None:
    write_cuhk(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first = load_dataset("cuhk-pedes", tmp_path / "a").fingerprint
    assert load_dataset("cuhk-pedes", tmp_path / "b").fingerprint == first
    assert load_dataset("cuhk-pedes", tmp_path / "a", subset=3).fingerprint != first
    image = tmp_path / "b/CUHK-PEDES/imgs/CUHK03/0001_0.jpg"
    image.write_bytes(image.read_bytes() + b"\0")
    changed = load_dataset("cuhk-pedes", tmp_path / "b")
    assert changed.fingerprint != first
    same_size = tmp_path / "a/CUHK-PEDES/imgs/CUHK03/0001_0.jpg"
    same_size.write_bytes(same_size.read_bytes()[:-1] + b"x")
    assert load_dataset("cuhk-pedes", tmp_path / "a").fingerprint != first
    write_cuhk(tmp_path / "c", edit=lambda records: records[5].update(captions=["another", "caption"]))
    assert load_dataset("cuhk-pedes", tmp_path / "c").fingerprint != first


def test_the_file_list_names_every_image_below_the_dataset(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    rows = file_list(load_dataset("cuhk-pedes", tmp_path))
    assert len(rows) == 24
    assert all((folder / row["path"]).stat().st_size == row["bytes"] for row in rows)
    assert str(tmp_path) not in json.dumps(rows)


def test_a_link_to_the_dataset_or_its_images_is_followed(tmp_path: Path) -> None:
    write_cuhk(tmp_path / "disk")
    (tmp_path / "root" / "CUHK-PEDES").mkdir(parents=True)
    shutil.copy(tmp_path / "disk/CUHK-PEDES/reid_raw.json", tmp_path / "root/CUHK-PEDES")
    (tmp_path / "root/CUHK-PEDES/imgs").symlink_to(tmp_path / "disk/CUHK-PEDES/imgs")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/CUHK-PEDES").symlink_to(tmp_path / "disk/CUHK-PEDES")
    plain, *linked = (load_dataset("cuhk-pedes", tmp_path / root) for root in ("disk", "root", "linked"))
    for dataset in linked:
        assert dataset.fingerprint == plain.fingerprint
        assert all(path.is_file() for split in dataset.splits.values() for path in split.image_paths)


def test_a_link_inside_the_images_may_lead_elsewhere_in_the_data_root(tmp_path: Path) -> None:
    """Benchmarks share pictures, which need not lie on the disk twice."""
    folder = write_cuhk(tmp_path)
    plain = load_dataset("cuhk-pedes", tmp_path)
    (tmp_path / "shared").mkdir()
    shutil.move(folder / "imgs/CUHK03", tmp_path / "shared/CUHK03")
    (folder / "imgs/CUHK03").symlink_to(tmp_path / "shared/CUHK03")
    linked = load_dataset("cuhk-pedes", tmp_path)
    assert linked.fingerprint == plain.fingerprint
    assert all(path.is_file() for split in linked.splits.values() for path in split.image_paths)


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_inside_the_images_that_leaves_the_data_root_is_refused(linked: str, tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path / "root")
    inside = folder / "imgs/CUHK03" / ("0001_0.jpg" if linked == "file" else "")
    outside = tmp_path / "outside" / inside.name
    outside.parent.mkdir()
    shutil.move(inside, outside)
    inside.symlink_to(outside)
    assert "leaves the data root through a link" in problems_of("cuhk-pedes", tmp_path / "root")[0]
    with pytest.raises(DataError):
        load_dataset("cuhk-pedes", tmp_path / "root", skip_broken=True)


def test_a_check_of_a_sound_tree_has_counts_and_no_problem(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    seen: list[tuple[int, int]] = []
    report = check_dataset("cuhk-pedes", tmp_path, progress=lambda done, total: seen.append((done, total)))
    nothing = {"captions_cut": 0, "shared_captions": 0, "shared_images": 0, "undecidable": 0}
    assert report["splits"]["train"] == {"person_ids": 6, "images": 12, "captions": 24, **nothing}
    assert report["splits"]["val"] == {"person_ids": 3, "images": 6, "captions": 12, **nothing}
    assert report["modes"] == {"RGB": 24}
    assert report["official"] is False
    assert report["problems"] == []
    assert report["damaged"] is False
    assert seen[-1] == (24, 24)
    json.dumps(report)


def test_a_check_names_truncated_images_and_wrong_files_and_calls_them_damage(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    image = folder / "imgs/CUHK03/0001_0.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    (folder / "imgs/CUHK03/0004_1.jpg").write_text("<html>not found</html>")
    report = check_dataset("cuhk-pedes", tmp_path)
    assert report["damaged"] is True
    assert any("0001_0.jpg: truncated" in problem for problem in report["problems"])
    assert any("0004_1.jpg: not an image" in problem for problem in report["problems"])
    assert check_dataset("cuhk-pedes", tmp_path, decode=False)["damaged"] is False


def test_a_check_of_a_tree_with_missing_images_still_counts_the_rest(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    shutil.rmtree(folder / "imgs/CUHK03")
    report = check_dataset("cuhk-pedes", tmp_path)
    assert report["damaged"] is True
    assert report["splits"]["train"]["images"] == 8
    assert any("CUHK03 is missing" in problem for problem in report["problems"])


def test_a_check_of_nothing_at_all_is_damage_with_zero_counts(tmp_path: Path) -> None:
    report = check_dataset("icfg-pedes", tmp_path)
    assert report["damaged"] is True
    assert report["splits"]["test"] == {"person_ids": 0, "images": 0, "captions": 0}


def test_problems_survive_the_way_back_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(DataError(["one", "two"])))
    assert error.lines == ["one", "two"]
    assert str(error) == "one\ntwo"


def test_images_of_other_modes_load_as_well(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    Image.new("L", (20, 40)).save(folder / "imgs/CUHK03/0001_0.jpg")
    Image.new("P", (20, 40)).save(folder / "imgs/CUHK03/0001_1.jpg", format="PNG")
    assert check_dataset("cuhk-pedes", tmp_path)["problems"] == []


def test_data_that_cannot_be_read_shows_no_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render(check_dataset("cuhk-pedes", tmp_path / "absent"))
    assert capsys.readouterr().out == "cuhk-pedes: cannot be read\n"
    write_cuhk(tmp_path)
    render(check_dataset("cuhk-pedes", tmp_path))
    assert "24 captions" in capsys.readouterr().out
