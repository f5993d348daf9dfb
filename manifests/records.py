"""The records in facemill's files.

Coordinates are pixels of the upright source frame, origin at its top-left corner. A box is
`(x1, y1, x2, y2)` of edges, so that a box over the whole frame is `(0, 0, width, height)`;
the centre of the top-left pixel is the point `(0.5, 0.5)`.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facemill.manifests.codes import LabelSource, MaskKind, Reason, Stage

__all__ = [
    "LABELS",
    "REFERENCE",
    "SPLITS",
    "ClipGroup",
    "FailureRecord",
    "FrameFaces",
    "SampleRecord",
    "VideoEntry",
    "VideoFacts",
    "within",
]

LABELS = ("real", "fake")
"""Class names by label: 0 is real and 1 is fake, everywhere."""

SPLITS = ("train", "val", "test")

_ROUNDING_S = 1e-3  # of the times in a dataset's tables

REFERENCE = "reference"
"""Split of a pristine video outside all splits: it is read together with its fakes and yields no samples."""


def within(periods: Iterable[Sequence[float]], time_s: float) -> bool:
    """Whether a frame shown from this time on belongs to one of the periods, each a start and an end in seconds."""
    return any(start - _ROUNDING_S <= time_s < end for start, end in periods)


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """One video of a manifest (a row of videos.parquet).

    Attributes:
        video_id: unique in the manifest; letters, digits, `_` and `-` only.
        dataset: short name, such as `ffpp`.
        method: the forgery method, `real` for a pristine video.
        label: 0 real, 1 fake.
        quality: `raw`, `c23`, `c40`, or `native` if the dataset has no compression levels.
        split: `train`, `val` or `test`; `REFERENCE` for an original that is in no split, but whose fake is.
        root: absolute folder, archive or fsspec URL that `path` and `mask_path` are relative to; only a name if a
            shared manifest was read without locating its root (see `facemill.manifests.roots`).
        path: POSIX path of the video below `root`; for an image sequence (see `facemill.manifests.sequences`), its
            folder. It may lead into an archive (see `facemill.manifests.archives`).
        source_id: `video_id` of the pristine video that a fake was made from; None for a real
            video, and for a fake whose original is not in the manifest.
        subject_ids: the target subject (who is shown), then the source subject (who was swapped in); prefixed by
            the dataset, so that subjects of two datasets never coincide. Empty if unknown.
        mask_path: POSIX path of the ground-truth mask video below `root`, or None.
        size_bytes: size of the video, or total size of a sequence's images; None unless hashed.
        content_hash: `xxh3:` and 32 hex digits over the video's bytes; None unless hashed.
        fake_periods: of a fake that is forged only at times, when its picture is: start and end, seconds of its
            presentation times; None for a fake that is forged throughout, as far as is known.
        attributes: what the dataset says of the person shown and of the sound, `name=value`, such as `gender=women`.
        content: what images show: `frames` if they are the full frames of a video, `crops` if they are face crops. None
            for a video, and for an image that is read as a video of one frame; an image sequence of a manifest without
            this column consists of crops.
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
    fake_periods: tuple[tuple[float, float], ...] | None = None
    attributes: tuple[str, ...] = ()
    content: str | None = None

    def forged_at(self, time_s: float) -> bool | None:
        """Whether the picture is forged at a presentation time; None if only the video's label is known."""
        return None if self.fake_periods is None else within(self.fake_periods, time_s)


