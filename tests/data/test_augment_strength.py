"""TBPS-CLIP's augmentations: how strong each is and how often it happens, at the ends of its draws."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from harness.data.augment import ATTEMPTS, to_unit_range
from harness.data.augment_sets import OPERATIONS, PARAMETERS, erase, strong_view, two_of_six


def pictures(height: int = 48, width: int = 24) -> Tensor:
    return torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(0))


JITTER, ROTATION, CROP, GREY, FLIP, ERASING = range(OPERATIONS)
MIDDLE = 0.5  # of a uniform draw: it changes no colour and turns nothing


def once(images: Tensor, operation: int, number: float, rectangle: Sequence[float] = ()) -> Tensor:
    """`two_of_six` with one operation; the second is a jitter that changes nothing."""
    draws = {
        "operation": torch.tensor([[operation, JITTER]] * len(images)),
        "number": torch.full((len(images), 2, PARAMETERS), MIDDLE),
        "rectangle": torch.full((len(images), 2, ATTEMPTS, 4), MIDDLE),
    }
    draws["number"][:, 0] = number
    draws["rectangle"][:, 0] = torch.tensor(rectangle or [MIDDLE] * 4)
    return two_of_six(images, draws)


@pytest.mark.parametrize(("number", "factor"), [(0.0, 0.9), (0.75, 1.05), (1.0, 1.1)])
def test_jitter_changes_brightness_contrast_and_saturation_by_up_to_a_tenth(
    number: float, factor: float
) -> None:
    images = pictures()
    wanted = tv.adjust_brightness(images, factor)
    wanted = tv.adjust_saturation(tv.adjust_contrast(wanted, factor), factor)
    assert torch.allclose(once(images, JITTER, number), wanted, atol=2e-3)


@pytest.mark.parametrize(("number", "degrees"), [(0.0, -15.0), (1.0, 15.0)])
def test_a_rotation_is_by_up_to_15_degrees(number: float, degrees: float) -> None:
    images = pictures()
    wanted = tv.rotate(images, degrees, interpolation=tv.InterpolationMode.BILINEAR)
    inner = (..., slice(8, -8), slice(4, -4))
    assert torch.allclose(once(images, ROTATION, number)[inner], wanted[inner], atol=0.02)


@pytest.mark.parametrize(
    ("operation", "below", "above"),
    [(GREY, 0.0999, 0.1001), (FLIP, 0.4999, 0.5001), (ERASING, 0.4999, 0.5001)],
)
def test_grey_flip_and_erasing_happen_as_often_as_published(
    operation: int, below: float, above: float
) -> None:
    images = pictures()
    assert not torch.allclose(once(images, operation, below), images, atol=1e-3)
    assert torch.allclose(once(images, operation, above), images, atol=1e-6)


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.1), (1.0, 0.2)])
def test_an_erased_rectangle_takes_a_tenth_to_a_fifth_of_the_picture(draw: float, share: float) -> None:
    white = torch.ones(1, 3, 96, 48)
    erased = once(white, ERASING, 0.0, [draw, MIDDLE, MIDDLE, MIDDLE])
    assert float((erased == 0).float().mean()) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.9), (1.0, 1.0)])
def test_a_crop_of_two_of_six_keeps_nine_tenths_at_least(draw: float, share: float) -> None:
    """A ramp from 0 to 1 across: its crop resized to the whole spans so much of it."""
    ramp = torch.linspace(0, 1, 200).expand(1, 3, 200, 200).contiguous()
    cut = once(ramp, CROP, MIDDLE, [draw, MIDDLE, MIDDLE, MIDDLE])
    assert float(cut.max() - cut.min()) == pytest.approx(share**0.5, abs=0.02)


def seen_strongly(images: Tensor, **number: float) -> Tensor:
    """A strong view of the whole picture with the numbers named, none of its changes otherwise."""
    places = {
        "brightness": 0,
        "contrast": 1,
        "saturation": 2,
        "hue": 3,
        "jitter": 4,
        "grey": 5,
        "blur": 6,
        "width": 7,
        "flip": 8,
    }
    drawn = torch.full((len(images), PARAMETERS), MIDDLE)
    drawn[:, [4, 5, 6, 8]] = 1.0  # above every probability
    for name, value in number.items():
        drawn[:, places[name]] = value
    whole = torch.tensor([1.0, MIDDLE, 0.0, 0.0])  # all of a square picture
    return strong_view(images, {"number": drawn, "rectangle": whole.expand(len(images), ATTEMPTS, 4)})


@pytest.mark.parametrize(
    ("name", "below", "above"),
    [("jitter", 0.799, 0.801), ("grey", 0.199, 0.201), ("blur", 0.499, 0.501), ("flip", 0.499, 0.501)],
)
def test_the_changes_of_a_strong_view_happen_as_often_as_published(
    name: str, below: float, above: float
) -> None:
    images = pictures(40, 40)
    others = {"brightness": 1.0} if name == "jitter" else {}
    assert torch.allclose(seen_strongly(images, **{name: above}, **others), images, atol=1e-5)
    assert not torch.allclose(seen_strongly(images, **{name: below}, **others), images, atol=1e-3)


@pytest.mark.parametrize("draw", [0.0, 1.0])
def test_the_jitter_of_a_strong_view_is_by_up_to_two_fifths_and_its_hue_by_a_tenth(draw: float) -> None:
    images, factor = pictures(40, 40), 0.6 + 0.8 * draw
    for name, adjust, value in (
        ("brightness", tv.adjust_brightness, factor),
        ("contrast", tv.adjust_contrast, factor),
        ("saturation", tv.adjust_saturation, factor),
        ("hue", tv.adjust_hue, -0.1 + 0.2 * draw),
    ):
        seen = seen_strongly(images, jitter=0.0, **{name: draw})
        assert torch.allclose(seen, adjust(images, value), atol=3e-3), name


@pytest.mark.parametrize(("draw", "deviation"), [(0.0, 0.1), (0.5, 1.05), (1.0, 2.0)])
def test_the_blur_of_a_strong_view_is_a_gaussian_of_a_tenth_to_two_pixels(
    draw: float, deviation: float
) -> None:
    images = pictures(40, 40)
    wanted = tv.gaussian_blur(images, [13, 13], [deviation, deviation])
    inner = (..., slice(6, -6), slice(6, -6))
    assert torch.allclose(seen_strongly(images, blur=0.0, width=draw)[inner], wanted[inner], atol=1e-4)


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.2), (0.5, 0.6), (1.0, 1.0)])
def test_the_crop_of_a_strong_view_keeps_a_fifth_of_the_picture_at_least(draw: float, share: float) -> None:
    ramp = torch.linspace(0, 1, 200).expand(1, 3, 200, 200).contiguous()
    number = torch.full((1, PARAMETERS), MIDDLE)
    number[:, [4, 5, 6, 8]] = 1.0
    rectangle = torch.tensor([draw, MIDDLE, MIDDLE, MIDDLE]).expand(1, ATTEMPTS, 4)
    cut = strong_view(ramp, {"number": number, "rectangle": rectangle})
    assert float(cut.max() - cut.min()) == pytest.approx(share**0.5, abs=0.02)


def erased_box(attempts: list[list[float]]) -> tuple[int, int, int, int]:
    """Top, left, height and width of what is erased from 100 × 60 pixels, by the attempts' draws."""
    drawn = torch.tensor([(attempts + [[MIDDLE] * 4] * ATTEMPTS)[:ATTEMPTS]])
    gone = (erase(torch.ones(1, 3, 100, 60), drawn, torch.tensor([True])) == 0)[0, 0]
    rows, columns = gone.any(1).nonzero().flatten(), gone.any(0).nonzero().flatten()
    return int(rows[0]), int(columns[0]), len(rows), len(columns)


