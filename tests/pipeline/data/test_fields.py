"""Fields of samples besides image and label, from the table to a prepared batch."""

import dataclasses

import numpy as np
import pytest
import torch

from facemill import DatasetError
from facemill.detectors.forgery import InputSpec
from facemill.pipeline.data import FaceDataset, collate, prepare
from tests.pipeline.data.built import build, default_samples, samples_of, video


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    real, fake = video("b", 0), dataclasses.replace(video("a", 1), source_id="b", method="swap")
    samples = samples_of([real, fake, dataclasses.replace(video("c", 1), method="morph")], [0, 10])
    root = build(tmp_path_factory.mktemp("fields"), samples)
    wanted = ["landmarks", "method", "source_id", "frame_index", "bbox", "difference", "pair", "mask"]
    return FaceDataset(root, "train", fields=wanted)


def test_columns_are_numbers_vectors_or_codes(faces):
    rows = faces.samples.to_pylist()
    assert faces.categories == {"method": ["morph", "real", "swap"], "source_id": ["b"]}
    for sample, row in zip((faces[index] for index in range(len(faces))), rows, strict=True):
        assert faces.categories["method"][sample["method"]] == row["method"]
        assert sample["source_id"] == (-1 if row["source_id"] is None else 0)
        assert (sample["frame_index"], sample["frame_index"].dtype) == (row["frame_index"], torch.int64)
        assert sample["bbox"].tolist() == row["bbox"]
        assert (sample["difference"] == row["difference"]) or (
            row["difference"] is None and sample["difference"].isnan()
        )


def test_the_pair_is_that_of_face_and_frame(faces):
    number = {}
    for index, row in enumerate(faces.samples.to_pylist()):
        number[row["video_id"], row["frame_index"]] = int(faces[index]["pair"])
    assert number["b", 0] == number["a", 0] != number["b", 10] == number["a", 10]
    assert len(set(number.values())) == 4


def test_landmarks_are_in_pixels_of_the_crop_and_follow_its_size(faces):
    record = default_samples()[0].record
    points = np.array(record.landmarks).reshape(5, 2)
    expected = (points - [88, 38]) * record.crop_size / 104  # the crop is a square of 104 pixels from (88, 38) on
    assert np.allclose(faces[0]["landmarks"], expected, atol=1e-4)
    batch = prepare(collate([faces[0], faces[3]]), InputSpec(2 * record.crop_size))
    assert np.allclose(batch["landmarks"][0], 2 * expected, atol=1e-3)


def test_a_batch_has_the_same_fields_until_the_loss(faces):
    raw = collate([faces[index] for index in (4, 1, 3)])
    batch = prepare(raw.to("cpu"), InputSpec(32))
    assert batch.keys() == raw.keys() == faces[0].keys()
    assert batch["method"].tolist() == [0, 1, 2]
    assert batch["has_mask"].tolist() == raw["has_mask"].tolist()
    assert raw.images.dtype == torch.uint8  # not changed in place


def test_an_unknown_field_is_told_with_the_nearest(tmp_path):
    with pytest.raises(DatasetError, match=r"no field 'landmark' to load.*landmarks.*it has mask, pair"):
        FaceDataset(build(tmp_path), "train", fields=["landmark"])
    with pytest.raises(DatasetError, match="no field 'subject_ids'"):
        FaceDataset(tmp_path, "train", fields=["subject_ids"])
