"""Cutting: every person's face out of every video of a clip, with the mask of what was forged in it."""

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face, FaceDetector
from facemill.manifests import MaskKind, Reason
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.decode import Frame
from facemill.pipeline.extract.clip import Clip, ClipVideo, FrameWindow
from facemill.pipeline.extract.crop import align_affine, crop_image, crop_mask, mask_box, square_affine
from facemill.pipeline.extract.encode import encode_image, encode_mask
from facemill.pipeline.extract.faces import KnownFaces
from facemill.pipeline.extract.filters import reason_to_drop
from facemill.pipeline.extract.people import Sighting
from facemill.pipeline.extract.regions import PRISTINE, ForgedRegion, find_region
from facemill.pipeline.extract.stopwatch import Stopwatch

__all__ = ["Candidate", "Cutter", "Tools", "VideoTally"]


@dataclass(slots=True)
class Tools:
    """What a worker has at hand; all clips of a shard share it.

    Attributes:
        detector: hands out the face detector; never called while all faces are known.
        known_faces: detections of an earlier build.
        encoders: threads that encode crops while the next frames are looked at.
    """

    recipe: Recipe
    detector: Callable[[], FaceDetector]
    known_faces: KnownFaces
    encoders: Executor
    watch: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A crop of a person of whom it is not yet known whether they are wanted."""

    frame_index: int
    pts_s: float
    track_id: int
    face: Face
    affine: NDArray[np.float64]
    mask_kind: MaskKind
    mask_coverage: float | None
    mask_iou: float | None
    image: Future[bytes]
    mask: Future[bytes]


@dataclass(slots=True)
class VideoTally:
    """What became of the sampled frames of one video.

    Attributes:
        dropped: reason by track and frame.
        evidence: by track, forgery evidence inside the face box, summed over frames.
        decoded, undecoded: frames of this video.
        orphaned: frames that decode, but not in the clip's lead, where faces are sought.
        without_mask: frames whose official mask was asked for and is not there.
    """

    candidates: list[Candidate] = field(default_factory=list)
    dropped: dict[tuple[int, int], Reason] = field(default_factory=dict)
    evidence: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    decoded: int = 0
    undecoded: int = 0
    orphaned: int = 0
    without_mask: int = 0


class Cutter:
    """Takes a clip's windows one by one; `tallies`, by video id, is what came of them.

    Of a clip that is cropped already every picture is taken whole (in the smallest square around it, if it is
    none, with its edge repeated), whatever the recipe says of scale, alignment and centre.
    """

    def __init__(self, clip: Clip, tools: Tools) -> None:
        self.clip, self.tools, self.recipe, self.watch = clip, tools, tools.recipe, tools.watch
        whole = {"scale": 1.0, "align": "none", "around": "face"}
        self.crop = tools.recipe.crop.model_copy(update=whole if clip.cropped else {})
        self.tallies: dict[str, VideoTally] = {video.entry.video_id: VideoTally() for video in clip.videos}

    def cut(self, window: FrameWindow, people: dict[str, list[list[Sighting]]]) -> None:
        """Take in the next window and who is in it, by video and position."""
        for position in range(len(window.indices)):
            frames = {video_id: frames[position] for video_id, frames in window.frames.items()}
            official = {video_id: frames[position] for video_id, frames in window.official.items()}
            sightings = {video_id: seen[position] for video_id, seen in people.items()}
            with self.watch("mask"):
                regions = {
                    video.entry.video_id: self._region(video, frames, official, sightings[video.entry.video_id])
                    for video in self.clip.videos
                }
            self._cut_frames(frames, sightings, regions)

    def _region(
        self, video: ClipVideo, frames: dict[str, Frame], official: dict[str, Frame], people: list[Sighting]
    ) -> ForgedRegion:
        """Where this video's frame was forged, and how much of it lies in whose face."""
        video_id = video.entry.video_id
        image = frames[video_id].image
        if video.entry.label == 0 or image is None:
            return PRISTINE
        real = None if video is self.clip.lead else frames[self.clip.lead.entry.video_id].image
        given = official[video_id].image if video_id in official else None
        region = find_region(real, image, given, self.recipe.mask, [face.bbox for _, face in people])
        tally = self.tallies[video_id]
        if given is None and self._misses_official(video, region):
            tally.without_mask += 1
        for track, face in people:
            tally.evidence[track.track_id] += region.evidence_in(face.bbox)
        return region

    def _misses_official(self, video: ClipVideo, region: ForgedRegion) -> bool:
        """Whether an official mask was to be had, or nothing else could stand in for it."""
        source = self.recipe.mask.source
        return source != "difference" and (video.entry.mask_path is not None or region.kind is MaskKind.NONE)

    def _cut_frames(
        self, frames: dict[str, Frame], sightings: dict[str, list[Sighting]], regions: dict[str, ForgedRegion]
    ) -> None:
        """Cut one frame of every video. The first video to show a face decides for all whether it is worth keeping."""
        masks = [region.mask for region in regions.values() if region.mask is not None]
        forged = np.maximum.reduce(masks) if masks and self.crop.around == "mask" else None
        lead_decodes = frames[self.clip.lead.entry.video_id].image is not None
        verdicts: dict[int, Reason | None] = {}
        for video_id, frame in frames.items():
            tally = self.tallies[video_id]
            if frame.image is None:
                tally.undecoded += 1
                continue
            tally.decoded += 1
            tally.orphaned += not lead_decodes
            for track, face in sightings[video_id]:
                with self.watch("crop"):
                    affine = self._affine(face, forged)
                    image = crop_image(frame.image, affine, self.crop.size, repeat_edge=self.clip.cropped)
                if track.track_id not in verdicts:
                    verdicts[track.track_id] = reason_to_drop(face, image, self.recipe.filter)
                if (reason := verdicts[track.track_id]) is not None:
                    tally.dropped[track.track_id, frame.index] = reason
                else:
                    candidate = self._candidate(frame, track.track_id, face, affine, image, regions[video_id])
                    tally.candidates.append(candidate)

    def _affine(self, face: Face, forged: NDArray[np.uint8] | None) -> NDArray[np.float64]:
        around = None if forged is None else mask_box(forged, face.bbox)
        if around is not None:
            return square_affine(around, self.crop)
        if self.crop.align == "similarity":
            return align_affine(face.landmarks, self.crop)
        return square_affine(face.bbox, self.crop)

    def _candidate(
        self,
        frame: Frame,
        track_id: int,
        face: Face,
        affine: NDArray[np.float64],
        image: NDArray[np.uint8],
        region: ForgedRegion,
    ) -> Candidate:
        size = self.crop.size
        with self.watch("crop"):
            mask = np.zeros((size, size), np.uint8) if region.mask is None else crop_mask(region.mask, affine, size)
        return Candidate(
            frame_index=frame.index,
            pts_s=frame.pts_s,
            track_id=track_id,
            face=face,
            affine=affine,
            mask_kind=region.kind,
            mask_coverage=None if region.kind is MaskKind.NONE else float(np.count_nonzero(mask)) / mask.size,
            mask_iou=region.iou,
            image=self.tools.encoders.submit(encode_image, image, self.recipe.encode),
            mask=self.tools.encoders.submit(encode_mask, mask),
        )
