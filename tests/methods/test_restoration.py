"""Text-guided image restoration: which patches are hidden, what is restored, what is measured."""

from __future__ import annotations

import math

import pytest
import torch

from methods.restoration import Restoration, grey, plan_patches, sincos_positions, to_patches

PATCHES = 192


def noise(patches: int = PATCHES) -> torch.Tensor:
    return torch.rand(3, patches, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("ratio", "visible"), [(0.7, 58), (0.5, 96), (0.99, 2), (0.999, 1), (0.01, 190)])
def test_all_hidden_patches_are_in_the_loss(ratio: float, visible: int) -> None:
    plan = plan_patches(noise(), ratio)
    assert plan.visible.shape == (3, visible)
    assert plan.lossy == PATCHES - visible
    for row in range(3):
        hidden = set(range(PATCHES)) - set(plan.visible[row].tolist())
        assert set(plan.in_loss[row].nonzero().flatten().tolist()) == hidden


@pytest.mark.parametrize(
    ("ratio", "visible", "lossy"), [(0.7, 56, 135), (0.5, 95, 96), (0.99, 0, 191), (1.0, 191, 192)]
)
def test_off_by_one_is_as_released(ratio: float, visible: int, lossy: int) -> None:
    plan = plan_patches(noise(), ratio, off_by_one=True)
    assert plan.visible.shape == (3, visible)
    assert plan.in_loss.sum(dim=1).tolist() == [lossy] * 3
    assert plan.lossy == lossy


def test_the_smallest_noise_stays_visible() -> None:
    plan = plan_patches(torch.tensor([[0.5, 0.1, 0.9, 0.3]]), 0.5)
    assert plan.visible.tolist() == [[1, 3]]
    assert plan.order.tolist() == [[2, 0, 3, 1]]


def test_patches_are_ordered_by_row_column_and_channel() -> None:
    images = torch.randn(2, 3, 12, 8)
    patches = to_patches(images, 4)
    assert patches.shape == (2, 6, 48)
    for patch in range(6):
        top, left = 4 * (patch // 2), 4 * (patch % 2)
        values = [
            images[1, channel, top + row, left + column].item()
            for row in range(4)
            for column in range(4)
            for channel in range(3)
        ]
        assert patches[1, patch].tolist() == values


def test_grey_images_have_one_luminance_in_all_channels() -> None:
    images = torch.randn(2, 3, 4, 4)
    red, green, blue = images[0, :, 1, 2].tolist()
    expected = 0.2989 * red + 0.5870 * green + 0.1140 * blue
    assert grey(images)[0, :, 1, 2].tolist() == pytest.approx([expected] * 3, rel=1e-5)


def test_positions_are_sines_and_cosines_of_column_then_row() -> None:
    positions = sincos_positions(16, (3, 2))
    assert positions[0].tolist() == [0.0] * 16
    row, column = 2, 1
    expected = []
    for place in (column, row):
        angles = [place / 10000 ** (k / 4) for k in range(4)]
        expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    assert positions[1 + row * 2 + column].tolist() == pytest.approx(expected, abs=1e-6)


def decoder() -> Restoration:
    torch.manual_seed(0)
    return Restoration(width=16, grid=(3, 2), patch_size=4, depth=1)


def test_the_loss_is_the_mean_over_patches_in_the_loss_of_their_mean_squared_error() -> None:
    plan = plan_patches(noise(6), 0.5)
    images, predicted = torch.randn(3, 3, 12, 8), torch.randn(3, 6, 48)
    target = to_patches(images, 4)
    for row, ours in enumerate(decoder().loss(predicted, images, plan).tolist()):
        errors = []
        for patch in range(6):
            if plan.in_loss[row, patch]:
                pairs = zip(predicted[row, patch].tolist(), target[row, patch].tolist(), strict=True)
                errors.append(sum((a - b) ** 2 for a, b in pairs) / 48)
        assert ours == pytest.approx(sum(errors) / len(errors), rel=1e-5)


def test_only_slots_and_caption_decide_what_is_restored() -> None:
    """Every visible token lands in its own place: the order in which they arrive is irrelevant."""
    model, scores = decoder(), noise(6)
    plan = plan_patches(scores, 0.5)
    tokens, words = torch.randn(3, 7, 16), torch.randn(3, 5, 16)  # a token for every patch, visible or not
    chosen = plan.visible.unsqueeze(-1).expand(-1, -1, 16)
    visible = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, chosen)], dim=1)
    restored = model(visible, words, plan)

    slots = model.mask_token.expand(3, 7, -1).clone()
    embedded = model.embed(model.norm_image(tokens))
    slots[:, 0] = embedded[:, 0]
    for row in range(3):
        for patch in plan.visible[row].tolist():
            slots[row, 1 + patch] = embedded[row, 1 + patch]
    query, context = model.norm_slots(slots + model.positions), model.norm_text(words)
    asked = model.cross_attention(query, context, context)[0]
    expected = model.pixels(model.norm_pixels(model.cross_blocks(model.norm_blocks(asked))))[:, 1:]
    assert torch.allclose(restored, expected, atol=1e-5)


def test_the_caption_changes_what_is_restored() -> None:
    model, plan = decoder(), plan_patches(noise(6), 0.5)
    visible = torch.randn(3, 4, 16)
    first, second = (model(visible, torch.randn(3, 5, 16), plan) for _ in range(2))
    assert (first - second).abs().max() > 1e-3
