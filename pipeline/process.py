"""From a clip's decoded windows to its samples: find people and forged regions, crop, choose, encode."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from detectors.face import Face, FaceDetector
from manifests import FailureRecord, FrameFaces, MaskKind, Reason, SampleRecord, Stage
from manifests.shards import EncodedSample
from pipeline.clip import Clip, ClipVideo, FrameWindow
from pipeline.crop import align_affine, crop_image, crop_mask, mask_box, square_affine
from pipeline.decode import Frame
from pipeline.encode import encode_image, encode_mask
from pipeline.faces import KnownFaces
from pipeline.filters import reason_to_drop
from pipeline.people import PeopleFinder, Sighting
from pipeline.recipe import CropSettings, Recipe
from pipeline.regions import PRISTINE, ForgedRegion, find_region
from pipeline.stopwatch import Stopwatch
from pipeline.track import largest_track, most_forged_track

__all__ = ["ClipResult", "Tools", "process_clip"]


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


@dataclass(slots=True)
class ClipResult:
    """What a clip gave, in a fixed order: videos as in the clip, frames and tracks ascending."""

    samples: list[EncodedSample]
    faces: list[FrameFaces]
    failures: list[FailureRecord]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A crop of a person of whom it is not yet known whether they are wanted."""

    frame_index: int
    pts_s: float
    track_id: int
    face: Face
    affine: NDArray[np.float64]
    region: ForgedRegion
    coverage: float | None
    image: Future[bytes]
    mask: Future[bytes]


@dataclass(slots=True)
class _VideoTally:
    """What became of the sampled frames of one video.

    Attributes:
        dropped: reason by track and frame.
        evidence: by track, forgery evidence inside the face box, summed over frames.
        without_mask: frames whose official mask was asked for and is not there.
    """

    candidates: list[_Candidate] = field(default_factory=list)
    dropped: dict[tuple[int, int], Reason] = field(default_factory=dict)
    evidence: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    decoded: int = 0
    undecoded: int = 0
    without_mask: int = 0


def process_clip(clip: Clip, windows: Iterable[FrameWindow], tools: Tools) -> ClipResult:
    """Turn a clip's windows into encoded samples, detections and failures."""
    people = PeopleFinder(clip, tools.recipe.detect, tools.detector, tools.known_faces, tools.watch)
    cutter = _Cutter(clip, tools)
    for window in windows:
        cutter.cut(window, people.look(window))
    wanted = _wanted_tracks(clip, people, cutter.tallies, tools.recipe)
    samples: list[EncodedSample] = []
    failures: list[FailureRecord] = []
    with tools.watch("encode"):  # what the encoders have not finished yet
        for video in clip.videos:
            tally = cutter.tallies[video.entry.video_id]
            chosen = [candidate for candidate in tally.candidates if candidate.track_id in wanted[video.entry.video_id]]
            samples += [_sample(clip, video, candidate, tools.recipe.crop) for candidate in chosen]
            failures += _failures(video, tally, chosen, wanted[video.entry.video_id], tools.recipe)
    return ClipResult(samples, people.detections, failures)


