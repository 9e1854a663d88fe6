"""The verb `query`: who a sentence describes, or what describes a picture, as a sheet with scores."""

from __future__ import annotations

import codecs
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.cli.gallery import (
    SearchedGallery,
    gallery_features,
    normalised,
    of_dataset,
    of_folder,
    query_pixels,
)
from harness.data.augment import normalise
from harness.data.captions import cleaned
from harness.data.dataset import SPLIT_NAMES, Split
from harness.data.thumbnails import thumbnail, thumbnail_webp
from harness.evaluate.features import CAPTIONS_AT_ONCE, IMAGES_AT_ONCE, encode_chunks, evaluation_mode
from harness.launch.context import Context
from harness.launch.kept_plugins import register_plugins_at
from harness.launch.models import OpenedModel, open_model
from harness.machine.devices import make_fabric, to_precision
from harness.machine.environment import Machine
from harness.machine.errors import StudyError
from harness.machine.files import atomic_file, atomic_write
from harness.registry import UnknownNameError
from methods.tokenizer import Tokenizer
from reports.document import visible

if TYPE_CHECKING:
    from PIL import Image

LONGEST = 2000
"""Characters of a sentence that are read; no model sees more than a fraction of them."""
MOST_SENTENCES = 1000
MOST_BYTES = 4 * LONGEST * MOST_SENTENCES
# UTF-32 first: its mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    *((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig")),
    *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")),
)
SHEETS = (".html", ".htm", ".png")
HEIGHT = 192
"""Pixels of a picture on a sheet."""


@dataclass(frozen=True)
class Question:
    """What is looked for: sentences look for people, pictures for captions."""

    sentences: tuple[str, ...] = ()
    pictures: tuple[Path, ...] = ()

    @classmethod
    def of(cls, sentences: Iterable[str], file: Path | None, pictures: Iterable[Path]) -> Question:
        """From the command line, and a file with one sentence per line. Raises `StudyError` when empty."""
        listed = list(sentences)
        if file is not None:
            listed += _lines_of(file)
        kept = tuple(sentence.strip()[:LONGEST] for sentence in listed if sentence.strip())
        question = cls(kept, tuple(pictures))
        if not question.sentences and not question.pictures:
            raise StudyError(["query: nothing to look for; give a sentence, --from FILE or --image FILE"])
        return question


def _lines_of(file: Path) -> list[str]:
    """The sentences in a text file. Raises `StudyError` for one that is no UTF-8 or UTF-16, or too long."""
    with file.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise StudyError([f"--from {file}: more than {MOST_BYTES:,} bytes; ask in several files"])
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(marked)
        if "\0" in text:
            raise ValueError("holds zeros")
    except ValueError:
        why = "not UTF-8 text, nor marked as UTF-16; if it is in GBK, latin-1 or the like, save it as UTF-8"
        raise StudyError([f"--from {file}: {why}"]) from None
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > MOST_SENTENCES:
        count = f"{len(lines):,} sentences; at most {MOST_SENTENCES:,} are answered at once"
        raise StudyError([f"--from {file}: {count}, so split the file"])
    return lines


@dataclass(frozen=True)
class Hit:
    """One answer: an image of the gallery, or a caption with the image it was written for."""

    index: int
    score: float
    """Cosine of the two features."""
    person: str
    """Empty of a picture of a folder, whose person is not known."""
    picture: Path
    caption: str = ""

    @property
    def known_as(self) -> str:
        """The person's identity, or the picture's file where it is not known."""
        return f"id {self.person}" if self.person else self.picture.name


@dataclass(frozen=True)
class QueryAnswer:
    """What was found for one sentence or picture, best first; ties keep the gallery's order."""

    sentence: str
    picture: Path | None
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class QueryAnswers:
    """Everything that was asked of one model about one gallery."""

    origin: str
    dataset: str
    """The dataset that was searched, or the folder of pictures."""
    split: str
    """Of the dataset; empty of a folder."""
    answers: tuple[QueryAnswer, ...]
    notes: tuple[str, ...] = ()
    """What of the gallery was left out."""

    @property
    def searched(self) -> str:
        """What was searched, in words."""
        return f"{self.dataset} ({self.split})" if self.split else self.dataset

    def write(self, out: Path) -> None:
        """Write the sheet: a picture for `.png`, else one HTML file that needs nothing beside it."""
        check_sheet(out)
        if out.suffix.lower() == ".png":
            with atomic_file(out) as file:
                _sheet(self).save(file, "PNG")
        else:
            from reports.query_page import page

            atomic_write(out, page(self, partial(thumbnail_webp, height=HEIGHT)))


def check_sheet(out: Path) -> None:
    """Raises `StudyError` for a file that is called neither a page nor a picture."""
    if out.suffix.lower() not in SHEETS:
        raise StudyError([f"--out {out}: the sheet is a page (.html) or a picture (.png)"])


