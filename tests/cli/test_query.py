"""A sentence finds people and a picture finds captions, in the order of a plain cosine, on a safe sheet."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import write_cuhk
from PIL import Image
from typer.testing import CliRunner

from harness.cli import gallery
from harness.cli.gallery import gallery_features, of_dataset, query_pixels
from harness.cli.query import QueryAnswers, Question, ask, plain
from harness.cli.verbs import app
from harness.data.augment import normalise
from harness.data.loader import DeviceData
from harness.launch.context import Context
from harness.launch.models import open_model
from harness.machine.environment import Machine
from harness.machine.errors import HarnessError, StudyError
from methods.tokenizer import Tokenizer

MODEL = Path("tiny:none")
HOSTILE = '<script>alert(1)</script> "x" \u202egnirts'


@pytest.fixture(scope="module", autouse=True)
def data_root(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    root = tmp_path_factory.mktemp("data")

    def edit(records: list[dict]) -> None:  # type: ignore[type-arg]
        records[-1]["captions"][0] = HOSTILE

    write_cuhk(root, edit=edit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield root


@pytest.fixture
def machine(data_root: Path) -> Machine:
    return Machine(data_root=data_root, device="cpu")


def asked(machine: Machine, *sentences: str, pictures: tuple[Path, ...] = (), top: int = 4) -> QueryAnswers:
    return ask(MODEL, Question(sentences, pictures), "cuhk-pedes", machine, top)


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    first, second = first.double(), second.double()
    return float((first * second).sum() / (first.norm() * second.norm()))


def test_people_come_in_the_order_of_a_plain_cosine(machine: Machine) -> None:
    sentence = "a woman in a red coat"
    model, context = open_model(MODEL), Context(machine)
    data = context.split("cuhk-pedes", model.input_spec(), "test", "cpu")
    model.method.eval()
    config = model.backbone.config
    with torch.inference_mode():
        text = model.method.encode_text(Tokenizer(config.vocab_size, config.context_length)([sentence]))
        images = torch.cat([model.method.encode_image(chunk) for chunk in data.image_chunks(1)])
    scores = [cosine(text[0], image) for image in images]
    (answer,) = asked(machine, sentence).answers
    assert [hit.index for hit in answer.hits] == sorted(range(len(scores)), key=lambda i: -scores[i])[:4]
    np.testing.assert_allclose([hit.score for hit in answer.hits], sorted(scores)[::-1][:4], atol=1e-5)
    assert {hit.picture for hit in answer.hits} <= set(data.split.image_paths)


def test_a_picture_finds_captions_with_their_people(machine: Machine, data_root: Path) -> None:
    split = Context(machine).dataset("cuhk-pedes", None).splits["test"]
    (answer,) = asked(machine, pictures=(split.image_paths[0],), top=12).answers
    assert sorted(hit.caption for hit in answer.hits) == sorted(split.captions)
    for hit in answer.hits:
        assert hit.person == split.persons[split.caption_person[hit.index]]


def test_more_answers_than_there_are_people_are_all_of_them(machine: Machine) -> None:
    (answer,) = asked(machine, "anybody", top=100).answers
    assert len(answer.hits) == 6


def test_the_page_shows_hostile_captions_as_text_and_loads_nothing(machine: Machine, tmp_path: Path) -> None:
    split = Context(machine).dataset("cuhk-pedes", None).splits["test"]
    asked(machine, HOSTILE, pictures=(split.image_paths[0],), top=12).write(tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text()
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    assert "http:" not in page
    assert "https:" not in page
    assert page.count("data:image/webp") >= 6


def test_the_sheet_as_a_picture_has_one_row_per_question(machine: Machine, tmp_path: Path) -> None:
    for count in (1, 3):
        asked(machine, *["a man"] * count).write(tmp_path / f"{count}.png")
    heights = [Image.open(tmp_path / f"{count}.png").height for count in (1, 3)]
    assert heights[1] > 2.5 * heights[0] - 100
    pixels = np.asarray(Image.open(tmp_path / "1.png").convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_sentences_come_from_a_file_and_empty_lines_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("one\n\n  two \n")
    assert Question.of(["zero"], tmp_path / "list.txt", []).sentences == ("zero", "one", "two")
    (tmp_path / "long.txt").write_text("x" * 3_000_000)
    assert all(len(text) <= 2000 for text in Question.of([], tmp_path / "long.txt", []).sentences)


def test_nothing_to_look_for_is_refused() -> None:
    with pytest.raises(StudyError, match="nothing to look for"):
        Question.of([], None, [])


def test_the_verb_answers_in_json_and_refuses_what_is_no_picture(data_root: Path, tmp_path: Path) -> None:
    common = ["--dataset", "cuhk-pedes", "--data-root", str(data_root), "--device", "cpu"]
    out = ["--out", str(tmp_path / "sheet.html"), "--json", "--top", "2"]
    done = CliRunner().invoke(app, ["query", "tiny:none", "a man", *common, *out])
    assert done.exit_code == 0, done.output
    answers = json.loads(done.stdout)["answers"]
    assert [len(answer["hits"]) for answer in answers] == [2]
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    done = CliRunner().invoke(app, ["query", "tiny:none", "--image", str(tmp_path / "no.jpg"), *common])
    assert done.exit_code == 2
    assert "no.jpg" in done.output


def test_a_model_of_a_run_answers_like_any_other(machine: Machine, tmp_path: Path) -> None:
    from light_runs import light_study, run_light

    study = light_study(tmp_path, seeds=1, methods=["clip-zero-shot"])
    (run,) = run_light(study, tmp_path / "out", Context(machine)).cells()
    found = ask(run.directory, Question(("a man",)), "cuhk-pedes", machine, 3)
    assert len(plain(found)["answers"][0]["hits"]) == 3
    assert found.origin == f"{run.name}, not trained"


def test_a_gallery_is_encoded_once_and_answers_stay_the_same(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    first = asked(machine, "a woman in a red coat")
    (kept,) = (tmp_path / "galleries").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(DeviceData, "image_chunks", lambda *_: pytest.fail("encoded again"))
        assert asked(machine, "a woman in a red coat") == first
    kept.write_bytes(b"damaged")
    assert asked(machine, "a woman in a red coat") == first
    others = Question(("a woman in a red coat",))
    ask(MODEL, others, "cuhk-pedes", machine, subset=2)
    assert len(list((tmp_path / "galleries").iterdir())) == 2


def test_what_was_encoded_of_one_split_or_kind_never_answers_for_another(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`val` and `test` have as many pictures here, and a dataset may have one caption for each."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    question = Question(("a woman in a red coat",))

    def shown(split: str) -> list[tuple[str, float]]:
        (answer,) = ask(MODEL, question, "cuhk-pedes", machine, 12, split=split).answers
        return [(str(hit.picture), hit.score) for hit in answer.hits]

    test, val = shown("test"), shown("val")
    assert len(test) == len(val) == 6
    assert len({score for _, score in test} & {score for _, score in val}) < 6
    shutil.rmtree(tmp_path / "galleries")
    assert (shown("val"), shown("test")) == (val, test)
    data = of_dataset(Context(machine), "cuhk-pedes", None, "test")
    one_each = replace(data, split=replace(data.split, captions=data.split.captions[:6]))
    model = open_model(MODEL)
    images = gallery_features(one_each, model, "images", torch.device("cpu"))
    encoded = replace(one_each, encode=lambda *_: torch.eye(6))
    assert not torch.equal(gallery_features(encoded, model, "captions", torch.device("cpu")), images)


@pytest.fixture
def pictures(data_root: Path, tmp_path: Path) -> Path:
    """A folder with three pictures of people, one in a folder below, and a text that is called a picture."""
    folder = tmp_path / "pictures"
    images = (
        Context(Machine(data_root=data_root, device="cpu"))
        .dataset("cuhk-pedes", None)
        .splits["test"]
        .image_paths
    )
    for number, name in enumerate(("a.png", "b.JPG", "below/c.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(images[number]).save(folder / name)
    (folder / "broken.png").write_text("no picture")
    (folder / "list.txt").write_text("not looked at")
    return folder


def test_a_folder_of_pictures_is_searched_like_a_dataset(machine: Machine, pictures: Path) -> None:
    sentence = "a woman in a red coat"
    found = ask(MODEL, Question((sentence,)), "", machine, pictures=pictures)
    (answer,) = found.answers
    model = open_model(MODEL)
    model.method.eval()
    config = model.backbone.config
    with torch.inference_mode():
        text = model.method.encode_text(Tokenizer(config.vocab_size, config.context_length)([sentence]))
        for hit in answer.hits:
            pixels = normalise(query_pixels(hit.picture, model.image_size)[None], config.mean, config.std)
            assert abs(cosine(text[0], model.method.encode_image(pixels)[0]) - hit.score) < 1e-5
    assert {hit.picture.name for hit in answer.hits} == {"a.png", "b.JPG", "c.png"}
    assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)
    (note,) = found.notes
    assert "broken.png" in note


def test_a_folder_is_encoded_again_once_a_picture_changed(
    machine: Machine, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    def answers() -> QueryAnswers:
        return ask(MODEL, Question(("a man",)), "", machine, pictures=pictures)

    first = answers()
    with monkeypatch.context() as patch:
        patch.setattr(gallery, "_encoded", lambda *_: pytest.fail("encoded again"))
        assert answers() == first
    Image.new("RGB", (40, 120), "red").save(pictures / "a.png")
    changed = answers()
    assert changed != first
    assert {hit.picture for hit in changed.answers[0].hits} == {hit.picture for hit in first.answers[0].hits}


def test_a_second_sentence_encodes_no_image_and_tags_no_caption(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(machine, "a man in a blue coat")
    monkeypatch.setattr(Context, "split", lambda *_: pytest.fail("the split was prepared again"))
    asked(machine, "a woman in a green coat")


@pytest.mark.parametrize(
    ("dataset", "folder", "what"),
    [
        ("", None, "--gallery"),
        ("cuhk-pedes", "here", "either"),
        ("", "nowhere", "no such folder"),
        ("", "here", "no picture"),
    ],
)
def test_what_is_searched_must_be_said_once_and_be_there(
    machine: Machine, tmp_path: Path, dataset: str, folder: str | None, what: str
) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(HarnessError, match=what):
        ask(MODEL, Question(("a man",)), dataset, machine, pictures=tmp_path / folder if folder else None)


def test_the_verb_searches_a_folder_and_its_page_names_the_files(pictures: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    arguments = ["query", "tiny:none", "a man", "--gallery", str(pictures), "--out", str(sheet)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "b.JPG" in done.stdout
    assert "id " not in done.stdout
    assert "c.png" in sheet.read_text()
    done = CliRunner().invoke(app, [*arguments, "--image", str(pictures / "a.png")])
    assert done.exit_code == 2
