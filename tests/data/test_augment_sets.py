"""TBPS-CLIP's augmentations: each operation is torchvision's, drawn as often as its released code does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from harness.data import augment_sets
from harness.data.augment_sets import draw_strong, draw_two_of_six, strong_view, two_of_six
from harness.data.word_deletion import delete_whole_words
from methods.tokenizer import Tokenizer

RIVALS = Path(os.environ.get("RIVALS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden" / "rivals")


def pictures(size: int = 6) -> Tensor:
    return torch.rand(size, 3, 24, 16, generator=torch.Generator().manual_seed(0))


def test_colours_change_as_torchvision_changes_them() -> None:
    images, number = pictures(), torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    found = augment_sets.jitter(images, number, (0.4, 0.4, 0.4, 0.1))
    for image, drawn, ours in zip(images, number.tolist(), found, strict=True):
        brightness, contrast, saturation = (1 + 0.4 * (2 * value - 1) for value in drawn[:3])
        theirs = tv.adjust_contrast(tv.adjust_brightness(image, brightness), contrast)
        theirs = tv.adjust_hue(tv.adjust_saturation(theirs, saturation), 0.1 * (2 * drawn[3] - 1))
        assert torch.allclose(ours, theirs, atol=2e-3)


def test_a_rotation_turns_about_the_centre_and_blackens_corners() -> None:
    images = pictures(2)
    number = torch.tensor([0.5, 1.0])
    turned = augment_sets.rotate(images, number, 15.0)
    assert torch.allclose(turned[0], images[0], atol=1e-5)
    theirs = tv.rotate(images[1], 15.0, interpolation=tv.InterpolationMode.BILINEAR)
    assert torch.allclose(turned[1], theirs, atol=1e-5)
    assert turned[1][:, 0, 0].sum() == 0


def test_a_crop_is_a_share_of_the_picture_resized_to_the_whole() -> None:
    ramp = torch.linspace(0, 1, 16).expand(3, 24, 16).expand(200, 3, 24, 16)
    rectangle = torch.rand(200, augment_sets.ATTEMPTS, 4, generator=torch.Generator().manual_seed(2))
    cropped = augment_sets.crop(ramp, rectangle, (0.25, 0.3))
    spread = cropped.amax(dim=(1, 2, 3)) - cropped.amin(dim=(1, 2, 3))
    assert 0.3 < spread.mean() < 0.8
    assert cropped.min() >= 0
    assert cropped.max() <= 1


def test_a_blur_keeps_the_mean_and_takes_the_contrast() -> None:
    images = pictures()
    blurred = augment_sets.blur(images, torch.full((6,), 1.5))
    theirs = tv.gaussian_blur(images[0], [13, 13], [1.5, 1.5])
    inside = slice(6, -6), slice(6, -6)
    assert torch.allclose(blurred[0][:, *inside], theirs[:, *inside], atol=1e-5)
    assert blurred.std() < 0.5 * images.std()
    assert blurred.mean() == pytest.approx(images.mean().item(), abs=0.01)


def test_two_of_six_operations_are_drawn_with_replacement_and_change_about_that_share() -> None:
    generator = torch.Generator().manual_seed(3)
    draws = draw_two_of_six(6000, generator, "cpu")
    first, second = draws["operation"].unbind(1)
    assert (first == second).float().mean() == pytest.approx(1 / 6, abs=0.02)
    assert torch.bincount(first, minlength=6).float().div(6000).allclose(torch.full((6,), 1 / 6), atol=0.02)
    colour = pictures(1)[0].expand(400, 3, 24, 16)
    changed = two_of_six(colour, {name: value[:400] for name, value in draws.items()})
    assert changed.shape == colour.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    same = (changed == colour).flatten(1).all(dim=1).float().mean()
    # Unchanged: both slots draw grey (p 0.9), flip or erasing (p 0.5 each) and leave it.
    assert same == pytest.approx((1.9 / 6) ** 2, abs=0.05)


def test_a_strong_view_is_drawn_anew_for_every_picture() -> None:
    images = pictures(1).expand(32, 3, 24, 16)
    views = strong_view(images, draw_strong(32, torch.Generator().manual_seed(4), "cpu"))
    assert views.shape == images.shape
    assert len({tuple(view.flatten()[:50].tolist()) for view in views}) == 32
    assert views.isfinite().all()


def words_of(sentence: str, length: int = 48) -> tuple[Tensor, Tensor]:
    encode = Tokenizer(10240, length)
    numbers = encode.word_numbers(sentence)[: length - 2]
    words = torch.full((1, length), -1, dtype=torch.int64)
    words[0, 1 : 1 + len(numbers)] = torch.tensor(numbers)
    return encode([sentence]), words


def test_deleting_words_gives_the_tokens_of_the_sentence_without_them() -> None:
    sentence = "a tall woman, in a blue-grey raincoat carries two umbrellas"
    captions, words = words_of(sentence)
    uniform = torch.full((1, 48), 0.9)
    uniform[0, [1, 5, 8]] = 0.0
    deleted, order = delete_whole_words(captions, words, uniform, 0.05)
    expected = Tokenizer(10240, 48)(["a woman, in a raincoat carries umbrellas"])
    assert torch.equal(deleted, expected)
    assert torch.equal(captions.gather(1, order)[deleted > 0], deleted[deleted > 0])


def test_words_are_deleted_as_often_as_by_the_released_code_and_one_always_stays() -> None:
    stored = json.loads((RIVALS / "tbps-clip" / "expected.json").read_text())["eda_deletion"]
    generator = torch.Generator().manual_seed(5)
    captions, words = (part.expand(4000, -1) for part in words_of("a man in red shoes"))
    for rate in (float(key) for key in stored if key.replace(".", "").isdigit()):
        uniform = torch.rand(4000, 48, generator=generator)
        deleted, _ = delete_whole_words(captions, words, uniform, rate)
        left = ((deleted > 0) & (deleted < 10237)).sum(dim=1)
        assert 1 - left.float().mean() / 5 == pytest.approx(rate, abs=4 * (rate / 20_000) ** 0.5 + 1e-3)
    captions, words = (part.expand(20_000, -1) for part in words_of("red shoes here"))
    deleted, _ = delete_whole_words(captions, words, torch.rand(20_000, 48, generator=generator), 0.6)
    left = ((deleted > 0) & (deleted < 10237)).sum(dim=1)
    for count, share in stored["three_words_at_0.6"]["expected_share"].items():
        assert (left == int(count)).float().mean() == pytest.approx(share, abs=0.015)


def test_a_caption_without_words_or_of_one_word_stays_as_it_is() -> None:
    for sentence in ("", "man"):
        captions, words = words_of(sentence)
        deleted, _ = delete_whole_words(captions, words, torch.zeros(1, 48), 0.5)
        assert torch.equal(deleted, captions)