@dataclass(frozen=True, slots=True)
class ClipGroup:
    """One pristine video and the fakes of one split made from it in the same quality: decoded together.

    A fake without its original, and a real video without fakes, are groups of one. Fakes in another split than
    their original's form a group of their own, in which the original is only a reference.
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
        """The split of the videos that yield samples."""
        return (self.fakes[-1] if self.fakes else next(self.videos())).split

    @property
    def real_is_reference(self) -> bool:
        """Whether the pristine video is used for detection and masks only, and yields no samples here."""
        return self.real is not None and self.real.split != self.split

    def videos(self) -> Iterator[VideoEntry]:
        """Every video that is read: the pristine video first, then the fakes."""
        if self.real is not None:
            yield self.real
        yield from self.fakes

    def sampled(self) -> Iterator[VideoEntry]:
        """Every video that yields samples: all but a reference."""
        return (video for video in self.videos() if not (self.real_is_reference and video is self.real))

    def without(self, video_ids: Container[str]) -> "ClipGroup | None":
        """The group without these videos; None if no remaining video yields samples."""
        real = None if self.real is None or self.real.video_id in video_ids else self.real
        fakes = tuple(fake for fake in self.fakes if fake.video_id not in video_ids)
        empty = not fakes and (real is None or self.real_is_reference)
        return None if empty else ClipGroup(real, fakes)


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One face crop without its pixels (a row of samples.parquet).

    Attributes:
        sample_id: `<video_id>-f<frame>-t<track>`, unique in the dataset.
        frame_index: index in display order, from 0, in this video.
        pts_s: presentation time of the frame, seconds; 0 in an image sequence, which has no timestamps.
        pair_offset: frame index of the fake minus that of the matching frame of its original; None without a pair.
        track_id: number of the face track, the same in a real video and its fakes.
        bbox: face box, source pixels, xyxy.
        landmarks: 5 points (x, y), source pixels: viewer-left eye, viewer-right eye, nose,
            viewer-left and viewer-right mouth corner, flattened to 10 numbers. All 0 in face crops of
            the dataset, which need no detector.
        score: the face detector's confidence, 0..1; 0 in face crops of the dataset.
        affine: 2x3 row-major, source point -> crop point (both in the convention of this module).
        crop_size: side of the square crop, pixels.
        mask_coverage: forged share of the crop, 0..1; None if `mask_kind` is `none`.
        mask_iou: IoU, within the crop, of the difference mask and the ground-truth mask, if the recipe uses both.
        label_source: the evidence for the label of this face in this frame.
        difference: difference of the face from its original, in units of the expected noise; None if not compared.
        shard: path of the shard below the dataset's folder.
        row: position in the shard, from 0.
        image_sha256: of the encoded image, hex.
        attributes: those of its video.
        annotations: values of the dataset's annotations, by column: numbers, strings, tuples of numbers, or None.
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
    attributes: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """A video, or some frames of it, that yielded no sample (a row of failures.parquet).

    Attributes:
        frames: number of frames concerned; 0 for the whole video.
        retryable: whether rerunning the command retries it; always derived from the reason.
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
    """All faces detected in one frame (a row of faces.parquet), before any selection.

    Attributes:
        key: hash of the video's identity and the detector's settings; detections are reused
            if key and frame match.
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
    """Properties of a video, found by decoding it (a row of facts.parquet).

    Attributes:
        width, height: of the upright frames in square pixels.
        frames: number of frames that can be decoded.
        fps: mean frames per second.
        variable_rate: whether frames are unevenly spaced in time.
        rotation: degrees by which coded frames are rotated for display.
        pixel_aspect: width of a coded pixel / its height.
        interlaced: whether the coded frames are interlaced, regardless of deinterlacing by the build.
        colour_matrix, colour_range: codes of ITU-T H.273; 2 and 0 if neither the file nor its original states them.
        cuts: first frame of each shot except the first; found only in videos on which face detection runs.
        alignment: alignment in time of a fake with its original (see `facemill.masks.PairAlignment`), else None.
        residual: mean luma difference outside the forged region, gray levels.
        coded_width, coded_height: of the frames as coded.
        colour_primaries, colour_transfer: as `colour_matrix`; 2 if neither the file nor its original states them.
        profile: of the codec; empty if it has none.
        duration_s: from the first frame to the end of the last; None for an image sequence.
        longest_gap_s: longest interval between consecutive frames.
        size_bytes: of the file; None for an image sequence.
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