class _Cutter:
    """Cuts every person's face out of every video of a clip, window by window."""

    def __init__(self, clip: Clip, tools: Tools) -> None:
        self.clip, self.tools, self.recipe, self.watch = clip, tools, tools.recipe, tools.watch
        self.tallies: dict[str, _VideoTally] = defaultdict(_VideoTally)

    def cut(self, window: FrameWindow, people: dict[str, list[list[Sighting]]]) -> None:
        """Take in the next window and who is in it."""
        for position in range(len(window.indices)):
            frames = {video_id: frames[position] for video_id, frames in window.frames.items()}
            official = {video_id: frames[position] for video_id, frames in window.official.items()}
            sightings = {video_id: seen[position] for video_id, seen in people.items()}
            with self.watch("mask"):
                regions = {
                    video.entry.video_id: self._region(video, frames, official, sightings) for video in self.clip.videos
                }
                around = self._forged_box(regions)
            for video in self.clip.videos:
                video_id = video.entry.video_id
                self._cut_frame(video_id, frames[video_id], sightings[video_id], regions[video_id], around)

    def _region(
        self,
        video: ClipVideo,
        frames: dict[str, Frame],
        official: dict[str, Frame],
        sightings: dict[str, list[Sighting]],
    ) -> ForgedRegion:
        """Where this video's frame was forged, and how much of it lies in whose face."""
        video_id, tally = video.entry.video_id, self.tallies[video.entry.video_id]
        image = frames[video_id].image
        if video.entry.label == 0:
            return PRISTINE
        if image is None:
            return ForgedRegion(MaskKind.NONE)
        real = None if video is self.clip.lead else frames[self.clip.lead.entry.video_id].image
        given = official[video_id].image if video_id in official else None
        if given is None and self.recipe.mask.source != "difference":
            tally.without_mask += 1
        faces = [face.bbox for _, face in sightings[video_id]]
        region = find_region(real, image, given, self.recipe.mask, faces)
        for track, face in sightings[video_id]:
            tally.evidence[track.track_id] += region.evidence_in(face.bbox)
        return region

    def _forged_box(self, regions: dict[str, ForgedRegion]) -> NDArray[np.float32] | None:
        """Box around what any fake forged in this frame, where the recipe centres crops on it."""
        masks = [region.mask for region in regions.values() if region.mask is not None]
        if self.recipe.crop.around == "face" or not masks:
            return None
        return mask_box(np.maximum.reduce(masks))

    def _cut_frame(
        self,
        video_id: str,
        frame: Frame,
        sightings: list[Sighting],
        region: ForgedRegion,
        around: NDArray[np.float32] | None,
    ) -> None:
        tally = self.tallies[video_id]
        if frame.image is None:
            tally.undecoded += 1
            return
        tally.decoded += 1
        for track, face in sightings:
            with self.watch("crop"):
                affine = self._affine(face, around)
                image = crop_image(frame.image, affine, self.recipe.crop.size)
                reason = reason_to_drop(face, image, self.recipe.filter)
            if reason is not None:
                tally.dropped[track.track_id, frame.index] = reason
            else:
                tally.candidates.append(self._candidate(frame, track.track_id, face, affine, image, region))

    def _affine(self, face: Face, around: NDArray[np.float32] | None) -> NDArray[np.float64]:
        if around is not None:
            return square_affine(around, self.recipe.crop)
        if self.recipe.crop.align == "similarity":
            return align_affine(face.landmarks, self.recipe.crop)
        return square_affine(face.bbox, self.recipe.crop)

    def _candidate(
        self,
        frame: Frame,
        track_id: int,
        face: Face,
        affine: NDArray[np.float64],
        image: NDArray[np.uint8],
        region: ForgedRegion,
    ) -> _Candidate:
        size = self.recipe.crop.size
        with self.watch("crop"):
            mask = np.zeros((size, size), np.uint8) if region.mask is None else crop_mask(region.mask, affine, size)
        return _Candidate(
            frame_index=frame.index,
            pts_s=frame.pts_s,
            track_id=track_id,
            face=face,
            affine=affine,
            region=region,
            coverage=None if region.kind is MaskKind.NONE else float(np.count_nonzero(mask)) / mask.size,
            image=self.tools.encoders.submit(encode_image, image, self.recipe.encode),
            mask=self.tools.encoders.submit(encode_mask, mask),
        )


