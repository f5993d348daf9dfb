"""Tracks that show nobody: blobs, doubtful detections, and pictures of people."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face
from facemill.manifests import Reason
from facemill.pipeline.config.sections import TrackSettings
from facemill.pipeline.tracking.track import Track

__all__ = ["face_patch", "find_false_tracks"]

PATCH = 40
"""Side of the gray patch by which motion inside a face box is seen, in pixels."""
STILL = 3.0
"""Gray levels by which the patches of a still image may differ: noise and compression."""
STILL_SAMPLES, STILL_FRAMES = 4, 75
"""Sightings, and frames from the first to the last one, that are needed to call an image still: people who listen hold
still for up to 60 frames, above all in compressed video, which repeats what hardly changes."""


def face_patch(image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
    """Gray patch [PATCH, PATCH] of what an RGB image [H, W, 3] shows in a face box."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.clip(np.rint(face.bbox), 0, (width - 1, height - 1, width, height)).astype(int)
    part = image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
    return np.asarray(cv2.cvtColor(cv2.resize(part, (PATCH, PATCH), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY))


def find_false_tracks(
    tracks: Sequence[Track],
    possible: Mapping[int, int],
    patches: Mapping[int, Sequence[NDArray[np.uint8]]],
    settings: TrackSettings,
) -> dict[int, Reason]:
    """Tracks that show no living person, by id, and why: `too_brief`, `low_score` or `still_image`.

    A picture of a face is told by its stillness only beside somebody who moves: where nobody does, the clip is still.

    Args:
        possible: by track id, sampled frames of the shot in which the track lies.
        patches: by track id, `face_patch` of each sighting in order.
    """
    reasons: dict[int, Reason] = {}
    for track in tracks:
        if len(track.faces) < settings.min_share * possible[track.track_id]:
            reasons[track.track_id] = Reason.TOO_BRIEF
        elif np.mean([face.score for face in track.faces.values()]) < settings.min_mean_score:
            reasons[track.track_id] = Reason.LOW_SCORE
    if settings.drop_still:
        left = [track for track in tracks if track.track_id not in reasons]
        still = [track.track_id for track in left if len(left) > 1 and _still(track, patches.get(track.track_id, ()))]
        if len(still) < len(left):
            reasons.update(dict.fromkeys(still, Reason.STILL_IMAGE))
    return reasons


def _still(track: Track, patches: Sequence[NDArray[np.uint8]]) -> bool:
    """Whether all patches show one image, which the box was only placed a little differently on."""
    if len(patches) < STILL_SAMPLES or track.last_seen - min(track.faces) < STILL_FRAMES:
        return False
    return all(_difference(patches[0], patch) < STILL for patch in patches[1:])


def _difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Difference of two patches in gray levels, after the affine and the contrast that bring them closest.

    A photograph moves only so; a head turns, and a face moves in itself.
    """
    template, image = (cv2.GaussianBlur(patch.astype(np.float32), (0, 0), 1.0) for patch in (first, second))
    affine = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    try:
        _, affine = cv2.findTransformECC(template, image, affine, cv2.MOTION_AFFINE, stop, None, 1)
    except cv2.error:  # it finds no likeness
        return float("inf")
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(image, affine, (PATCH, PATCH), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inner = (slice(PATCH // 8, -PATCH // 8),) * 2
    a, b = template[inner] - template[inner].mean(), warped[inner] - warped[inner].mean()
    gain = float((a * b).sum()) / max(float((b * b).sum()), 1e-3)
    return float(np.sqrt(np.mean((a - gain * b) ** 2)))
