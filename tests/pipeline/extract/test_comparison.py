"""A fake's frames against their originals: the masks that come of it."""

from typing import Any

import numpy as np
import pytest

from facemill.detectors.face import Face
from facemill.manifests import LabelSource
from facemill.masks import difference_mask, mask_iou
from facemill.pipeline.config.sections import LabelSettings, MaskSettings
from facemill.pipeline.extract.comparison import Comparison
from tests.masks.conftest import forged_pair


def test_masks_follow_landmarks_where_boxes_jitter(rng):
    real, fake, regions = forged_pair(30)
    corners = np.array([[-25, -20], [25, -20], [0, 5], [-20, 30], [20, 30]])
    comparison = Comparison(MaskSettings(), LabelSettings(), real.shape[1:3])
    for i in range(len(real)):
        centre = np.array([150 + 2 * i, 120 - i])
        middle = centre + rng.uniform(-20, 20, 2)
        box = np.tile(middle, 2) + np.array([-50, -80, 50, 80])
        face = Face(bbox=box.astype(np.float32), score=1.0, landmarks=(centre + corners).astype(np.float32))
        comparison.add(i, real[i], fake[i], None, [(0, face)])
    comparison.label_faces()
    masks = [comparison.mask(i, np.eye(2, 3), 320).mask[:240] for i in range(len(real))]
    assert np.mean([mask_iou(mask, region) for mask, region in zip(masks, regions, strict=True)]) >= 0.9


def look_at(settings: MaskSettings, real: np.ndarray, fake: np.ndarray, **more: Any) -> Comparison:
    """A comparison of one frame in which a face fills the middle."""
    height, width = real.shape[:2]
    box = np.array(more.pop("box", [width / 4, height / 4, width * 3 / 4, height * 3 / 4]), np.float32)
    face = Face(bbox=box, score=1.0, landmarks=np.zeros((5, 2), np.float32))
    comparison = Comparison(settings, LabelSettings(**more.pop("labels", {})), (height, width))
    comparison.add(0, real, fake, more.pop("truth", None), [(0, face)])
    return comparison


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 0.3},
        {"threshold": 0.5},
        {"threshold": 0.3, "open": 0, "close": 2},
        {"threshold": 0.3, "open": 2, "close": 0},
        {"threshold": 0.3, "fill_holes": False},
    ],
    ids=str,
)
def test_a_mask_by_a_fixed_threshold_is_made_with_each_setting(settings: dict[str, Any]) -> None:
    """A faint and a strong square, of which one has a hole; a speck; two bars with a gap."""
    real = np.full((96, 96, 3), 20, np.uint8)
    fake = real.copy()
    fake[10:30, 10:30] = 110
    fake[40:70, 10:40] = 220
    fake[50:60, 20:30] = 20
    fake[80, 80] = 220
    fake[20:60, 60:70] = fake[20:60, 73:83] = 220
    masks = {}
    for name, chosen in (("these", settings), ("usual", {"threshold": 0.3})):
        comparison = look_at(MaskSettings(**chosen), real, fake)
        comparison.label_faces()
        masks[name] = comparison.mask(0, np.eye(2, 3), 96).mask
        assert np.array_equal(masks[name], difference_mask(real, fake, **chosen))
    assert (masks["these"] == masks["usual"]).all() == (settings == {"threshold": 0.3})


@pytest.mark.parametrize(("marked", "forged"), [(True, True), (False, False)])
@pytest.mark.parametrize("box", [[30, 30, 66, 66], [-10, 30, 26, 66], [30, -12, 66, 24]], ids=str)
def test_without_an_original_the_ground_truth_mask_says_who_is_forged(
    box: list[float], marked: bool, forged: bool
) -> None:
    """Also of a face that reaches over the edge of the frame."""
    fake, truth = np.full((96, 96, 3), 90, np.uint8), np.zeros((96, 96, 3), np.uint8)
    x, y = max(box[0], 0), max(box[1], 0)
    truth[y : y + 12, x : x + 12] = 255 * marked
    truth[80:90, 80:90] = 255  # somebody else
    face = Face(bbox=np.array(box, np.float32), score=1.0, landmarks=np.zeros((5, 2), np.float32))
    comparison = Comparison(MaskSettings(source="official"), LabelSettings(unforged="keep_as_real"), (96, 96))
    comparison.add(0, None, fake, truth, [(0, face)])
    [label] = comparison.label_faces().values()
    assert (label.label, label.source, label.is_forged) == (int(forged), LabelSource.MASK, forged)


def test_every_frame_of_a_window_has_a_label_of_its_own(rng: np.random.Generator) -> None:
    """Of twelve frames the last six are forged; of a second face none."""
    real, fake, _ = forged_pair(12)
    fake = np.concatenate([real[:6], fake[6:]])
    comparison = Comparison(MaskSettings(), LabelSettings(unforged="keep_as_real"), real.shape[1:3])
    for i in range(len(real)):
        boxes = [[100 + 2 * i, 40 - i, 200 + 2 * i, 200 - i], [10, 150, 60, 220]]
        faces = [Face(np.array(box, np.float32), 1.0, np.zeros((5, 2), np.float32)) for box in boxes]
        comparison.add(i, real[i], fake[i], None, list(enumerate(faces)))
    labels = comparison.label_faces()
    assert len(labels) == 24
    assert [labels[i, 0].label for i in range(12)] == [0] * 6 + [1] * 6
    assert {labels[i, 1].label for i in range(12)} <= {0, None}
