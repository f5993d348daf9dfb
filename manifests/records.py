"""The records that facemill's files are made of.

Coordinates are pixels of the upright source frame, origin at its top-left corner. A box is
`(x1, y1, x2, y2)` of edges, so that a box over the whole frame is `(0, 0, width, height)`;
a point is where the centre of the top-left pixel is `(0.5, 0.5)`.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = [
    "LABELS",
    "REFERENCE",
    "SPLITS",
    "ClipGroup",
    "FailureRecord",
    "Fault",
    "FrameFaces",
    "LabelSource",
    "MaskKind",
    "Reason",
    "SampleRecord",
    "Stage",
    "VideoEntry",
    "VideoFacts",
]

LABELS = ("real", "fake")
"""Class names by label: 0 is real and 1 is fake, everywhere."""

SPLITS = ("train", "val", "test")

REFERENCE = "reference"
"""Split of a pristine video that belongs to no split: it is read beside its fakes and gives no samples."""


class MaskKind(StrEnum):
    """Where a sample's forgery mask comes from."""

    DIFFERENCE = "difference"  # the fake differenced against its original
    OFFICIAL = "official"  # the dataset's own mask video
    ZEROS = "zeros"  # a real face: nothing was forged
    NONE = "none"  # a fake of which nobody knows where it was forged
    UNRELIABLE = "unreliable"  # a difference that cannot be trusted: kept, but not for losses on masks


class LabelSource(StrEnum):
    """What says that a face is real or forged."""

    VIDEO = "video"  # the label of its video
    DIFFERENCE = "difference"  # the fake against its original, at this face in this frame
    MASK = "mask"  # the dataset's ground-truth mask, likewise


class Stage(StrEnum):
    """The step of the path of a frame in which something failed."""

    DECODE = "decode"
    DETECT = "detect"
    TRACK = "track"
    MASK = "mask"
    LABEL = "label"
    FILTER = "filter"
    PROCESS = "process"


class Fault(StrEnum):
    """What has to change before a failed video can give samples."""

    FILE = "file"  # the video: the failure is final
    ENVIRONMENT = "environment"  # a disk, the network, memory, access rights
    FACEMILL = "facemill"  # the program


class Reason(StrEnum):
    """Why a video, or some of its frames, gave no sample; and whose fault that is.

    Attributes:
        fault: the video's own where a member says nothing else.
    """

    fault: Fault

    def __new__(cls, code: str, fault: Fault = Fault.FILE) -> "Reason":
        member = str.__new__(cls, code)
        member._value_ = code
        member.fault = fault
        return member

    @property
    def retryable(self) -> bool:
        """Whether the same command tries again what failed for this reason: all but what lies in the file."""
        return self.fault is not Fault.FILE

    MISSING_FILE = "missing_file", Fault.ENVIRONMENT
    NO_ACCESS = "no_access", Fault.ENVIRONMENT
    NOT_FETCHED = "not_fetched", Fault.ENVIRONMENT  # a remote file: network, credentials, a missing package
    SYSTEM_ERROR = "system_error", Fault.ENVIRONMENT  # such as a disk's read error, or too many open files
    OUT_OF_MEMORY = "out_of_memory", Fault.ENVIRONMENT
    DECODE_TIMEOUT = "decode_timeout", Fault.ENVIRONMENT
    WORKER_KILLED = "worker_killed", Fault.ENVIRONMENT  # the process was killed while it read this video or its group
    WORKER_CRASHED = "worker_crashed"  # reading this video crashes the process
    UNREADABLE = "unreadable"
    NO_VIDEO_STREAM = "no_video_stream"
    TRUNCATED = "truncated"
    SIZE_MISMATCH = "size_mismatch"  # a fake's frames are not the size of its original's
    MISALIGNED = "misaligned"  # no offset lines a fake up with its original
    UNMATCHED = "unmatched"  # a moment of the original that the fake lacks
    UNCERTAIN_TIME = "uncertain_time"  # a moment of which it is not certain which frame of the fake shows it
    MASK_EMPTY = "mask_empty"
    MASK_UNRELIABLE = "mask_unreliable"  # the fake differs from its original outside the face as well
    UNFORGED = "unforged"  # faces of a fake that are as in its original
    UNDECIDED = "undecided"  # faces of a fake that differ from the original by hardly more than coding noise
    AMBIGUOUS = "ambiguous"  # several people in a fake, and nothing tells who of them is forged
    TOO_BRIEF = "too_brief"  # a track seen in too few frames
    LOW_SCORE = "low_score"  # a track whose detections are unsure
    STILL_IMAGE = "still_image"  # a track that does not move: a picture of a face
    MASK_UNAVAILABLE = "mask_unavailable"  # the official mask cannot be read, or ends early
    NO_FACE = "no_face"
    TOO_SMALL = "too_small"
    BLURRED = "blurred"
    FILTERED = "filtered"  # by a filter of another package
    INTERNAL_ERROR = "internal_error", Fault.FACEMILL


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """One video of a manifest (a row of videos.parquet).

    Attributes:
        video_id: unique in the manifest; letters, digits, `_` and `-` only.
        dataset: short name, such as `ffpp`.
        method: the forgery method, `real` for a pristine video.
        label: 0 real, 1 fake.
        quality: `raw`, `c23`, `c40`, or `native` where the dataset knows no compression levels.
        split: `train`, `val` or `test`; `REFERENCE` for the original of a fake that was itself left out.
        root: absolute folder or fsspec URL that `path` and `mask_path` are relative to; a mere name where a shared
            manifest was read and nobody told where that is (see `facemill.manifests.roots`).
        path: POSIX path of the video below `root`; of a sequence of pictures its folder, which may be
            inside an archive (see `facemill.manifests.sequences`).
        source_id: `video_id` of the pristine video that a fake was made from; None for a real
            video, and for a fake whose original is not in the manifest.
        subject_ids: who is seen, then who was swapped in; prefixed by the dataset, so that
            subjects of two datasets never coincide. Empty where nobody knows.
        mask_path: POSIX path of the official mask video below `root`, or None.
        size_bytes: of the video, or of a sequence's pictures together; None unless it was hashed.
        content_hash: `xxh3:` and 32 hex digits over the video's bytes; None unless it was hashed.
    """

    video_id: str
    dataset: str
    method: str
    label: int
    quality: str
    split: str
    root: str
    path: str
    source_id: str | None = None
    subject_ids: tuple[str, ...] = ()
    mask_path: str | None = None
    size_bytes: int | None = None
    content_hash: str | None = None