@pytest.mark.parametrize(("draw", "aspect"), [(0.0, 0.3), (MIDDLE, 0.3**0.5 * 3.3**0.5), (1.0, 3.3)])
def test_an_erased_rectangle_is_as_wide_to_tall_as_torchvisions(draw: float, aspect: float) -> None:
    *_, tall, wide = erased_box([[0.0, draw, MIDDLE, MIDDLE]])
    assert tall * wide == pytest.approx(0.1 * 6000, rel=0.05)
    assert wide / tall == pytest.approx(aspect, rel=0.06)


def test_an_erased_rectangle_lies_anywhere_in_the_picture_and_never_beyond_it() -> None:
    assert erased_box([[0.0, MIDDLE, 0.0, 0.0]])[:2] == (0, 0)
    top, left, tall, wide = erased_box([[0.0, MIDDLE, 0.9999, 0.9999]])
    assert (top + tall, left + wide) == (100, 60)


def test_the_first_attempt_that_fits_is_the_rectangle() -> None:
    too_wide, fits, later = [1.0, 1.0, 0.0, 0.0], [0.0, 0.25, 0.0, 0.0], [0.0, 0.75, 0.0, 0.0]
    assert erased_box([too_wide, fits, later]) == erased_box([fits])
    assert erased_box([fits, later]) != erased_box([later])


def test_pixels_become_numbers_from_exactly_0_to_exactly_1() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert to_unit_range(pixels).flatten().tolist() == pytest.approx([0.0, 0.2, 1.0], abs=1e-7)
    assert float(to_unit_range(pixels).max()) == 1.0
