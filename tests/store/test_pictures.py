"""A picture is shown only beside the data it was drawn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import stores
from stores import Truth

import reports
from harness.data.dataset import Split
from harness.store.pictures import (
    FOLDER,
    found_only_by,
    has_pruned,
    read_gallery,
    read_pruned,
    worst_queries,
    write_gallery,
    write_pruned,
)
from harness.store.runs import RunStore
from reports.comparison import ComparisonOptions

TARGET = "rendered-plaza"
DATA = f"data-{TARGET}"
CAPTION = "A woman in a red coat."


def split_of(people: int, word: str) -> Split:
    """A test split with one image, which cannot be read, and one caption a person."""
    return Split(
        name="test",
        image_paths=tuple(Path(f"/nowhere/{person}.png") for person in range(people)),
        persons=tuple(str(person) for person in range(people)),
        image_person=np.arange(people),
        captions=tuple(f"{word} {person}" for person in range(people)),
        caption_image=np.arange(people),
    )


def built(store: RunStore) -> str:
    """The page of a store."""
    return reports.build([store.directory], options=ComparisonOptions(resamples=50)).path.read_text()


def evaluated_on(store: RunStore, index: int, data: str) -> None:
    """Let a cell of the store have been evaluated on other data of the same name."""
    run = store.cells()[index]
    run.write_results([{**row, "fingerprint": data} for row in run.results])
    run.finish()


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return stores.write(tmp_path / "run", Truth({"uit": 50.0, "baseline": 40.0}, seeds=1, people=30))


def test_cells_evaluated_on_other_data_are_left_out_of_a_gallery(store: RunStore) -> None:
    evaluated_on(store, 0, "other data")
    # The cell on the other data was asked 120 captions; of these only 5 are there.
    write_gallery(store, TARGET, "other data", split_of(120, "theirs"))
    evaluated_on(store, 1, "third data")
    write_gallery(store, TARGET, DATA, split_of(5, "ours"))
    kept = read_gallery(store.directory, TARGET, DATA)
    assert sorted(kept.queries) == list(range(5))
    assert {str(row["caption"]).split()[0] for row in kept.queries.values()} == {"ours"}
    others = read_gallery(store.directory, TARGET, "other data")
    assert {str(row["caption"]).split()[0] for row in others.queries.values()} == {"theirs"}


def test_pictures_of_other_data_are_not_read_whatever_their_file_is_called(store: RunStore) -> None:
    write_gallery(store, TARGET, DATA, split_of(120, "ours"))
    write_pruned(store.directory, TARGET, DATA, "pattern 1", {"a red coat": "red coat"})
    assert read_gallery(store.directory, TARGET, DATA).queries
    assert read_pruned(store.directory, TARGET, DATA) == ("pattern 1", [("a red coat", "red coat")])
    for path in (store.directory / FOLDER).iterdir():
        path.rename(path.with_name(path.name.replace(DATA[:12], "another data"[:12])))
    assert read_gallery(store.directory, TARGET, "another data").queries == {}
    assert read_pruned(store.directory, TARGET, "another data") is None


def test_a_page_shows_no_caption_of_data_that_its_cell_was_not_evaluated_on(store: RunStore) -> None:
    stores.add_pictures(store.directory, TARGET, CAPTION)
    assert built(store).count(CAPTION) > 6
    for index in range(len(store.cells())):
        evaluated_on(store, index, "changed data")
    assert "Worst queries" not in built(store)
    assert "Queries drawn at random" not in built(store)


def test_a_page_shows_no_caption_of_a_person_that_the_records_do_not_name(store: RunStore) -> None:
    stores.add_pictures(store.directory, TARGET, CAPTION)
    for run in store.cells():
        frame = run.records(TARGET, "val", "t2i")
        frame["person_id"] = frame["person_id"] + 1000
        run.save_records(TARGET, "val", "t2i", frame)
        run.finish()
    assert "Worst queries" not in built(store)


def test_the_queries_that_only_one_of_two_methods_finds_are_kept_and_shown_side_by_side(
    store: RunStore,
) -> None:
    ours, theirs = (
        next(run for run in store.cells() if run.cell.method == name) for name in ("uit", "baseline")
    )
    ranks = {"uit": {7: 1, 8: 40, 9: 1}, "baseline": {7: 50, 8: 1, 9: 1}}
    for run in (ours, theirs):
        frame = run.records(TARGET, "val", "t2i")
        frame["rank"] = 2
        for query, rank in ranks[run.cell.method].items():
            frame.loc[frame["query"] == query, "rank"] = rank
        run.save_records(TARGET, "val", "t2i", frame)
        run.finish()
    stores.add_pictures(store.directory, TARGET, CAPTION)
    kept = read_gallery(store.directory, TARGET, DATA)
    tops = ours.records(TARGET, "val", "t2i").set_index("query")["top"]
    assert {7, 8} <= set(kept.queries)
    assert {int(image) for image in tops[7]} <= set(kept.images)
    page = built(store)
    assert "Only uit finds" in page
    assert "Only baseline finds" in page
    assert "only uit (seed 0) finds 1 at rank 1, only baseline (seed 0) 1, both 1." in page


def test_of_a_query_that_only_one_method_finds_the_pictures_that_both_retrieved_are_kept(
    store: RunStore,
) -> None:
    ours, theirs = (
        next(run for run in store.cells() if run.cell.method == name) for name in ("uit", "baseline")
    )
    retrieved = {"uit": range(20, 30), "baseline": range(40, 50)}
    for run in (ours, theirs):
        frame = run.records(TARGET, "val", "t2i")
        frame["rank"] = np.where(frame["query"] == 7, 1 if run is ours else 50, 2)
        frame["top"] = [
            list(retrieved[run.cell.method] if query == 7 else range(10)) for query in frame["query"]
        ]
        run.save_records(TARGET, "val", "t2i", frame)
        run.finish()
    stores.add_pictures(store.directory, TARGET, CAPTION)
    kept = read_gallery(store.directory, TARGET, DATA)
    assert 7 in kept.queries
    for images in retrieved.values():
        assert set(images) <= set(kept.images)


def test_a_page_says_what_captions_are_worth_for_restoring_an_image(store: RunStore) -> None:
    stores.add_pictures(store.directory, TARGET, CAPTION)
    page = built(store)
    assert "0.200 with its own caption, 0.400 with somebody else’s and 0.300 with no caption" in page
    assert "restores it better than somebody else’s in 1 of 1" in page


def test_pruned_captions_are_kept_until_data_tagger_or_code_change(tmp_path: Path) -> None:
    def kept(data: str = DATA, tagger: str = "pattern 1", code: str = "c") -> bool:
        return has_pruned(tmp_path, TARGET, data, tagger, code)

    assert not kept()
    write_pruned(tmp_path, TARGET, DATA, "pattern 1", {"a red coat": "red coat"}, "c")
    assert kept()
    assert not kept(data="other")
    assert not kept(tagger="pattern 2")
    assert not kept(code="d")


def test_the_three_queries_are_shown_that_one_method_finds_and_the_other_ranks_deepest() -> None:
    one = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 2.0, 6: 1.0, 7: 1.0, 8: 1.0}
    other = {1: 5.0, 2: 9.0, 3: 1.0, 4: 9.0, 5: 99.0, 6: 2.0, 7: 4.0, 8: float("nan")}
    assert found_only_by(one, other) == [2, 4, 1]
    assert found_only_by(other, one) == []
    assert found_only_by({1: 1.0}, {}) == []


def test_the_six_worst_queries_are_those_found_deepest_and_none_that_has_nothing_to_find() -> None:
    ranks = np.array([3.0, np.nan, 50.0, 1.0, 7.0, 50.0, 2.0, 9.0, 4.0])
    assert worst_queries(ranks) == [2, 5, 7, 4, 8, 0]
    assert worst_queries(np.array([np.nan, 1.0])) == [1]


def test_the_queries_drawn_for_every_method_are_marked_and_have_their_own_caption_person_and_image(
    store: RunStore,
) -> None:
    split = split_of(120, "ours")
    write_gallery(store, TARGET, DATA, split)
    kept = read_gallery(store.directory, TARGET, DATA).queries
    drawn = [query for query, row in kept.items() if row["chosen"]]
    assert len(drawn) == 6 < len(kept)
    for query, row in kept.items():
        assert (row["caption"], row["person_id"], row["image"]) == (f"ours {query}", str(query), query)