@dataclass(frozen=True, slots=True)
class ClipGroup:
    """One pristine video and the fakes of one split made from it in the same quality: decoded together.

    A fake without its original, and a real video without fakes, are groups of one. Fakes of another split than
    their original's are a group of their own, in which the original is read as a reference only.
    """

    real: VideoEntry | None
    fakes: tuple[VideoEntry, ...] = ()

    @property
    def group_id(self) -> str:
        """Unique among groups: the `video_id` of the pristine video or of the lone fake, `<video_id>/<split>`
        where the pristine video is a reference.
        """
        first = next(self.videos()).video_id
        return f"{first}/{self.split}" if self.real_is_reference else first

    @property
    def split(self) -> str:
        """The split of the videos that give samples."""
        return (self.fakes[-1] if self.fakes else next(self.videos())).split

    @property
    def real_is_reference(self) -> bool:
        """Whether faces and masks are found with the pristine video, but it gives no samples here."""
        return self.real is not None and self.real.split != self.split

    def videos(self) -> Iterator[VideoEntry]:
        """Every video that is read: the pristine video first, then the fakes."""
        if self.real is not None:
            yield self.real
        yield from self.fakes

    def sampled(self) -> Iterator[VideoEntry]:
        """Every video that gives samples: all but a reference."""
        return (video for video in self.videos() if not (self.real_is_reference and video is self.real))

    def without(self, video_ids: Container[str]) -> "ClipGroup | None":
        """The group less these videos; None where no other gives samples."""
        real = None if self.real is None or self.real.video_id in video_ids else self.real
        fakes = tuple(fake for fake in self.fakes if fake.video_id not in video_ids)
        nobody = not fakes and (real is None or self.real_is_reference)
        return None if nobody else ClipGroup(real, fakes)


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One face crop: everything but its pixels (a row of samples.parquet).

    Attributes:
        sample_id: `<video_id>-f<frame>-t<track>`, unique in the dataset.
        frame_index: index in display order, from 0, in this video.
        pts_s: presentation time of the frame, seconds; 0 in a sequence of pictures, which has no clock.
        pair_offset: frame of the fake minus the frame of its original that shows the same moment; None where
            there is no pair.
        track_id: the person, the same in a real video and in its fakes.
        bbox: face box, source pixels, xyxy.
        landmarks: 5 points (x, y), source pixels: viewer-left eye, viewer-right eye, nose,
            viewer-left and viewer-right mouth corner, flattened to 10 numbers. All 0 in a sequence of
            pictures: these are face crops already, so that no detector looked.
        score: the face detector's confidence, 0..1; 0 in a sequence of pictures.
        affine: 2x3 row-major, source point -> crop point (both in the convention of this module).
        crop_size: side of the square crop, pixels.
        mask_coverage: forged share of the crop, 0..1; None where `mask_kind` is `none`.
        mask_iou: agreement, within the crop, of the difference mask with the official one, where both were asked for.
        label_source: what says that this face in this frame is real or forged.
        difference: how much the face differs from its original, in units of the noise that was to be expected; None
            where it was not compared.
        shard: path of the shard below the dataset's folder.
        row: position in the shard, from 0.
        image_sha256: of the encoded picture, hex.
        annotations: values of what the dataset's samples are annotated with, by column: numbers, words, tuples of
            numbers, or None.
    """

    sample_id: str
    video_id: str
    dataset: str
    method: str
    label: int
    quality: str
    split: str
    source_id: str | None
    subject_ids: tuple[str, ...]
    frame_index: int
    pts_s: float
    pair_offset: int | None
    track_id: int
    bbox: tuple[float, ...]
    landmarks: tuple[float, ...]
    score: float
    affine: tuple[float, ...]
    crop_size: int
    mask_kind: MaskKind
    mask_coverage: float | None
    mask_iou: float | None
    label_source: LabelSource
    difference: float | None
    shard: str
    row: int
    image_sha256: str
    annotations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """A video, or some frames of it, that gave no sample (a row of failures.parquet).

    Attributes:
        frames: how many frames are concerned; 0 where it is the whole video.
        retryable: whether the same command tries it again; follows from the reason, whatever is passed.
    """

    video_id: str
    stage: Stage
    reason: Reason
    message: str
    frames: int = 0
    retryable: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "retryable", self.reason.retryable)


@dataclass(frozen=True, slots=True)
class FrameFaces:
    """What the face detector saw in one frame (a row of faces.parquet), before any choice.

    Attributes:
        key: hash of the video's identity and the detector's settings: detections are reused
            where key and frame agree.
        boxes: a box (4 numbers) per face, source pixels.
        landmarks: 10 numbers per face, as in `SampleRecord`.
        scores: one per face.
    """

    key: str
    video_id: str
    frame_index: int
    boxes: tuple[tuple[float, ...], ...]
    landmarks: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What reading a video brought to light (a row of facts.parquet).

    Attributes:
        width, height: of the upright frames in square pixels.
        frames: that the file really holds.
        fps: mean frames per second.
        variable_rate: whether frames are unevenly spaced in time.
        rotation: degrees by which coded pictures are turned for display.
        pixel_aspect: width of a coded pixel / its height.
        interlaced: whether its pictures consist of two fields, whether or not the build deinterlaced them.
        colour_matrix, colour_range: as numbered in ITU-T H.273; 2 and 0 where neither the file nor its original says.
        cuts: first frame of each shot but the first; sought in videos in which faces are sought.
        alignment: how a fake lies in time against its original (see `facemill.masks.PairAlignment`); None without one.
        residual: mean luma difference outside the forged region, gray levels.
        coded_width, coded_height: of the pictures as coded.
        colour_primaries, colour_transfer: as `colour_matrix`; 2 where neither the file nor its original says.
        profile: of the codec; empty where it has none.
        duration_s: from the first frame to the end of the last; None for a sequence of images, which has no clock.
        longest_gap_s: longest time from one frame to the next.
        size_bytes: of the file; None for a sequence.
        content_hash: as in the manifest.
    """

    video_id: str
    width: int
    height: int
    frames: int
    fps: float
    variable_rate: bool
    codec: str
    rotation: int
    pixel_aspect: float
    interlaced: bool
    colour_matrix: int
    colour_range: int
    cuts: tuple[int, ...]
    alignment: str | None
    residual: float | None
    coded_width: int | None = None
    coded_height: int | None = None
    colour_primaries: int | None = None
    colour_transfer: int | None = None
    profile: str | None = None
    duration_s: float | None = None
    longest_gap_s: float | None = None
    size_bytes: int | None = None
    content_hash: str | None = None
