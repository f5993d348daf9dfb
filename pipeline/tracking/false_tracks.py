"""Tracks that show no living person: false detections, and still images of people."""

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
"""Side of the gray patch used to detect motion inside a face box, in pixels."""
STILL = 3.0
"""Maximum difference between patches of a still image, in gray levels: noise and compression."""
STILL_SAMPLES, STILL_FRAMES = 4, 75
"""Minimum number of samples, and of frames from first to last, of a still image: a listening person can stay still for
60 frames, particularly in compressed video, which repeats regions that hardly change."""


def face_patch(image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
    """Gray patch [PATCH, PATCH] of a face box in an RGB image [H, W, 3]."""
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
    """Find tracks that show no living person: `too_brief`, `low_score` or `still_image`, by track id.

    A still track is dropped only if another track moves: otherwise the whole video may be still.

    Args:
        possible: number of sampled frames in the track's shot, by track id.
        patches: `face_patch` of each face of a track in order, by track id.
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
    """Whether all patches show the same still image, apart from the jitter of the box."""
    if len(patches) < STILL_SAMPLES or track.last_seen - min(track.faces) < STILL_FRAMES:
        return False
    return all(_difference(patches[0], patch) < STILL for patch in patches[1:])


def _difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Difference of two patches in gray levels, after the affine and the contrast that align them best.

    A photograph changes only in these ways; a real head turns, and its features move.
    """
    template, image = (cv2.GaussianBlur(patch.astype(np.float32), (0, 0), 1.0) for patch in (first, second))
    affine = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    try:
        _, affine = cv2.findTransformECC(template, image, affine, cv2.MOTION_AFFINE, stop, None, 1)
    except cv2.error:  # it does not converge
        return float("inf")
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(image, affine, (PATCH, PATCH), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inner = (slice(PATCH // 8, -PATCH // 8),) * 2
    a, b = template[inner] - template[inner].mean(), warped[inner] - warped[inner].mean()
    gain = float((a * b).sum()) / max(float((b * b).sum()), 1e-3)
    return float(np.sqrt(np.mean((a - gain * b) ** 2)))
