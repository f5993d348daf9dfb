"""From the items of a clip to its samples: detect faces, compare fakes, crop, and choose the tracks to keep."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face, FaceDetector
from facemill.manifests import FailureRecord, LabelSource, MaskKind, Reason
from facemill.manifests.exclusion import sample_id_of
from facemill.manifests.shards import EncodedSample
from facemill.masks import OriginalFrame
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import ClipItem, ClipVideo, CropFrames, FakeFrames, FakeRead, FakeRestart, LeadWindow
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.decode import Frame
from facemill.pipeline.extract.account import FrameAccount
from facemill.pipeline.extract.annotators import annotate, create_annotators
from facemill.pipeline.extract.comparison import Comparison, CropMask, FaceLabel
from facemill.pipeline.extract.crop import Framing, relative_box
from facemill.pipeline.extract.cropper import Crop, Cropper, Key
from facemill.pipeline.extract.encode import encode_image, encode_png
from facemill.pipeline.extract.filters import create_filters
from facemill.pipeline.extract.known_faces import KnownFaces
from facemill.pipeline.extract.result import ClipResult
from facemill.pipeline.extract.samples import NO_IMAGE, Candidate, facts_of, sample_of
from facemill.pipeline.extract.selection import TrackSelection
from facemill.pipeline.extract.tracking import FaceTracking, TrackedFace, match_tracks, steady_faces

__all__ = ["WorkerResources", "process_clip"]


@dataclass(slots=True)
class WorkerResources:
    """Resources of a worker, shared by all clips of a shard.

    Attributes:
        detector: returns the face detector; not called while all faces are known.
        known_faces: detections of an earlier build.
        detection: `WorkIdentity.detection`, the first part of detection keys.
        encoders: threads that encode crops while the next frames are processed.
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
    """Data of one video in one window, collected until its faces can be labelled."""

    def __init__(
        self, video: ClipVideo, recipe: Recipe, shape: tuple[int, int], originals: dict[int, OriginalFrame]
    ) -> None:
        self.video = video
        self.comparison = Comparison(recipe.mask, recipe.label, shape, originals)
        self.crops: dict[Key, Crop] = {}
        self.missing: list[int] = []  # positions without a frame of this video
        self.account = FrameAccount()


