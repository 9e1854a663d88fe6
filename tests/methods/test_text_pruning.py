"""Captions cut down to pronouns, nouns and adjectives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from methods import text_pruning
from methods.text_pruning import (
    NLTKTagger,
    TextBlobTagger,
    is_content,
    nltk_data_present,
    nltk_folders,
    prune,
    tagger,
)


class FixedTagger:
    name, version = "fixed", "0"

    def tag(self, caption: str) -> list[tuple[str, str]]:
        tags = {"she": "PRP", "her": "PRP$", "red": "JJ", "redder": "JJR", "coats": "NNS", "Rome": "NNP"}
        return [(word, tags.get(word, "VBZ")) for word in caption.split()]


def test_only_words_tagged_prp_nn_or_jj_are_kept() -> None:
    caption = "she wears her red or redder coats in Rome"
    assert prune(caption, FixedTagger()) == "she her red redder coats Rome"


def test_a_caption_that_would_vanish_is_left_as_it_is() -> None:
    assert prune("walks and stands", FixedTagger()) == "walks and stands"
    assert prune("", TextBlobTagger()) == ""


def test_nouns_and_adjectives_are_content_and_pronouns_are_not() -> None:
    assert [is_content(tag) for tag in ("NN", "NNS", "NNP", "JJ", "JJS", "PRP", "PRP$", "VB", "DT")] == [
        *[True] * 5,
        *[False] * 4,
    ]


def test_textblob_keeps_what_identifies_a_person() -> None:
    pruned = prune("The woman is wearing a red coat, and she carries a black bag.", TextBlobTagger())
    assert pruned.split() == ["woman", "red", "coat", "she", "black", "bag"]


@pytest.mark.parametrize(
    "caption", ["", "  ", "/ \\ [x] <b> & ' _ - 's", "Ünï 漢字 😀", "a\nb\tc", "it's T-shirt's"]
)
def test_every_word_gets_exactly_one_tag(caption: str) -> None:
    assert [word for word, _ in TextBlobTagger().tag(caption)] == text_pruning.WORDS.findall(caption)


def test_auto_takes_nltk_exactly_where_its_data_is_present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_pruning, "nltk_data_present", lambda: False)
    assert tagger().name == "textblob-pattern"
    monkeypatch.setattr(text_pruning, "nltk_data_present", lambda: True)
    assert tagger().name == "nltk-perceptron"
    assert tagger("textblob").name == "textblob-pattern"


def test_nltk_without_its_data_is_refused_with_the_command_that_fetches_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_pruning, "nltk_data_present", lambda: False)
    with pytest.raises(LookupError, match=r"nltk\.downloader averaged_perceptron_tagger_eng"):
        tagger("nltk")


def test_an_unknown_tagger_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown tagger 'spacy'"):
        tagger("spacy")  # type: ignore[arg-type]


def test_the_folders_of_nltks_data_are_those_that_nltk_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", f"/somewhere{os.pathsep}/else")
    program = "import nltk; print(*nltk.data.path, sep='\\n')"
    named = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [str(folder) for folder in nltk_folders()] == named.stdout.split()


@pytest.fixture
def nltk_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NLTK's tagger data; where they are not on this machine, those of a tagger trained on four sentences."""
    import nltk
    from nltk.tag.perceptron import PerceptronTagger

    if nltk_data_present():
        return
    sentences = [
        [
            ("She", "PRP"),
            ("is", "VBZ"),
            ("wearing", "VBG"),
            ("a", "DT"),
            ("red", "JJ"),
            ("coat", "NN"),
            (".", "."),
        ],
        [
            ("He", "PRP"),
            ("is", "VBZ"),
            ("carrying", "VBG"),
            ("a", "DT"),
            ("blue", "JJ"),
            ("bag", "NN"),
            (".", "."),
        ],
        [("He", "PRP"), ("has", "VBZ"), ("a", "DT"), ("red", "JJ"), ("bag", "NN"), (".", ".")],
        [("She", "PRP"), ("has", "VBZ"), ("a", "DT"), ("blue", "JJ"), ("coat", "NN"), (".", ".")],
    ]
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])  # NLTK writes and reads nowhere else
    trained = PerceptronTagger(load=False)
    trained.train(sentences, nr_iter=10)
    trained.save_to_json("eng", str(tmp_path / "taggers" / "averaged_perceptron_tagger_eng"))
    assert nltk_data_present()


def test_nltk_tags_a_plain_sentence(nltk_data: None) -> None:
    assert prune("She is wearing a red coat.", NLTKTagger()).split() == ["She", "red", "coat"]
