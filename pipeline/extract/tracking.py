"""Faces of a clip on their tracks: detections, known or new, linked over the lead and shared with its fakes."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from facemill.detectors.face import Face, FaceDetector
from facemill.manifests import FrameFaces
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import ClipVideo, LeadWindow
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.decode import Frame
from facemill.pipeline.extract.faces import faces_of, frame_faces, whole_image
from facemill.pipeline.extract.known_faces import KnownFaces, detection_key
from facemill.pipeline.tracking.false_tracks import face_patch
from facemill.pipeline.tracking.follow import Follower
from facemill.pipeline.tracking.track import Track, box_iou

__all__ = ["FaceTracking", "TrackedFace", "match_tracks", "steady_faces"]

SAME_FACE_IOU = 0.3
"""A fake's own detection is the face of the track in whose box it lies, from this IoU on."""

TrackedFace = tuple[int, Face]
"""A track's id and its face in one frame."""


class FaceTracking:
    """Detects and links the faces of one clip.

    Args:
        detector: hands out the face detector; never called while all faces are known.
        known_faces: detections of an earlier build.
        detection: what detections depend on (`WorkIdentity.detection`).

    Attributes:
        detections: every frame's faces, known or new, in the order in which they were asked for; none of a clip
            of face crops.
        patches: by track, what its faces look like, small.
    """

    def __init__(
        self,
        clip: Clip,
        recipe: Recipe,
        detector: Callable[[], FaceDetector],
        known_faces: KnownFaces | None,
        detection: str,
        watch: Stopwatch,
    ) -> None:
        self.clip, self.watch = clip, watch
        self.deinterlace = recipe.decode.deinterlace
        self.detections: list[FrameFaces] = []
        self.patches: dict[int, list[NDArray[np.uint8]]] = defaultdict(list)
        self._detector, self._known, self._detection = detector, known_faces, detection
        self._follower = Follower(lambda images: detector().detect(list(images)))
        self._crops = Track(0)

    @property
    def tracks(self) -> list[Track]:
        """All tracks of the lead so far; of crops, none if no sampled image decodes."""
        return [self._crops] if self._crops.faces else self._follower.tracks

    def follow(self, window: LeadWindow) -> list[list[TrackedFace]]:
        """The lead's faces in each frame of the window. Where it consists of face crops, each is one face."""
        if self.clip.lead.is_crops:
            return [self._whole(frame) for frame in window.frames]
        found = self.detect(self.clip.lead, window.frames)
        followed: list[list[tuple[Track, Face]]] = []
        with self.watch("track"):
            for index, frame, faces in zip(window.indices, window.frames, found, strict=True):
                tracks: Sequence[Track] = []
                if frame.image is not None:
                    tracks = self._follower.sample(index, frame.image, faces, window.between, window.cuts)
                followed.append(list(zip(tracks, faces, strict=True)))
            self._follower.settle()
            for frame, tracked in zip(window.frames, followed, strict=True):
                for track, face in tracked:
                    assert frame.image is not None
                    self.patches[track.track_id].append(face_patch(frame.image, face))
        return [[(track.track_id, face) for track, face in tracked] for tracked in followed]

    def detect(self, video: ClipVideo, frames: Sequence[Frame | None]) -> list[list[Face]]:
        """Faces of each frame; none where a frame does not decode."""
        info = video.reader.info
        deinterlaced = self.deinterlace and info.interlaced
        key = detection_key(self._detection, video.entry, video.file_bytes, info.frame_count, deinterlaced=deinterlaced)
        known = self._known.of(key) if self._known is not None else {}
        present = [frame for frame in frames if frame is not None and frame.image is not None]
        faces = {frame.index: faces_of(known[frame.index]) for frame in present if frame.index in known}
        unseen = list({frame.index: frame for frame in present if frame.index not in faces}.values())
        if unseen:
            detector = self._detector()
            with self.watch("detect"):
                new = detector.detect([frame.image for frame in unseen if frame.image is not None])
            faces.update(zip((frame.index for frame in unseen), new, strict=True))
        self.detections += [frame_faces(key, video.video_id, index, found) for index, found in faces.items()]
        return [faces.get(frame.index, []) if frame is not None else [] for frame in frames]

    def _whole(self, frame: Frame) -> list[TrackedFace]:
        if frame.image is None:
            return []
        self._crops.faces[frame.index] = face = whole_image(frame.image)
        return [(0, face)]


def match_tracks(tracked: Sequence[TrackedFace], faces: Sequence[Face]) -> list[TrackedFace]:
    """Put a fake's own faces on the tracks of the original in whose boxes they lie."""
    if not tracked or not faces:
        return []
    there = np.stack([face.bbox for _, face in tracked]).astype(np.float64)
    here = np.stack([face.bbox for face in faces]).astype(np.float64)
    iou = box_iou(there, here)
    pairs = zip(*linear_sum_assignment(-iou), strict=True)
    return [(tracked[row][0], faces[column]) for row, column in pairs if iou[row, column] >= SAME_FACE_IOU]


def steady_faces(
    tracked: Mapping[int, Sequence[TrackedFace]], stretches: NDArray[np.int64]
) -> dict[tuple[int, int], Face]:
    """By track and stretch, the median of the track's boxes and landmarks in that stretch.

    Args:
        tracked: faces by position among the clip's samples.
        stretches: number of the stretch of consecutive frames that each position is in.
    """
    found: dict[tuple[int, int], list[Face]] = defaultdict(list)
    for position, faces in tracked.items():
        for track, face in faces:
            found[track, int(stretches[position])].append(face)
    return {key: _median(faces) for key, faces in found.items()}


def _median(faces: Sequence[Face]) -> Face:
    box, landmarks = (
        np.median([getattr(face, name) for face in faces], axis=0).astype(np.float32) for name in ("bbox", "landmarks")
    )
    return Face(box, float(np.median([face.score for face in faces])), landmarks)
