"""Features, per-query records and result rows."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import Linear, small_data, small_method

from harness.evaluate.features import (
    Features,
    encode,
    evaluate,
    records_frame,
    result_row,
    retrieve,
    scores,
)
from harness.evaluate.metrics import NonFiniteFeatures
from methods.base import Method


def brute_force(features: Features, split, direction):
    """(ranks of the positives, order of the gallery) of every query by a full stable sort."""
    image_person, caption_person = split.image_person, split.caption_person
    query, gallery = (
        (features.text, features.image) if direction == "t2i" else (features.image, features.text)
    )
    people = (caption_person, image_person) if direction == "t2i" else (image_person, caption_person)
    cosine = torch.nn.functional.cosine_similarity(query[:, None].double(), gallery[None].double(), dim=2)
    order = torch.argsort(cosine, dim=1, descending=True, stable=True).numpy()
    return [
        ([place for place, item in enumerate(row, 1) if people[1][item] == person], row)
        for person, row in zip(people[0], order, strict=True)
    ]


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
def test_both_directions_have_one_row_per_query_that_agrees_with_a_full_sort(direction):
    data, method = small_data(9, images=3), small_method()
    frame = records_frame(evaluate(method, data)[direction], data.split, direction)
    expected = brute_force(encode(method, data), data.split, direction)
    assert len(frame) == len(expected) == (54 if direction == "t2i" else 27)
    for row, (places, order) in zip(frame.itertuples(), expected, strict=True):
        assert row.rank == places[0]
        assert row.positives == len(places)
        assert row.ap == pytest.approx(np.mean([k / place for k, place in enumerate(places, 1)]))
        assert row.inp == pytest.approx(len(places) / places[-1])
        assert list(row.top) == list(order[:10])


def test_rows_name_the_query_and_the_person_as_annotated():
    data = small_data(4)
    records = evaluate(small_method(), data)
    captions, images = (records_frame(records[way], data.split, way) for way in ("t2i", "i2t"))
    assert captions.caption_id.tolist() == captions["query"].tolist() == list(range(16))
    assert captions.person_id.tolist() == [f"p0-{index // 4}" for index in range(16)]
    assert images.image_id.tolist() == list(range(8))
    assert images.person_id.tolist() == [f"p0-{index // 2}" for index in range(8)]


def test_a_query_without_a_positive_has_no_rank_and_drops_out_of_every_mean(tmp_path):
    data = small_data(4)
    # An image without captions: as a query it has nothing to find.
    split = dataclasses.replace(
        data.split, image_person=np.array([0, 0, 1, 1, 2, 2, 3, 4]), persons=tuple("abcde")
    )
    split = dataclasses.replace(
        split, caption_image=np.where(split.caption_image == 7, 6, split.caption_image)
    )
    records = retrieve(encode(small_method(), data), split)["i2t"]
    frame = records_frame(records, split, "i2t")
    frame.to_parquet(tmp_path / "records.parquet")
    frame = pd.read_parquet(tmp_path / "records.parquet")
    assert pd.isna(frame["rank"][7])
    assert frame.positives[7] == 0
    row = result_row(records, target="here", selection="val", direction="i2t", epoch=3)
    assert (row["queries"], row["excluded"], row["gallery"]) == (7, 1, 16)
    assert row["R1"] == pytest.approx(100 * (frame["rank"] <= 1).mean())
    assert row["mAP"] == pytest.approx(100 * frame.ap.mean())
    assert (row["target"], row["selection"], row["direction"], row["epoch"]) == ("here", "val", "i2t", 3)


def test_the_scores_of_training_are_the_summary_of_text_to_image_records():
    data, method = small_data(9), small_method()
    row = result_row(evaluate(method, data)["t2i"], target="", selection="", direction="", epoch=0)
    assert dict(scores(method, data, precision="fp32", tie_order="index")) == {
        name: value
        for name, value in row.items()
        if name not in ("target", "selection", "direction", "epoch")
    }


class Moody(Method):
    """Answers differently in training mode."""

    def __init__(self):
        super().__init__()
        self.embed_dim = 3
        self.scale = torch.nn.Parameter(torch.ones(1))

    def encode_image(self, images):
        return torch.nn.functional.dropout(images.mean(dim=(2, 3)), 0.5, self.training) * self.scale

    def encode_text(self, captions):
        return captions[:, :3].float() * self.scale


def test_features_are_those_of_evaluation_mode_without_gradients_and_the_mode_comes_back():
    data, method = small_data(3), Moody().train()
    first, second = encode(method, data), encode(method, data)
    assert torch.equal(first.image, second.image)
    assert not first.text.requires_grad
    assert method.training


def test_features_are_float32_in_every_precision():
    data = small_data(3)
    assert encode(small_method(), data, precision="bf16").image.dtype == torch.float32
    assert encode(small_method().half(), data, precision="released").text.dtype == torch.float32


def test_a_model_that_has_diverged_is_refused_rather_than_scored():
    method = Linear()
    torch.nn.init.constant_(method.image.weight, torch.nan)
    with pytest.raises(NonFiniteFeatures):
        evaluate(method, small_data(3))
