"""A fake's frames against their originals: the masks that come of it."""

import numpy as np

from facemill.detectors.face import Face
from facemill.masks import mask_iou
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
