import numpy as np
import pytest
import torch
from factories import write_cuhk

from harness.data.augment import augment, draw_augmentation, normalise
from harness.data.captions import CaptionTokens, caption_tokens
from harness.data.dataset import Split
from harness.data.datasets import load_dataset
from harness.data.images import ImageCache, image_cache
from harness.data.loader import DeviceData, ImageDraws, StepDraws, _ReadAhead, fits
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


class NoStream:
    """Stands in for a stream of CUDA where there is none: everything is done at once."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def record_event(self) -> None:
        pass

    def wait_event(self, _: object) -> None:
        pass


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets pixels be read ahead on a CPU."""
    monkeypatch.setattr(torch.cuda, "Stream", NoStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", NoStream)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)


def reading_ahead(parts: Parts, batches: list[np.ndarray]) -> DeviceData:
    data = DeviceData(*parts, "cpu", resident=False)
    rows = [data.split.caption_image[indices] for indices in batches]
    data._ahead = _ReadAhead(data._pixels, rows, data.device)
    return data


@pytest.mark.parametrize("asked", ["as announced", "in another order", "more than was announced"])
def test_a_batch_has_its_own_pixels_whatever_was_read_ahead(
    parts: Parts, without_cuda: None, asked: str
) -> None:
    rng = np.random.default_rng(0)
    batches = [rng.permutation(54)[:16] for _ in range(7)]
    data, resident = reading_ahead(parts, batches), DeviceData(*parts, "cpu")
    wanted = {
        "as announced": batches,
        "in another order": [batches[0], *batches[:0:-1]],
        "more than was announced": [*batches, rng.permutation(54)[:9]],
    }[asked]
    for indices in wanted:
        assert torch.equal(data.batch(indices).images, resident.batch(indices).images)
    data.close()


def test_pixels_that_cannot_be_read_ahead_end_the_step_that_needs_them(
    parts: Parts, without_cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no memory to pin")

    monkeypatch.setattr(torch.Tensor, "pin_memory", full)
    data = reading_ahead(parts, [np.arange(4)])
    with pytest.raises(RuntimeError, match="no memory to pin"):
        data.batch(np.arange(4))
    data.close()


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
