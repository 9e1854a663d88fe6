import numpy as np
import pytest
import torch
from factories import write_cuhk

from harness.data.augment import augment, draw_augmentation, normalise
from harness.data.captions import CaptionTokens, caption_tokens
from harness.data.dataset import Split
from harness.data.datasets import load_dataset
from harness.data.images import ImageCache, image_cache
from harness.data.loader import DeviceData, ImageDraws, StepDraws, fits
from methods.text_pruning import TextBlobTagger
from methods.tokenizer import Tokenizer


def drawn(draws):
    return StepDraws(ImageDraws("flip_crop_erase", draws))


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
Parts = tuple[Split, torch.Tensor, CaptionTokens]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    root = tmp_path_factory.mktemp("tree")
    write_cuhk(root, {"train": 9, "val": 2, "test": 2}, images=3)
    dataset = load_dataset("cuhk-pedes", root)
    train = dataset.splits["train"]
    cache: ImageCache = image_cache(
        train, (24, 8), root, fingerprint=dataset.fingerprint, digests=dataset.digests["train"]
    )
    tokens = caption_tokens(train.captions, Tokenizer(4096, 32), TextBlobTagger(), root)
    return cache.split, cache.pixels, tokens


def test_a_batch_pairs_each_caption_with_its_own_image_and_person(parts: Parts) -> None:
    split, pixels, tokens = parts
    indices = np.array([53, 0, 7, 7, 20])
    batch = DeviceData(*parts, "cpu").batch(indices)
    for row, caption in enumerate(indices):
        image = split.caption_image[caption]
        assert torch.equal(batch.images[row], normalise(pixels[image : image + 1])[0])
        assert torch.equal(batch.captions[row], tokens.plain[caption].long())
        assert torch.equal(batch.pruned[row], tokens.pruned[caption].long())
        assert torch.equal(batch.content[row], tokens.content[caption])
        assert int(batch.person_ids[row]) == split.image_person[image]
    assert batch.captions.dtype == batch.person_ids.dtype == torch.int64
    assert batch.content.dtype == torch.bool


def test_a_batch_is_augmented_by_the_draws_it_is_given(parts: Parts) -> None:
    split, pixels, _ = parts
    indices = np.arange(10)
    draws = draw_augmentation(10, (24, 8), torch.Generator().manual_seed(0), "cpu")
    batch = DeviceData(*parts, "cpu").batch(indices, drawn(draws))
    assert torch.equal(batch.images, augment(pixels[split.caption_image[indices]], draws))


def test_chunks_give_every_image_and_caption_once_in_order(parts: Parts) -> None:
    _, pixels, tokens = parts
    data = DeviceData(*parts, "cpu")
    for size in (1, 7, 27, 1000):
        assert torch.equal(torch.cat(list(data.image_chunks(size))), normalise(pixels))
        assert torch.equal(torch.cat(list(data.caption_chunks(size))), tokens.plain.long())
        assert max(map(len, data.image_chunks(size))) <= size
    assert data.image_size == (24, 8)


def test_pixels_or_tokens_of_another_split_are_refused(parts: Parts) -> None:
    split, pixels, tokens = parts
    with pytest.raises(ValueError, match="27 images"):
        DeviceData(split, pixels[:-1], tokens, "cpu")
    with pytest.raises(ValueError, match="54 captions"):
        DeviceData(
            split, pixels, CaptionTokens(tokens.plain[1:], tokens.pruned[1:], tokens.content[1:]), "cpu"
        )


def test_on_a_cpu_pixels_are_used_where_they_are(parts: Parts) -> None:
    assert fits(parts[1], torch.device("cpu"))
    data = DeviceData(*parts, "cpu")
    data.schedule([np.arange(4)])
    assert len(data.batch(np.arange(5)).images) == 5
    data.close()


@needs_gpu
@pytest.mark.gpu
def test_read_ahead_batches_equal_resident_ones_whatever_was_announced(parts: Parts) -> None:
    resident = DeviceData(*parts, "cuda", resident=True)
    streamed = DeviceData(*parts, "cuda", resident=False)
    rng = np.random.default_rng(0)
    batches = [rng.permutation(54)[:16] for _ in range(12)]
    streamed.schedule(batches)
    for indices in batches:
        assert torch.equal(streamed.batch(indices).images, resident.batch(indices).images)
    streamed.schedule(batches)
    for indices in reversed(batches):
        assert torch.equal(streamed.batch(indices).images, resident.batch(indices).images)
    streamed.close()
    whole = torch.cat(list(resident.image_chunks(5)))
    assert torch.equal(torch.cat(list(streamed.image_chunks(5))), whole)


@needs_gpu
@pytest.mark.gpu
def test_a_resident_batch_never_makes_the_host_wait(parts: Parts) -> None:
    data = DeviceData(*parts, "cuda", resident=True)
    generator = torch.Generator("cuda").manual_seed(0)
    indices = np.arange(16)
    data.batch(indices, drawn(draw_augmentation(16, (24, 8), generator, "cuda")))
    torch.cuda.set_sync_debug_mode("error")
    try:
        data.batch(indices, drawn(draw_augmentation(16, (24, 8), generator, "cuda")))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_each_further_view_of_a_batch_is_made_of_its_own_draws(parts: Parts) -> None:
    indices = np.arange(10)
    first, second = (
        draw_augmentation(10, (24, 8), torch.Generator().manual_seed(seed), "cpu") for seed in (0, 1)
    )
    data = DeviceData(*parts, "cpu")
    more = StepDraws(drawn(first).images, {"second": drawn(second).images}, None)
    batch = data.batch(indices, more)
    assert torch.equal(batch.images, data.batch(indices, drawn(first)).images)
    assert torch.equal(batch.views["second"], data.batch(indices, drawn(second)).images)
    assert not torch.equal(batch.images, batch.views["second"])
