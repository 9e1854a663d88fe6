"""The pictures that a run keeps of restored images."""

import copy

import numpy as np
import torch
from small_runs import small_data
from toy import IMAGE_SIZE, TOKENS, VOCAB_SIZE, toy_method

from harness.launch.illustrations import _restored_rows


def test_a_restored_image_is_shown_in_its_own_colours_whatever_the_normalisation() -> None:
    data = copy.copy(small_data(4, name="test", size=IMAGE_SIZE, vocab=VOCAB_SIZE, context=TOKENS))
    data.mean, data.std = (0.1, 0.5, 0.9), (0.5, 0.2, 0.3)
    queries = np.arange(0, 8, 2)
    method = toy_method("uit").eval()
    with torch.inference_mode():
        pictures = _restored_rows(method, data, queries, torch.rand(len(queries), method.clip.patches))
    pixels = data._pixels[torch.from_numpy(data.split.caption_image[queries])].permute(0, 2, 3, 1).numpy()
    for picture, image in zip(pictures, pixels, strict=True):
        assert np.abs(picture.original.astype(int) - image).max() <= 1
