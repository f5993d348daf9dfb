"""From the items of a clip to its samples: find faces, compare fakes, crop, and choose whose crops to keep."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face, FaceDetector
from facemill.manifests import FailureRecord, LabelSource, MaskKind, Reason
from facemill.manifests.shards import EncodedSample
from facemill.pipeline.clips.clip import (
    Clip,
    ClipItem,
    ClipVideo,
    CropFrames,
    FakeFrames,
    FakeRead,
    FakeRestart,
    LeadWindow,
)
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.decode import Frame
from facemill.pipeline.extract.account import FrameAccount
from facemill.pipeline.extract.annotators import annotate, create_annotators
from facemill.pipeline.extract.comparison import Comparison, CropMask, FaceLabel
from facemill.pipeline.extract.crop import crop_image
from facemill.pipeline.extract.encode import PNG, encode_image, encode_mask
from facemill.pipeline.extract.filters import create_filters, reason_to_drop
from facemill.pipeline.extract.framing import Framing, relative_box
from facemill.pipeline.extract.known_faces import KnownFaces
from facemill.pipeline.extract.result import ClipResult
from facemill.pipeline.extract.samples import NO_IMAGE, Candidate, Crop, facts_of, sample_of
from facemill.pipeline.extract.selection import TrackSelection
from facemill.pipeline.extract.tracking import FaceTracking, TrackedFace, match_tracks

__all__ = ["WorkerResources", "process_clip"]

Key = tuple[int, int]  # position among the clip's samples, track id


@dataclass(slots=True)
class WorkerResources:
    """What a worker has at hand; all clips of a shard share it.

    Attributes:
        detector: hands out the face detector; never called while all faces are known.
        known_faces: detections of an earlier build.
        detection: what detections depend on (`WorkIdentity.detection`).
        encoders: threads that encode crops while the next frames are looked at.
    """

    recipe: Recipe
    detector: Callable[[], FaceDetector]
    known_faces: KnownFaces | None
    detection: str
    encoders: Executor
    watch: Stopwatch = field(default_factory=Stopwatch)


def process_clip(clip: Clip, items: Iterable[ClipItem], tools: WorkerResources) -> ClipResult:
    """Turn a clip's items into encoded samples, detections, failures and facts."""
    work = _ClipProcessor(clip, tools)
    for _ in map(work.take, items):  # which holds no item while the next is decoded
        pass
    return work.result()


class _Reading:
    """What is gathered of one video in one window, until its faces can be labelled."""

    def __init__(self, video: ClipVideo, recipe: Recipe, shape: tuple[int, int]) -> None:
        self.video = video
        self.comparison = Comparison(recipe.mask, recipe.label, shape)
        self.crops: dict[Key, Crop] = {}
        self.missing: list[int] = []  # positions without a frame of this video
        self.account = FrameAccount()