def _wanted_tracks(
    clip: Clip, people: PeopleFinder, tallies: dict[str, _VideoTally], recipe: Recipe
) -> dict[str, set[int]]:
    """By video, the ids of the tracks to keep.

    Each fake has its own forged person; of the original everybody is kept whom some fake forges.
    """
    if recipe.track.keep == "all":
        everybody = {track.track_id for track in people.tracks}
        return {video.entry.video_id: everybody for video in clip.videos}
    largest = largest_track(people.tracks)
    steady = set() if largest is None else {largest.track_id}
    wanted = {video.entry.video_id: set(steady) for video in clip.videos}
    if recipe.track.keep == "forged":
        for video in clip.videos:
            forged = most_forged_track(people.tracks, tallies[video.entry.video_id].evidence)
            if video.entry.label == 1 and forged is not None:
                wanted[video.entry.video_id] = {forged.track_id}
        if clip.fakes:
            wanted[clip.lead.entry.video_id] = set().union(*(wanted[fake.entry.video_id] for fake in clip.fakes))
    return wanted


def _sample(clip: Clip, video: ClipVideo, candidate: _Candidate, crop: CropSettings) -> EncodedSample:
    entry, image = video.entry, candidate.image.result()
    record = SampleRecord(
        sample_id=f"{entry.video_id}-f{candidate.frame_index:06d}-t{candidate.track_id}",
        video_id=entry.video_id,
        dataset=entry.dataset,
        method=entry.method,
        label=entry.label,
        quality=entry.quality,
        split=entry.split,
        source_id=entry.source_id,
        subject_ids=entry.subject_ids,
        frame_index=candidate.frame_index,
        pts_s=candidate.pts_s,
        pair_offset=None if video is clip.lead else video.offset,
        track_id=candidate.track_id,
        bbox=tuple(candidate.face.bbox.tolist()),
        landmarks=tuple(candidate.face.landmarks.ravel().tolist()),
        score=float(candidate.face.score),
        affine=tuple(candidate.affine.ravel().tolist()),
        crop_size=crop.size,
        mask_kind=candidate.region.kind,
        mask_coverage=candidate.coverage,
        mask_iou=candidate.region.iou,
        shard="",
        row=-1,
        image_sha256=sha256(image).hexdigest(),
    )
    return EncodedSample(record, image, candidate.mask.result())


def _failures(
    video: ClipVideo, tally: _VideoTally, chosen: list[_Candidate], wanted: set[int], recipe: Recipe
) -> Iterable[FailureRecord]:
    """Every sampled frame of a video that gave no sample, or no mask, by reason."""
    video_id, info = video.entry.video_id, video.reader.info
    sampled = tally.decoded + tally.undecoded

    def failure(stage: Stage, reason: Reason, frames: int, what: str) -> FailureRecord:
        return FailureRecord(video_id, stage, reason, f"{frames} of {sampled} sampled frames {what}.", frames)

    if not sampled:
        message = f"It holds {info.frame_count} frames, none of which its clip group has in common."
        yield FailureRecord(video_id, Stage.DECODE, Reason.TRUNCATED, message)
    declared = info.declared_frames or 0
    if tally.undecoded or declared > info.frame_count:
        what = f"do not decode; the file holds {info.frame_count} frames and its header claims {declared or 'nothing'}"
        yield failure(Stage.DECODE, Reason.TRUNCATED, tally.undecoded, what)
    dropped = Counter(reason for (track_id, _), reason in tally.dropped.items() if track_id in wanted)
    for reason, frames in sorted(dropped.items()):
        yield failure(Stage.FILTER, reason, frames, f"were dropped by the filter: {reason.replace('_', ' ')}")
    with_face = {candidate.frame_index for candidate in chosen}
    with_face.update(frame for track_id, frame in tally.dropped if track_id in wanted)
    if faceless := tally.decoded - len(with_face):
        yield failure(Stage.DETECT, Reason.NO_FACE, faceless, "do not show the face that is wanted")
    if video.entry.label == 1 and tally.without_mask:
        yield failure(Stage.MASK, Reason.MASK_UNAVAILABLE, tally.without_mask, "have no official mask")
    if empty := sum(candidate.coverage == 0 for candidate in chosen if video.entry.label == 1):
        yield failure(Stage.MASK, Reason.MASK_EMPTY, empty, "are fakes in whose crop the mask is empty")
