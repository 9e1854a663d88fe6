"""The generated part of the dataset card, and the contact sheet.

python -m harness.data.release.card      # after the archives of the package have changed
"""

from __future__ import annotations

import random
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

from harness.data.dataset import SPLIT_NAMES, Dataset
from harness.data.rendered import PACKAGE, generator, ground_truth, load, manifest
from harness.data.rendering.attributes import Person
from harness.data.rendering.person_sampling import holds_out
from harness.machine.generated_text import begin_mark, replace_generated

BEGIN = begin_mark("harness.data.release.card")
SHEET = "contact.webp"
SHEET_PEOPLE = 20  # a row; two views each
Table = list[list[str]]

ASPECTS: dict[str, Callable[[Person], str]] = {
    "sex": lambda person: person.body.sex,
    "age": lambda person: person.body.age,
    "hair colour": lambda person: "bald" if person.hair == "bald" else person.hair_colour,
    "outermost upper garment": lambda person: person.top.kind,
    "its colour": lambda person: person.top.colour,
    "its pattern": lambda person: person.top.pattern,
    "lower garment": lambda person: person.lower.kind if person.lower else "(dress)",
    "its colour ": lambda person: person.lower.colour if person.lower else "(dress)",
    "shoes": lambda person: person.shoes.kind,
    "bag": lambda person: person.bag.kind if person.bag else "none",
    "hat": lambda person: person.hat.kind if person.hat else "none",
    "scarf": lambda person: "scarf" if person.scarf else "none",
    "glasses": lambda person: person.glasses or "none",
}


def words_of(captions: Iterable[str]) -> Counter[str]:
    """How often each word occurs, in lower case; hyphened words are one."""
    return Counter(
        word for caption in captions for word in re.findall(r"[a-z]+(?:[-'][a-z]+)*", caption.lower())
    )


def generated(package: Path = PACKAGE) -> str:
    """The tables of the card, as Markdown."""
    names = list(manifest(package)["datasets"])
    loaded = {name: load(name, package=package) for name in names}
    varied = [name for name in names if not generator(name, package)["plant"]]
    persons = {name: list(ground_truth(name, package)[0].values()) for name in varied}
    return "\n\n".join(
        (
            "### Files and counts",
            _markdown(_counts(loaded, package)),
            "### Captions",
            _markdown(_captions(loaded)),
            "### Attributes, percent of all people (of the three domains)",
            _markdown(_attributes(persons)),
        )
    )


def _counts(loaded: dict[str, Dataset], package: Path) -> Table:
    rows = [
        [
            "dataset",
            "MB",
            *(f"{split}: people / images / captions" for split in SPLIT_NAMES),
            "seed",
            "sha256",
        ]
    ]
    for name, dataset in loaded.items():
        entry = manifest(package)["datasets"][name]
        counts = [
            " / ".join(f"{n:,}" for n in dataset.splits[split].counts().values()) for split in SPLIT_NAMES
        ]
        rows.append(
            [name, f"{entry['bytes'] / 1e6:.2f}", *counts, str(entry["seed"]), entry["sha256"][:16] + "…"]
        )
    return rows


def _captions(loaded: dict[str, Dataset]) -> Table:
    rows = [
        [
            "dataset",
            "captions",
            "distinct",
            "most repeated",
            "words a caption (median, longest)",
            "distinct words",
        ]
    ]
    everything: list[str] = []
    for name, dataset in loaded.items():
        captions = [caption for split in dataset.splits.values() for caption in split.captions]
        everything += captions
        rows.append([name, *_caption_figures(captions)])
    return [*rows, ["all of them", *_caption_figures(everything)]]


def _caption_figures(captions: list[str]) -> list[str]:
    repeated = Counter(captions)
    lengths = [len(caption.split()) for caption in captions]
    length = f"{statistics.median(lengths):.0f}, {max(lengths)}"
    most = f"{repeated.most_common(1)[0][1]} times"
    return [f"{len(captions):,}", f"{len(repeated):,}", most, length, str(len(words_of(captions)))]


def _attributes(persons: dict[str, list[Person]]) -> Table:
    rows = [["attribute", *persons]]
    for aspect, value in ASPECTS.items():
        shares = [Counter(map(value, people)) for people in persons.values()]
        rows.append([aspect, *(_shares(counts) for counts in shares)])
    unseen = [sum(bool(holds_out(person)) for person in people) for people in persons.values()]
    return [*rows, ["held out of training (people, all in val and test)", *map(str, unseen)]]


def _shares(counts: Counter[str]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{name} {100 * count / total:.0f}" for name, count in counts.most_common())


def _markdown(rows: Table) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def contact_sheet(package: Path = PACKAGE) -> Image.Image:
    """Twenty random test people of each dataset, side by side, two views one above the other."""
    strips = []
    for name in manifest(package)["datasets"]:
        split = load(name, package=package).splits["test"]
        chosen = random.Random(name).sample(range(len(split.persons)), SHEET_PEOPLE)
        views = [
            [i for i, owner in enumerate(split.image_person) if owner == person][:2] for person in chosen
        ]
        strips += [[split.image_paths[pair[row]] for pair in views] for row in (0, 1)]
    with Image.open(strips[0][0]) as first:
        width, height = first.size
    sheet = Image.new("RGB", (SHEET_PEOPLE * (width + 2), len(strips) * (height + 2)), "white")
    for row, paths in enumerate(strips):
        for column, path in enumerate(paths):
            with Image.open(path) as picture:
                sheet.paste(picture, (column * (width + 2), row * (height + 2)))
    return sheet


def main() -> None:
    """Rewrite the generated part of the card and the contact sheet."""
    card = PACKAGE / "README.md"
    replace_generated(card, BEGIN, generated())
    contact_sheet().save(PACKAGE / SHEET, "webp", quality=75, method=6)
    print(f"{card} and {PACKAGE / SHEET} ({(PACKAGE / SHEET).stat().st_size / 1000:.0f} KB)")


if __name__ == "__main__":
    main()
