"""Rendered people and their captions: populations, hold-outs, planted truths, captions."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import re
import subprocess
import sys
from collections import Counter

import pytest

from harness.data.rendering import population as population_module
from harness.data.rendering.attributes import (
    BAG_KINDS,
    COLOURS,
    DENIM,
    GAITS,
    HAIR_STYLES,
    HAT_KINDS,
    LOWER_KINDS,
    MESHES,
    OUTER_KINDS,
    SHOE_KINDS,
    SIDES,
    UPPER_KINDS,
    Person,
    View,
    person_from_record,
    signature,
    to_record,
    view_from_record,
)
from harness.data.rendering.captioning import captions, fill
from harness.data.rendering.person_sampling import holds_out
from harness.data.rendering.planted import PLANTS
from harness.data.rendering.population import Sizes, population

SIZES = Sizes(60, 15, 35)
DOMAINS = ("plaza", "station", "campus", "generic")
PARTS = (
    *("skin", "hair", "upper", "outer", "lower", "legs", "shoes", "socks"),
    *("bag", "straps", "hat", "scarf", "glasses", "beard", "print", "held"),
)
# Words that are only ever said of one part; the oracle is this list, not the vocabulary.
TELLTALE = {
    "bag": r"bag|purse|backpack|rucksack|knapsack|satchel|luggage|pocketbook|tote|shopper|trolley|case\b",
    "hat": r"\bcap\b|beanie|\bhat\b|fedora|trilby|snapback",
    "scarf": r"scarf",
    "glasses": r"glasses|shades|sunnies|spectacles|frames",
    "beard": r"beard|facial hair",
    "shoes": r"shoes|sneakers|trainers|boots|loafers|kicks|footwear",
    "held": r"phone|smartphone|mobile|coffee\b(?! brown)|paper cup|takeaway cup|to-go cup",
    "hair": r"(?<!facial )\bhair\b|ponytail|braid|plait|afro",
}


@pytest.fixture(scope="module")
def people() -> dict[str, list[Person]]:
    return {domain: population(domain, 5, SIZES) for domain in DOMAINS}


def view_of(person: Person, rng: random.Random, hidden: str = "") -> View:
    """A view that shows everything a person has, except `hidden`."""
    side = rng.choice(SIDES)
    facing = {"front": rng.uniform(0.75, 1), "back": rng.uniform(0, 0.25)}.get(side, 0.5)
    shown = {part: 0.05 for part in PARTS if part not in (hidden, "straps" if hidden == "bag" else hidden)}
    return View(side, facing, rng.choice(GAITS), rng.choice(("", "phone", "cup")), "", shown)


def everything_said(
    people: list[Person], domain: str, hidden: str = "", rounds: int = 2
) -> list[tuple[View, str]]:
    rng = random.Random(3)
    said = []
    for person, number in itertools.product(people, range(rounds)):
        view = view_of(person, rng, hidden)
        unseen = SIZES.split_of(person.number) != "train"
        said += [
            (view, caption)
            for caption in captions(person, view, domain, 7 * person.number + number, unseen=unseen)
        ]
    return said


def test_any_two_people_differ_in_two_or_more_visible_things(people: dict[str, list[Person]]) -> None:
    for domain in DOMAINS:
        looks = [signature(person) for person in people[domain]]
        for one, other in itertools.combinations(looks, 2):
            assert sum(a != b for a, b in zip(one, other, strict=True)) >= 2


def test_a_population_depends_on_its_domain_and_seed_alone(people: dict[str, list[Person]]) -> None:
    assert population("plaza", 5, SIZES) == people["plaza"]
    assert population("plaza", 6, SIZES) != people["plaza"]
    code = (
        "import json; from harness.data.rendering.population import *; "
        "print(json.dumps([p.look for p in population('campus', 5, Sizes(60, 15, 35))]))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(elsewhere) == [person.look for person in people["campus"]]


def test_everything_drawn_belongs_to_the_schema(people: dict[str, list[Person]]) -> None:
    for person in itertools.chain(*people.values()):
        assert person.upper.kind in UPPER_KINDS
        assert person.outer is None or person.outer.kind in OUTER_KINDS
        assert (person.lower is None) == (person.upper.kind == "dress")
        assert person.lower is None or person.lower.kind in LOWER_KINDS
        assert person.shoes.kind in SHOE_KINDS
        assert person.hair in HAIR_STYLES
        assert person.bag is None or person.bag.kind in BAG_KINDS
        assert person.hat is None or person.hat.kind in HAT_KINDS
        for worn in filter(None, (person.upper, person.outer, person.lower)):
            assert worn.colour in (DENIM if worn.kind == "jeans" else COLOURS)
            assert worn.mesh == "male_elegantsuit01" or worn.mesh in {mesh for mesh, _ in MESHES[worn.kind]}
            assert (worn.second == "") == (worn.pattern == "plain")
            assert worn.second != worn.colour


def test_no_train_person_wears_what_is_held_out_and_test_people_do(people: dict[str, list[Person]]) -> None:
    for domain in ("plaza", "station", "campus"):
        for person in people[domain][: SIZES.train]:
            worn = {thing.kind for thing in (person.upper, person.outer, person.hat) if thing is not None}
            assert not worn & {"polo shirt", "gilet", "fedora"}
            assert person.lower is None or (person.top.colour, person.lower.colour) != ("navy", "white")
        unseen = people[domain][SIZES.train :]
        assert 0.1 < sum(bool(holds_out(person)) for person in unseen) / len(unseen) < 0.75
    assert any(holds_out(person) for person in people["generic"])


def test_the_domains_dress_differently(people: dict[str, list[Person]]) -> None:
    outer = {domain: sum(person.outer is not None for person in people[domain]) for domain in DOMAINS}
    assert outer["station"] > 2 * outer["plaza"]
    hoodies = {domain: sum(person.upper.kind == "hoodie" for person in people[domain]) for domain in DOMAINS}
    assert hoodies["campus"] > 5 * max(hoodies["plaza"], 1)


def test_people_and_views_survive_json(people: dict[str, list[Person]]) -> None:
    rng = random.Random(0)
    for person in people["station"]:
        assert person_from_record(json.loads(json.dumps(to_record(person)))) == person
        view = view_of(person, rng)
        assert view_from_record(json.loads(json.dumps(to_record(view)))) == view


def test_an_unknown_domain_or_plant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"piazza.*plaza"):
        population("piazza", 0, SIZES)
    with pytest.raises(ValueError, match=r"fine:hat.*fine:bag-pattern"):
        population("plaza", 0, SIZES, "fine:hat")


@pytest.mark.parametrize(
    ("plant", "differing"),
    [
        ("fine:shoes-colour", {"shoes.colour", "shoes.sole"}),
        ("fine:bag-pattern", {"bag.pattern", "bag.second"}),
        ("coarse:colour", {"upper.colour", "lower.colour"}),
    ],
)
def test_in_a_planted_population_nothing_but_the_planted_detail_differs(
    plant: str, differing: set[str]
) -> None:
    crowd = population("campus", 2, Sizes(50, 5, 20), plant)
    assert plant in PLANTS
    found = {name for person in crowd[1:] for name in differences(to_record(crowd[0]), to_record(person))}
    assert found == differing | {"number"}
    assert len({signature(person) for person in crowd}) == len(crowd)


def differences(one: dict, other: dict, prefix: str = "") -> set[str]:
    """The paths at which two records differ."""
    found: set[str] = set()
    for key, value in one.items():
        if isinstance(value, dict) and isinstance(other[key], dict):
            found |= differences(value, other[key], f"{prefix}{key}.")
        elif value != other[key]:
            found.add(prefix + key)
    return found


def test_a_planted_population_larger_than_its_details_comes_in_crowds() -> None:
    crowd = population("plaza", 0, Sizes(80, 10, 10), "fine:bag-pattern")
    looks = Counter(person.look for person in crowd)
    assert len(looks) == 2
    assert [person.number for person in crowd] == list(range(100))
    assert len({signature(person) for person in crowd}) == 100


@pytest.mark.parametrize("part", sorted(TELLTALE))
def test_a_caption_never_names_what_the_view_hides(people: dict[str, list[Person]], part: str) -> None:
    named = 0
    for domain in DOMAINS:
        seen = everything_said(people[domain][20:80], domain, rounds=1)
        named += sum(bool(re.search(TELLTALE[part], caption.lower())) for _, caption in seen)
        for _, caption in everything_said(people[domain][20:80], domain, hidden=part, rounds=1):
            assert not re.search(TELLTALE[part], caption.lower()), caption
    assert named > 2, "the oracle's words hardly occur"


def test_nobody_is_given_a_thing_they_do_not_have(people: dict[str, list[Person]]) -> None:
    rng = random.Random(1)
    for person in people["station"]:
        bare = dataclasses.replace(person, bag=None, hat=None, scarf=None, glasses="", beard=False)
        view = dataclasses.replace(view_of(person, rng), holding="")
        for caption in captions(bare, view, "station", person.number):
            for part in ("bag", "hat", "scarf", "glasses", "beard", "held"):
                assert not re.search(TELLTALE[part], caption.lower()), caption


@pytest.mark.parametrize("domain", DOMAINS)
def test_people_who_stand_are_never_said_to_walk(people: dict[str, list[Person]], domain: str) -> None:
    walking = r"\b(walk|stroll|strid|moving|moves|wheeling|pulling|dragging|pass|cross(es|ing)\b|hurr|headed)"
    said = everything_said(people[domain], domain)
    assert any(re.search(walking, caption) for view, caption in said if view.gait == "walking")
    for view, caption in said:
        if view.gait == "standing":
            assert not re.search(walking, caption.replace("passenger", "").replace("passer-by", "")), caption


def test_the_camera_is_not_faced_by_people_seen_from_behind(people: dict[str, list[Person]]) -> None:
    for view, caption in everything_said(people["plaza"], "plaza"):
        if view.side == "back":
            assert not re.search(r"facing (us|the camera)|toward|this way|from the front", caption), caption
        if view.side == "front":
            assert not re.search(r"\baway\b|from behind|back turned", caption), caption


def test_captions_are_the_same_for_the_same_seed_and_vary_with_it(people: dict[str, list[Person]]) -> None:
    person = people["campus"][0]
    view = view_of(person, random.Random(0))
    assert captions(person, view, "campus", 1) == captions(person, view, "campus", 1)
    assert len({caption for seed in range(50) for caption in captions(person, view, "campus", seed)}) > 80


def test_station_has_one_long_caption_and_the_others_two(people: dict[str, list[Person]]) -> None:
    lengths = {}
    for domain in DOMAINS:
        said = everything_said(people[domain], domain, rounds=1)
        assert len(said) == len(people[domain]) * (1 if domain == "station" else 2)
        lengths[domain] = sum(len(caption.split()) for _, caption in said) / len(said)
    assert lengths["station"] > 1.3 * max(lengths["plaza"], lengths["campus"])


def test_a_held_out_sentence_is_said_of_unseen_people_only(people: dict[str, list[Person]]) -> None:
    telltale = r"stands out about|asked to look out|From the feet up|Have you seen|^spotted:|My friend is"
    for domain in ("plaza", "station", "campus"):
        train, unseen = people[domain][: SIZES.train], people[domain][SIZES.train :]
        assert not any(re.search(telltale, caption) for _, caption in everything_said(train, domain))
        assert any(re.search(telltale, caption) for _, caption in everything_said(unseen, domain))


def test_the_planted_detail_is_always_told_when_it_is_seen() -> None:
    rng = random.Random(0)
    for person in population("plaza", 0, Sizes(20, 1, 1), "fine:shoes-colour"):
        said = captions(
            person, view_of(person, rng), "plaza", person.number, always_named=frozenset({"feet"})
        )
        assert all(re.search(TELLTALE["shoes"], caption.lower()) for caption in said), said


def test_no_caption_has_marks_of_its_template_or_doubled_words(people: dict[str, list[Person]]) -> None:
    for domain in DOMAINS:
        for _, caption in everything_said(people[domain], domain):
            assert not re.search(
                r"[\[\]{}|]|  |\.\.|,,| ,|\(|\ba a\b|\ban? an?\b|\bwith with\b|^\W", caption
            ), caption


def test_brackets_vanish_with_their_slot_and_capitals_are_kept() -> None:
    slots = {"a_who": "a man", "bag": "", "hair": "red hair"}
    rng = random.Random(0)
    assert fill("{A_who}[ with {bag}][, {hair}].", slots, rng) == "A man, red hair."
    assert fill("(in|in) {hair}[ and {bag} or {hair}]", slots, rng) == "in red hair"


def test_a_population_is_named_by_its_sizes() -> None:
    sizes = Sizes(3, 2, 1)
    assert [sizes.split_of(number) for number in range(sizes.total)] == ["train"] * 3 + ["val"] * 2 + ["test"]
    assert len(population_module.population("plaza", 0, sizes)) == 6