class _ClipProcessor:
    """Processes a clip's items one by one.

    Positions number the clip's samples. The images of a sequence of face crops are used whole (in the smallest square
    around them, with repeated edges), and the recipe's scale, alignment and centre are ignored.
    """

    def __init__(self, clip: Clip, tools: WorkerResources) -> None:
        self.clip, self.tools, self.recipe, self.watch = clip, tools, tools.recipe, tools.watch
        whole = {"scale": 1.0, "align": "none", "around": "face", "steady": False} if clip.lead.is_crops else {}
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
        self.excluded = frozenset(tools.recipe.filter.exclude)
        filters = create_filters(tools.recipe.filter)
        self.cropper = Cropper(self.crop_settings.size, clip.lead.is_crops, filters, self.watch)
        self.annotators = create_annotators(tools.recipe.annotate)
        self.window = LeadWindow([], [], {}, [], [])
        self.start = 0
        self.originals: dict[int, OriginalFrame] = {}
        self.lead = self._reading(clip.lead)
        self.fake: _Reading | None = None
        self.framing = Framing(self.crop_settings, {}) if not clip.crops_later else None
        self.stretches = np.cumsum(np.diff(clip.indices, prepend=clip.indices[:1]) > 1, dtype=np.int64)
        self.steady: Mapping[tuple[int, int], Face] = {}

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
        return _Reading(video, self.recipe, self.clip.lead.shape, self.originals)

    def _take_lead(self, window: LeadWindow) -> None:
        self._finish_lead()
        self.start += len(self.window.indices)
        self.window, self.lead = window, self._reading(self.clip.lead)
        self.originals.clear()
        self.cropper.forget()
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
        """With `detect.on: each`, the faces detected in the fake, matched to the lead's tracks."""
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
        """Process a frame of a video; `tracked` are its faces in its own pixels."""
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
                entry, faces = reading.video.entry, self.tracked[position]
                if entry.forged_at(frame.pts_s) is False and not reading.video.is_sequence:
                    reading.comparison.add_unforged(position, faces)
                else:
                    reading.comparison.add(position, original, frame.image, given, faces)
        if self.framing is not None:
            self._hold(reading, position, frame, tracked, self.framing)

    def _hold(
        self, reading: _Reading, position: int, frame: Frame, tracked: list[TrackedFace], framing: Framing
    ) -> None:
        kept = [(track, face) for track, face in tracked if self.selection.may_keep(track)]
        framed = kept
        if self.crop_settings.steady:
            stretch = self.stretches[position]
            framed = self._scaled(reading.video, [(track, self.steady[track, stretch]) for track, _ in kept])
        faces = [(*each, framing.affine(*by)) for each, by in zip(kept, framed, strict=True)]
        copied = reading is self.fake and not self.annotators  # they need whole frames, and the lead's are held anyway
        for crop in self.cropper.hold(frame, position, faces, copied=copied):
            reading.crops[position, crop.track_id] = crop

    def _scale(self, video: ClipVideo) -> float:
        """Ratio of a video's frame size to the lead's."""
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
            if self.start:  # in the first window, the fake becomes a clip of its own
                self.accounts[item.video.video_id].refused(reading.account, item.refused)
            return
        self._finish_reading(reading)

    def _finish_lead(self) -> None:
        """Finish the lead's window, once its fakes have been compared with it."""
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
        size = self.crop_settings.size
        mask = CropMask(MaskKind.ZEROS, np.zeros((size, size), np.uint8))
        account = self.accounts[video.video_id]
        if video.entry.label == 1:
            face_label = comparison.label_of(crop.position, crop.track_id)
            if face_label.left_out is not None:
                account.left_out[crop.track_id, crop.frame_index] = face_label.left_out
                return
        if not self.selection.may_still_keep(video, crop.track_id):
            return
        if self.framing is not None and not self.framing.fits(crop.track_id):
            account.dropped[crop.track_id, crop.frame_index] = Reason.NO_FORGED_REGION
            return
        if sample_id_of(video.video_id, crop.frame_index, crop.track_id) in self.excluded:
            account.dropped[crop.track_id, crop.frame_index] = Reason.EXCLUDED
            return
        image = self.cropper.filtered(crop, self.lead.crops.get((crop.position, crop.track_id), crop))
        if isinstance(image, Reason):
            account.dropped[crop.track_id, crop.frame_index] = image
            return
        if face_label.label == 1:
            scale = self._scale(video)
            in_lead = crop.affine * [[scale, scale, 1.0]]
            with self.watch("mask"):
                mask = comparison.mask(crop.position, in_lead, size)
            if self._misses_ground_truth(video, mask) and not comparison.has_ground_truth(crop.position):
                account.without_mask.add((crop.track_id, crop.frame_index))
        annotated = annotate(self.annotators, crop.source, crop.face, image, crop.affine)
        coverage = None if mask.kind is MaskKind.NONE else float(np.count_nonzero(mask.mask)) / mask.mask.size
        candidate = Candidate(
            crop=replace(crop, source=NO_IMAGE),
            face_label=face_label,
            mask_kind=mask.kind,
            mask_coverage=coverage,
            mask_iou=mask.iou,
            image=self.tools.encoders.submit(encode_image, image, self.recipe.encode),
            mask=self.tools.encoders.submit(encode_png, mask.mask),
            annotations=annotated.values,
            images={name: self.tools.encoders.submit(encode_png, each) for name, each in annotated.images.items()},
        )
        self.candidates[video.video_id].append(candidate)

    def _misses_ground_truth(self, video: ClipVideo, mask: CropMask) -> bool:
        """Whether a ground-truth mask is expected, or is the only possible mask."""
        wanted = self.recipe.mask.source != "difference" and video.entry.mask_path is not None
        return wanted or (mask.kind is MaskKind.NONE and not video.is_crops)

    # Crops around masks, and steady crops ---------------------------------------------------------------

    def _crop_later(self, item: CropFrames) -> None:
        """Crop faces once the masks and faces of the whole clip are known."""
        if self.framing is None:
            self._finish_lead()
            self.window = LeadWindow([], [], {}, [], [])
            around_masks = self.crop_settings.around == "mask"
            self.framing = Framing(self.crop_settings, self._forged_regions() if around_masks else {})
            self.steady = steady_faces(self.tracked, self.stretches)
        video = item.video
        reading = self._reading(video)
        for position, frame in enumerate(item.frames, item.start):
            if frame is not None and frame.image is not None and self.tracked[position]:
                faces = self.own[video.video_id].get(position)
                if faces is None:
                    faces = self._scaled(video, self.tracked[position])
                self._hold(reading, position, frame, faces, self.framing)
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
        with self.watch("encode"):  # waits for encoders that are still running
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