class _ClipProcessor:
    """Takes a clip's items one by one.

    Positions number the clip's samples. Of a sequence of face crops every image is taken whole (in the smallest
    square around it, with its edge repeated), whatever the recipe says of scale, alignment and centre.
    """

    def __init__(self, clip: Clip, tools: WorkerResources) -> None:
        self.clip, self.tools, self.recipe, self.watch = clip, tools, tools.recipe, tools.watch
        whole = {"scale": 1.0, "align": "none", "around": "face"} if clip.lead.is_sequence else {}
        self.crop_settings = tools.recipe.crop.model_copy(update=whole)
        self.tracking = FaceTracking(
            clip, tools.recipe, tools.detector, tools.known_faces, tools.detection, tools.watch
        )
        self.selection = TrackSelection(clip, tools.recipe.track)
        self.accounts: dict[str, FrameAccount] = defaultdict(FrameAccount)
        self.candidates: dict[str, list[Candidate]] = defaultdict(list)
        self.comparisons: dict[str, list[tuple[range, Comparison]]] = defaultdict(list)
        self.tracked: dict[int, list[TrackedFace]] = {}
        self.own: dict[str, dict[int, list[TrackedFace]]] = defaultdict(dict)
        self.filters = create_filters(tools.recipe.filter)
        self.annotators = create_annotators(tools.recipe.annotate)
        self.dropped: dict[Key, Reason | None] = {}
        self.window = LeadWindow([], [], {}, [], [])
        self.start = 0
        self.lead = self._reading(clip.lead)
        self.fake: _Reading | None = None
        self.framing = Framing(self.crop_settings, {}) if not clip.crops_later else None

    def take(self, item: ClipItem) -> None:
        match item:
            case LeadWindow():
                self._take_lead(item)
            case FakeFrames():
                self._take_fake(item)
            case FakeRestart():
                self.fake = None
            case FakeRead():
                self._finish_fake(item)
            case CropFrames():
                self._crop_later(item)

    # Measuring ------------------------------------------------------------------------------------------

    def _reading(self, video: ClipVideo) -> _Reading:
        return _Reading(video, self.recipe, self.clip.lead.shape)

    def _take_lead(self, window: LeadWindow) -> None:
        self._finish_lead()
        self.start += len(self.window.indices)
        self.window, self.lead = window, self._reading(self.clip.lead)
        followed = self.tracking.follow(window)
        self.selection.see(
            self.tracking.tracks, self.tracking.patches, last=self.start + len(window.indices) == len(self.clip.indices)
        )
        for position, (frame, tracked) in enumerate(zip(window.frames, followed, strict=True), self.start):
            self.tracked[position] = tracked
            self._take_frame(self.lead, position, frame, None, window.ground_truth[position - self.start], tracked)

    def _take_fake(self, item: FakeFrames) -> None:
        if self.fake is None:
            self.fake = self._reading(item.video)
        own = self._own_faces(item)
        for number, (frame, truth) in enumerate(zip(item.frames, item.ground_truth, strict=True)):
            place = item.start + number
            real = self.window.frames[place]
            position = self.start + place
            tracked = self.tracked[position] if own is None else own[number]
            if own is not None:
                self.own[item.video.video_id][position] = tracked
            in_fake = tracked if own is not None else self._scaled(item.video, tracked)
            self._take_frame(self.fake, position, frame, real, truth, in_fake)

    def _own_faces(self, item: FakeFrames) -> list[list[TrackedFace]] | None:
        """With `detect.on: each`, a fake's own faces on the lead's tracks."""
        if self.recipe.detect.on != "each":
            return None
        found = self.tracking.detect(item.video, item.frames)
        there = [self.tracked[self.start + item.start + number] for number in range(len(found))]
        return [
            match_tracks(self._scaled(item.video, tracked), faces) for tracked, faces in zip(there, found, strict=True)
        ]

    def _take_frame(
        self,
        reading: _Reading,
        position: int,
        frame: Frame | None,
        real: Frame | None,
        truth: Frame | None,
        tracked: list[TrackedFace],
    ) -> None:
        """Take in a frame of a video; `tracked` are its faces in its own pixels."""
        account = reading.account
        account.sampled += 1
        if frame is None:
            reading.missing.append(position)
            return
        if frame.image is None:
            account.undecoded.append(frame.index)
            return
        if real is not None and real.image is None:
            account.orphaned += 1
            return
        account.decoded.add(frame.index)
        if reading.video.entry.label == 1:
            with self.watch("mask"):
                original = None if real is None else real.image
                given = None if truth is None else truth.image
                reading.comparison.add(position, original, frame.image, given, self.tracked[position])
        if self.framing is not None:
            self._cut(reading, position, frame, frame.image, tracked, self.framing)

    def _cut(
        self,
        reading: _Reading,
        position: int,
        frame: Frame,
        image: NDArray[np.uint8],
        tracked: list[TrackedFace],
        framing: Framing,
    ) -> None:
        """Cut the faces out of a frame. The first video to show a face decides for all whether it is worth keeping."""
        with self.watch("crop"):
            for track_id, face in tracked:
                if not self.selection.may_keep(track_id):
                    continue
                affine = framing.affine(track_id, face)
                cut = crop_image(image, affine, self.crop_settings.size, repeat_edge=self.clip.lead.is_sequence)
                key = position, track_id
                if key not in self.dropped:
                    self.dropped[key] = reason_to_drop(face, cut, self.filters)
                if (reason := self.dropped[key]) is None:
                    said = annotate(self.annotators, image, face, cut, affine)
                    reading.crops[key] = Crop(position, track_id, frame.index, frame.pts_s, face, affine, cut, said)
                else:
                    reading.account.dropped[track_id, frame.index] = reason

    def _scale(self, video: ClipVideo) -> float:
        """Pixels of a video's frames for each pixel of the lead's."""
        return video.shape[0] / self.clip.lead.shape[0]

    def _scaled(self, video: ClipVideo, tracked: list[TrackedFace]) -> list[TrackedFace]:
        """The lead's faces in the pixels of a fake of another size."""
        factor = np.float32(self._scale(video))
        if factor == 1:
            return tracked
        return [(track, Face(face.bbox * factor, face.score, face.landmarks * factor)) for track, face in tracked]

    # Labelling ------------------------------------------------------------------------------------------

    def _finish_fake(self, item: FakeRead) -> None:
        reading, self.fake = self.fake, None
        if reading is None:
            return
        if item.refused is not None:
            if self.start:  # in the first window it becomes a clip of its own
                self.accounts[item.video.video_id].refused(reading.account, item.refused)
            return
        self._finish_reading(reading)

    def _finish_lead(self) -> None:
        """Once its fakes were compared with it, the lead's window is done."""
        if self.window.indices:
            self._finish_reading(self.lead)

    def _finish_reading(self, reading: _Reading) -> None:
        video = reading.video
        span = range(self.start, self.start + len(self.window.indices))
        if video.entry.label == 1:
            with self.watch("mask"):
                labels = reading.comparison.label_faces()
            if self.clip.crops_later:
                self.comparisons[video.video_id].append((span, reading.comparison))
            self.selection.take_labels(video, labels)
        uncertain = 0
        if video.alignment is not None:
            places = self.clip.indices[reading.missing]
            uncertain = int((video.alignment.doubtful[places] | (video.alignment.fake_of[places] >= 0)).sum())
        reading.account.uncertain += uncertain
        reading.account.unmatched += len(reading.missing) - uncertain
        self.accounts[video.video_id].add(reading.account)
        for crop in reading.crops.values():
            self._candidate(video, crop, reading.comparison)

    def _candidate(self, video: ClipVideo, crop: Crop, comparison: Comparison) -> None:
        face_label = FaceLabel(0, LabelSource.VIDEO)
        mask = CropMask(MaskKind.ZEROS, np.zeros(crop.image.shape[:2], np.uint8))
        account = self.accounts[video.video_id]
        if video.entry.label == 1:
            face_label = comparison.label_of(crop.position, crop.track_id)
            if face_label.left_out is not None:
                account.left_out[crop.track_id, crop.frame_index] = face_label.left_out
                return
            if face_label.label == 1:
                scale = self._scale(video)
                in_lead = crop.affine * [[scale, scale, 1.0]]
                with self.watch("mask"):
                    mask = comparison.mask(crop.position, in_lead, self.crop_settings.size)
                if self._misses_ground_truth(video, mask) and not comparison.has_ground_truth(crop.position):
                    account.without_mask.add((crop.track_id, crop.frame_index))
        if not self.selection.may_still_keep(video, crop.track_id):
            return
        coverage = None if mask.kind is MaskKind.NONE else float(np.count_nonzero(mask.mask)) / mask.mask.size
        candidate = Candidate(
            crop=replace(crop, image=NO_IMAGE, annotated=replace(crop.annotated, images={})),
            face_label=face_label,
            mask_kind=mask.kind,
            mask_coverage=coverage,
            mask_iou=mask.iou,
            image=self.tools.encoders.submit(encode_image, crop.image, self.recipe.encode),
            mask=self.tools.encoders.submit(encode_mask, mask.mask),
            images={
                name: self.tools.encoders.submit(encode_image, image, PNG)
                for name, image in crop.annotated.images.items()
            },
        )
        self.candidates[video.video_id].append(candidate)

    def _misses_ground_truth(self, video: ClipVideo, mask: CropMask) -> bool:
        """Whether a ground-truth mask was to be had, or nothing else could stand in for it."""
        wanted = self.recipe.mask.source != "difference" and video.entry.mask_path is not None
        return wanted or (mask.kind is MaskKind.NONE and not video.is_sequence)

    # Crops around masks ---------------------------------------------------------------------------------

    def _crop_later(self, item: CropFrames) -> None:
        """Cut faces once the masks of the whole clip are known."""
        if self.framing is None:
            self._finish_lead()
            self.window = LeadWindow([], [], {}, [], [])
            self.framing = Framing(self.crop_settings, self._forged_regions())
        video = item.video
        reading = self._reading(video)
        for position, frame in enumerate(item.frames, item.start):
            if frame is not None and frame.image is not None and self.tracked[position]:
                faces = self.own[video.video_id].get(position)
                if faces is None:
                    faces = self._scaled(video, self.tracked[position])
                self._cut(reading, position, frame, frame.image, faces, self.framing)
        self.accounts[video.video_id].dropped.update(reading.account.dropped)
        for crop in reading.crops.values():
            comparison = next((c for span, c in self.comparisons[video.video_id] if crop.position in span), None)
            if comparison is not None or video.entry.label == 0:
                self._candidate(video, crop, comparison or reading.comparison)

    def _forged_regions(self) -> Mapping[int, list[NDArray[np.float64]]]:
        """By track, the union of all fakes' forged regions in each frame, relative to the face."""
        regions: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
        for position, tracked in self.tracked.items():
            for track_id, face in tracked:
                boxes = [
                    box
                    for parts in self.comparisons.values()
                    for span, comparison in parts
                    if position in span and (box := comparison.box(position, track_id)) is not None
                ]
                if boxes:
                    corners = np.stack(boxes)
                    union = np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])
                    regions[track_id].append(relative_box(union, face))
        return regions

    # The end --------------------------------------------------------------------------------------------

    def result(self) -> ClipResult:
        if self.framing is not None and not self.clip.crops_later:
            self._finish_lead()
        samples: list[EncodedSample] = []
        failures = list(self.clip.failures)
        with self.watch("encode"):  # what the encoders have not finished yet
            for video in self.clip.videos:
                if video is self.clip.lead and self.clip.reference:
                    continue
                wanted = self.selection.wanted(video)
                chosen = [c for c in self.candidates[video.video_id] if c.crop.track_id in wanted]
                samples += [sample_of(self.clip, video, candidate, self.crop_settings.size) for candidate in chosen]
                failures += self._failures(video, chosen, wanted)
        facts = [facts_of(self.clip, video) for video in self.clip.videos]
        return ClipResult(samples, self.tracking.detections, failures, facts)

    def _failures(self, video: ClipVideo, chosen: list[Candidate], wanted: set[int]) -> Iterator[FailureRecord]:
        account = self.accounts[video.video_id]
        account.kept = {candidate.crop.frame_index for candidate in chosen}
        fakes = [candidate for candidate in chosen if candidate.face_label.label == 1]
        account.empty = {c.crop.frame_index for c in fakes if c.mask_coverage == 0}
        account.unreliable = {c.crop.frame_index for c in fakes if c.mask_kind is MaskKind.UNRELIABLE}
        broken_off = sum(failure.frames for failure in self.clip.failures if failure.video_id == video.video_id)
        yield from account.failures(video, wanted, broken_off)
        yield from self.selection.failures(video)
