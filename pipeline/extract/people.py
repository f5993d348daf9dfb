"""Who is in the frames: detections, known or new, linked to tracks and shared between a real video and its fakes."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from facemill.detectors.face import Face, FaceDetector
from facemill.manifests import FrameFaces
from facemill.pipeline.config.recipe import DetectSettings
from facemill.pipeline.extract.clip import Clip, ClipVideo, FrameWindow
from facemill.pipeline.extract.faces import KnownFaces, detection_key, frame_faces, whole_picture
from facemill.pipeline.extract.stopwatch import Stopwatch
from facemill.pipeline.extract.track import Track, Tracker, box_iou

__all__ = ["PeopleFinder", "Sighting"]

SAME_FACE_IOU = 0.3
"""A fake's own detection shows the person in whose box it lies, from this IoU on."""

Sighting = tuple[Track, Face]
"""A person and their face in one frame."""


class PeopleFinder:
    """Finds and follows the people of one clip.

    Args:
        detector: hands out the face detector; never called while all faces are known.
        known_faces: detections of an earlier build.

    Attributes:
        detections: every frame's faces, known or new, in the order in which they were asked for; none of a clip
            that is cropped already.
    """

    def __init__(
        self,
        clip: Clip,
        settings: DetectSettings,
        detector: Callable[[], FaceDetector],
        known_faces: KnownFaces,
        watch: Stopwatch,
    ) -> None:
        self.clip, self.settings, self.watch = clip, settings, watch
        self.detections: list[FrameFaces] = []
        self._detector, self._known = detector, known_faces
        self._tracker = Tracker()

    @property
    def tracks(self) -> list[Track]:
        """Everybody seen so far in the clip's lead video."""
        return self._tracker.tracks

    def look(self, window: FrameWindow) -> dict[str, list[list[Sighting]]]:
        """People by video and by position in the window.

        Faces are sought in the lead video; its fakes show the same people in the same places, unless
        `detect.on` is `each`: then a fake's own detections are matched to the lead's people. Where the clip is
        cropped already, each picture is one face.
        """
        found = self._faces(self.clip.lead, window)
        with self.watch("track"):
            people: list[list[Sighting]] = [
                list(zip(self._tracker.update(index, faces), faces, strict=True))
                for index, faces in zip(window.indices, found, strict=True)
            ]
        by_video = {video.entry.video_id: people for video in self.clip.videos}
        if self.settings.on == "each":
            for fake in self.clip.fakes:
                own = self._faces(fake, window)
                by_video[fake.entry.video_id] = [_match(there, faces) for there, faces in zip(people, own, strict=True)]
        return by_video

    def _faces(self, video: ClipVideo, window: FrameWindow) -> list[list[Face]]:
        """Faces of each frame of the window; none where a frame does not decode."""
        video_id = video.entry.video_id
        if self.clip.cropped:
            images = [frame.image for frame in window.frames[video_id]]
            return [[] if image is None else [whole_picture(image)] for image in images]
        key = detection_key(video_id, video.file_bytes, video.reader.info.frame_count, self.settings)
        frames = [frame for frame in window.frames[video_id] if frame.image is not None]
        faces = {frame.index: self._known[key, frame.index] for frame in frames if (key, frame.index) in self._known}
        unseen = [frame for frame in frames if frame.index not in faces]
        if unseen:
            detector = self._detector()
            with self.watch("detect"):
                new = detector.detect([frame.image for frame in unseen if frame.image is not None])
            faces.update(zip((frame.index for frame in unseen), new, strict=True))
        self.detections += [frame_faces(key, video_id, frame.index, faces[frame.index]) for frame in frames]
        return [faces.get(frame.index, []) for frame in window.frames[video_id]]


def _match(people: Sequence[Sighting], faces: Sequence[Face]) -> list[Sighting]:
    """Give a fake's own faces to the people of the original in whose boxes they lie."""
    if not people or not faces:
        return []
    there = np.stack([face.bbox for _, face in people]).astype(np.float64)
    here = np.stack([face.bbox for face in faces]).astype(np.float64)
    iou = box_iou(there, here)
    pairs = zip(*linear_sum_assignment(-iou), strict=True)
    return [(people[row][0], faces[column]) for row, column in pairs if iou[row, column] >= SAME_FACE_IOU]
