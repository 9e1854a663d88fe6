"""Text pruning: a caption cut down to its pronouns, nouns and adjectives, and the taggers that find them."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Protocol

KEPT_TAGS = ("PRP", "NN", "JJ")
CONTENT_TAGS = ("NN", "JJ")
# A word keeps its hyphens ("T-shirt"), an ending its apostrophe ("she 's"); everything else stands alone.
WORDS = re.compile(r"\w+(?:-\w+)*|['’]\w+|[^\w\s]")


class Tagger(Protocol):
    """Gives every word of a caption its Penn Treebank tag."""

    name: str
    version: str

    def tag(self, caption: str) -> list[tuple[str, str]]:
        """The words of `caption` in order, each with its tag."""
        ...


class TextBlobTagger:
    """TextBlob's PatternTagger; its lexicon comes with the package, nothing is downloaded."""

    name = "textblob-pattern"
    version = version("textblob")

    def tag(self, caption: str) -> list[tuple[str, str]]:
        """The words of `caption` in order, each with its Penn tag."""
        words = WORDS.findall(caption)
        tagged = _pattern_tagger().tag(" ".join(words), tokenize=False) if words else []
        return [(word, tag) for word, (_, tag) in zip(words, tagged, strict=True)]


class NLTKTagger:
    """NLTK's averaged perceptron; needs the data package `averaged_perceptron_tagger_eng`."""

    name = "nltk-perceptron"
    version = version("nltk")

    def tag(self, caption: str) -> list[tuple[str, str]]:
        """The words of `caption` in order, each with its Penn tag."""
        import nltk

        tagged: list[tuple[str, str]] = nltk.pos_tag(WORDS.findall(caption))
        return tagged


@cache
def _pattern_tagger():  # type: ignore[no-untyped-def]  # textblob is untyped
    from textblob.en.taggers import PatternTagger

    return PatternTagger()


def nltk_folders() -> list[Path]:
    """The folders in which NLTK looks for its data unless a program says otherwise, found without NLTK."""
    named = [folder for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
    prefix = Path(sys.prefix)
    system = map(Path, ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib"))
    places = [Path("~").expanduser(), prefix, prefix / "share", prefix / "lib", *system]
    return [*map(Path, named), *(place / "nltk_data" for place in places)]


def nltk_data_present() -> bool:
    """Whether NLTK's perceptron tagger has its data on this machine.

    NLTK takes more than a second to import, so it is asked only where one of its folders exists.
    """
    elsewhere = "nltk" in sys.modules or sys.platform == "win32"
    if not elsewhere and not any(folder.is_dir() for folder in nltk_folders()):
        return False
    import nltk

    try:
        nltk.data.find("taggers/averaged_perceptron_tagger_eng/")
    except LookupError:
        return False
    return True


def tagger(name: Literal["auto", "textblob", "nltk"] = "auto") -> Tagger:
    """A part-of-speech tagger; `auto` is NLTK's perceptron where its data is present, else TextBlob's.

    Raises LookupError when `nltk` is asked for and its data is missing, ValueError for an unknown name.
    """
    if name not in ("auto", "textblob", "nltk"):
        raise ValueError(f"unknown tagger {name!r}: choose auto, textblob or nltk")
    present = name != "textblob" and nltk_data_present()
    if name == "nltk" and not present:
        raise LookupError(
            "NLTK's tagger data is missing: python -m nltk.downloader averaged_perceptron_tagger_eng"
        )
    return NLTKTagger() if present else TextBlobTagger()


def prune(caption: str, tagger: Tagger) -> str:
    """`caption` with only the words tagged PRP, NN or JJ; unchanged when none would be left."""
    kept = [word for word, tag in tagger.tag(caption) if tag.startswith(KEPT_TAGS)]
    return " ".join(kept) if kept else caption


def is_content(tag: str) -> bool:
    """Whether a Penn tag is a noun's or an adjective's (masked at the higher of the two rates by tag)."""
    return tag.startswith(CONTENT_TAGS)
