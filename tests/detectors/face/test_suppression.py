import numpy as np
import pytest
import torch
from facenet_pytorch.models.utils.detect_face import batched_nms_numpy
from torchvision.ops import nms

from facemill.detectors.face.suppression import suppress_contained, suppress_overlapping


def random_boxes(count: int, groups: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 100
    sides = 10 + torch.rand(count, 2, generator=generator) * 60
    group = torch.randint(groups, (count,), generator=generator)
    return torch.cat([corner, corner + sides], 1), torch.rand(count, generator=generator), group


@pytest.mark.parametrize("seed", range(5))
def test_contained_boxes_fall_as_in_facenet(seed):
    boxes, scores, groups = random_boxes(300, 4, seed)
    expected = batched_nms_numpy(boxes, scores, groups, 0.7, "Min")
    assert suppress_contained(boxes, scores, groups, 0.7).tolist() == expected.tolist()


def test_a_suppressed_box_suppresses_nothing():
    # Each box covers the next: the first removes the second, so the third stays.
    boxes = torch.tensor([[0.0, 0, 100, 10], [20.0, 0, 120, 10], [45.0, 0, 145, 10]])
    kept = suppress_contained(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.long), 0.7)
    assert kept.tolist() == [0, 2]


@pytest.mark.parametrize("count", [50, 3000])
def test_groups_never_touch(count):
    boxes, scores, groups = random_boxes(count, 7, 1)
    expected = set()
    for group in range(7):
        members = (groups == group).nonzero()[:, 0]
        expected |= set(members[nms(boxes[members], scores[members], 0.5)].tolist())
    kept = suppress_overlapping(boxes, scores, groups, 0.5)
    assert set(kept.tolist()) == expected
    assert np.all(np.diff(scores[kept].numpy()) <= 0)


@pytest.mark.parametrize("suppress", [suppress_contained, suppress_overlapping])
def test_nothing_to_suppress(suppress):
    assert suppress(torch.empty(0, 4), torch.empty(0), torch.empty(0, dtype=torch.long), 0.5).tolist() == []
