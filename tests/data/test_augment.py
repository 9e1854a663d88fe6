"""The batched augmentation against torchvision's, one image at a time: same pixels, same distributions."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, ks_2samp
from torchvision import transforms
from torchvision.transforms import functional

from harness.data.augment import augment, draw_augmentation, normalise
from methods.backbones import OPENAI_MEAN, OPENAI_STD

SIZE = (24, 8)
DRAWS = 4000


def drawn(
    count: int = DRAWS, size: tuple[int, int] = SIZE, seed: int = 0, **options: float
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return draw_augmentation(count, size, generator, "cpu", **options)


def images(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("size", [(24, 8), (9, 13), (96, 32)])
def test_each_image_is_what_torchvision_makes_of_it_with_the_same_draws(size: tuple[int, int]) -> None:
    pixels, draws = images(40, size), drawn(40, size)
    result = augment(pixels, draws)
    height, width = size
    for index in range(40):
        image = functional.to_pil_image(pixels[index])
        if draws["flip"][index]:
            image = functional.hflip(image)
        image = functional.pad(image, [10])
        top, left = (draws["shift"][index] + 10).tolist()
        image = functional.crop(image, top, left, height, width)
        expected = functional.normalize(functional.to_tensor(image), OPENAI_MEAN, OPENAI_STD)
        top, left, tall, wide = draws["box"][index].tolist()
        value = torch.tensor(OPENAI_MEAN)[:, None, None]
        expected = functional.erase(expected, top, left, tall, wide, value)
        assert torch.equal(result[index], expected)


def test_normalising_is_to_tensor_and_normalize() -> None:
    pixels = images(3)
    for index in range(3):
        image = functional.to_tensor(functional.to_pil_image(pixels[index]))
        assert torch.equal(normalise(pixels)[index], functional.normalize(image, OPENAI_MEAN, OPENAI_STD))


def test_the_input_is_left_as_it_was() -> None:
    pixels = images(5)
    before = pixels.clone()
    augment(pixels, drawn(5))
    assert torch.equal(pixels, before)


def torchvision_boxes(size: tuple[int, int]) -> np.ndarray:
    """Rectangles that torchvision's RandomErasing cut out of a blank image: top, left, height, width."""
    torch.manual_seed(1)
    erase = transforms.RandomErasing(p=0.5, scale=(0.02, 0.4), value=OPENAI_MEAN)
    boxes = []
    for _ in range(DRAWS):
        rows, columns = torch.nonzero(erase(torch.full((3, *size), -1.0))[0] >= 0, as_tuple=True)
        if len(rows) == 0:
            boxes.append((0, 0, 0, 0))
        else:
            top, left = int(rows.min()), int(columns.min())
            boxes.append((top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1))
    return np.array(boxes)


@pytest.mark.parametrize("size", [(24, 8), (96, 32)])
def test_erased_rectangles_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    ours, theirs = drawn(size=size)["box"].numpy(), torchvision_boxes(size)
    erased, also = ours[:, 2] * ours[:, 3] > 0, theirs[:, 2] > 0
    table = [[erased.sum(), (~erased).sum()], [also.sum(), (~also).sum()]]
    assert chi2_contingency(table).pvalue > 1e-3
    for column in range(4):
        assert ks_2samp(ours[erased, column], theirs[also, column]).pvalue > 1e-3
    for part in (
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 2] / box[:, 3],
        lambda box: box[:, 0] + box[:, 2],
    ):
        assert ks_2samp(part(ours[erased]), part(theirs[also])).pvalue > 1e-3


def test_erased_rectangles_lie_inside_the_image_and_are_smaller_than_it() -> None:
    for size in ((24, 8), (8, 24), (5, 5), (2, 2), (1, 1)):
        top, left, tall, wide = drawn(size=size, erase=1.0)["box"].unbind(1)
        assert (top >= 0).all()
        assert (left >= 0).all()
        assert (top + tall <= size[0]).all()
        assert (left + wide <= size[1]).all()
        assert (tall < size[0]).all()
        assert (wide < size[1]).all()


def test_flips_and_crops_are_as_likely_as_torchvisions() -> None:
    draws = drawn(20_000, seed=3)
    assert abs(draws["flip"].float().mean() - 0.5) < 0.015
    torch.manual_seed(2)
    places = [transforms.RandomCrop.get_params(torch.empty(1, 44, 28), SIZE)[:2] for _ in range(DRAWS)]
    ours, theirs = draws["shift"].numpy() + 10, np.array(places)
    for axis in range(2):
        assert set(ours[:, axis]) == set(range(21))
        counts = [np.bincount(values, minlength=21) for values in (ours[:, axis], theirs[:, axis])]
        assert chi2_contingency(counts).pvalue > 1e-3
    together = np.histogram2d(draws["flip"].float().numpy(), ours[:, 0], bins=(2, 21))[0]
    assert chi2_contingency(together).pvalue > 1e-3


def test_the_erased_value_is_the_clip_mean_after_normalisation() -> None:
    draws = drawn(1, erase=0.0, flip=0.0, pad=0)
    draws["box"][0] = torch.tensor([2, 3, 5, 4])
    result = augment(images(1), draws)[0]
    assert torch.equal(result[:, 2:7, 3:7], torch.tensor(OPENAI_MEAN)[:, None, None].expand(3, 5, 4))
    assert torch.equal(result[:, 7:], normalise(images(1))[0][:, 7:])


def test_with_every_probability_zero_only_normalisation_is_left() -> None:
    pixels = images(16)
    assert torch.equal(augment(pixels, drawn(16, flip=0.0, pad=0, erase=0.0)), normalise(pixels))


def test_the_same_generator_state_gives_the_same_draws_and_a_slice_of_them_its_images() -> None:
    first, second = drawn(32, seed=9), drawn(32, seed=9)
    assert all(torch.equal(first[name], second[name]) for name in first)
    half = {name: draw[:16] for name, draw in first.items()}
    assert torch.equal(augment(images(32), first)[:16], augment(images(32)[:16], half))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_augmentation_on_a_gpu_never_makes_the_host_wait() -> None:
    pixels, generator = images(16).cuda(), torch.Generator("cuda").manual_seed(0)
    augment(pixels, draw_augmentation(16, SIZE, generator, "cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        draws = draw_augmentation(16, SIZE, generator, "cuda")
        result = augment(pixels, draws)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    on_cpu = augment(pixels.cpu(), {name: draw.cpu() for name, draw in draws.items()})
    torch.testing.assert_close(result.cpu(), on_cpu, rtol=0, atol=1e-6)