def ask(
    checkpoint: Path,
    question: Question,
    dataset: str,
    machine: Machine,
    top: int = 10,
    *,
    pictures: Path | None = None,
    split: str = "test",
    backbone: str | None = None,
    subset: int | None = None,
    image_size: tuple[int, int] | None = None,
    ignore: Sequence[str] = (),
) -> QueryAnswers:
    """Search a split of a dataset, or the pictures of a folder, with any model that `evaluate` opens.

    Raises `CheckpointError`, `DataError`, `UnknownNameError`, and `DataError` for a picture that is none.
    """
    if split not in SPLIT_NAMES:
        raise UnknownNameError("split", split, SPLIT_NAMES)
    if bool(dataset) == (pictures is not None):
        both = "either --dataset or --gallery" if dataset else "--dataset, or --gallery with a folder"
        raise StudyError([f"query: give {both}; `list datasets` shows the datasets"])
    if pictures is not None and question.pictures:
        raise StudyError(["query: --image looks for captions, which a folder of pictures lacks: --dataset"])
    register_plugins_at(checkpoint)  # the dataset may be its plugin's
    if pictures is None:
        gallery = of_dataset(Context(machine), dataset, subset, split)
    else:
        gallery = of_folder(pictures)
    model = open_model(checkpoint, backbone=backbone, image_size=image_size, ignore=ignore)
    device = make_fabric(model.precision, device=machine.device).device
    to_precision(model.method.to(device), model.precision)
    with evaluation_mode(model.method, model.precision):
        people = _people(model, gallery, question.sentences, top, device)
        answers = [*people, *_captions(model, gallery, question, top, device)]
    return QueryAnswers(model.origin, gallery.name, gallery.part, tuple(answers), tuple(gallery.notes))


def _people(
    model: OpenedModel, gallery: SearchedGallery, sentences: Sequence[str], top: int, device: torch.device
) -> Iterator[QueryAnswer]:
    if not sentences:
        return
    config = model.backbone.config
    read = [cleaned(sentence) if model.caption_cleaning else sentence for sentence in sentences]
    tokens = Tokenizer(config.vocab_size, config.context_length)(read).long().to(device)
    chunks = torch.split(tokens, CAPTIONS_AT_ONCE)
    asked = normalised(encode_chunks(model.method.encode_text, chunks, model.method.embed_dim))
    images = gallery_features(gallery, model, "images", device)
    for sentence, best in zip(sentences, _best(asked, images, top), strict=True):
        hits = (Hit(index, score, *_image(gallery.split, index)) for index, score in best)
        yield QueryAnswer(sentence, None, tuple(hits))


def _captions(
    model: OpenedModel, gallery: SearchedGallery, question: Question, top: int, device: torch.device
) -> Iterator[QueryAnswer]:
    if not question.pictures:
        return
    shown = [query_pixels(path, model.image_size, model.test_resize) for path in question.pictures]
    config, pixels = model.backbone.config, torch.stack(shown).to(device)
    chunks = torch.split(normalise(pixels, config.mean, config.std), IMAGES_AT_ONCE)
    asked = normalised(encode_chunks(model.method.encode_image, chunks, model.method.embed_dim))
    captions, split = gallery_features(gallery, model, "captions", device), gallery.split
    for picture, best in zip(question.pictures, _best(asked, captions, top), strict=True):
        hits = (
            Hit(index, score, *_image(split, int(split.caption_image[index])), split.captions[index])
            for index, score in best
        )
        yield QueryAnswer("", picture, tuple(hits))


def _best(asked: Tensor, gallery: Tensor, top: int) -> Iterator[list[tuple[int, float]]]:
    readable = gallery.isfinite().all(dim=1).nonzero().squeeze(1)
    for row in asked:
        scores, order = (gallery[readable] @ row).sort(descending=True, stable=True)
        yield list(zip(readable[order[:top]].tolist(), scores[:top].tolist(), strict=True))


def _image(split: Split, index: int) -> tuple[str, Path]:
    return split.persons[int(split.image_person[index])], split.image_paths[index]


# -- sheets ---------------------------------------------------------------------------------------


_MARGIN, _CELL, _LINE = 12, 120, 18


def _sheet(answers: QueryAnswers) -> Image.Image:
    """All answers as one picture: a line of text each, under it the pictures with their scores."""
    from PIL import Image, ImageDraw, ImageFont

    widest = max((len(answer.hits) for answer in answers.answers), default=1)
    tall = HEIGHT + 4 * _LINE + _MARGIN
    size = (2 * _MARGIN + max(5, widest) * _CELL, 2 * _MARGIN + max(1, len(answers.answers)) * tall)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, answer in enumerate(answers.answers):
        top = _MARGIN + row * tall
        title = visible(answer.sentence or f"captions for {answer.picture}")
        pen.text((_MARGIN, top), "\n".join(textwrap.wrap(title, size[0] // 8)[:2]), "black", font)
        for column, hit in enumerate(answer.hits):
            left = _MARGIN + column * _CELL
            image = thumbnail(hit.picture, HEIGHT)
            if image is not None:
                image.thumbnail((_CELL - 8, HEIGHT))
                sheet.paste(image, (left, top + 2 * _LINE))
            pen.text((left, top + HEIGHT + 2 * _LINE), f"{column + 1}  {hit.score:.3f}", "black", font)
            pen.text((left, top + HEIGHT + 3 * _LINE), hit.known_as[:16], "grey", font)
    return sheet


def plain(answers: QueryAnswers) -> dict[str, Any]:
    """The JSON object of `query --json`."""
    return {
        "model": answers.origin,
        "dataset": answers.dataset,
        "split": answers.split,
        "notes": list(answers.notes),
        "answers": [
            {
                "sentence": answer.sentence,
                "image": str(answer.picture or ""),
                "hits": [{**vars(hit), "picture": str(hit.picture)} for hit in answer.hits],
            }
            for answer in answers.answers
        ],
    }


def render(answers: QueryAnswers, out: Path) -> None:
    """Print the answers for a person."""
    print(f"{answers.origin}, on {answers.searched}")
    for note in answers.notes:
        print(visible(note))
    for answer in answers.answers:
        print(visible(answer.sentence or str(answer.picture)))
        for rank, hit in enumerate(answer.hits, 1):
            shown = visible(hit.caption or str(hit.picture))
            person = f"id {hit.person}  " if hit.person else ""
            print(f"  {rank:>3}  {hit.score:6.3f}  {person}{shown}")
    print(f"sheet: {out}")
