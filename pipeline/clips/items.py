"""The videos of a clip, and what reading them yields."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facemill.manifests import VideoEntry
from facemill.masks import PairAlignment, Thumbnails
from facemill.pipeline.decode import Frame, SequenceReader, VideoReader

__all__ = [
    "ClipItem",
    "ClipVideo",
    "CropFrames",
    "FakeFrames",
    "FakeRead",
    "FakeRestart",
    "FrameReader",
    "LeadWindow",
]

FrameReader = VideoReader | SequenceReader


@dataclass(slots=True, eq=False)
class ClipVideo:
    """One opened video of a clip.

    Attributes:
        file_bytes: size of the file, or of a sequence's first image: by which another file of the same name is noticed.
        searched: whether the fake is looked for at other frames of its original than those that times or numbers tell.
        ground_truth: reader of the ground-truth mask video, if the recipe uses it and it can be read.
        truth_of: [frames], the mask's frame for each frame, -1 for none; None if it is the one of the same index.
        shown: [frames of the lead], this video's frame that shows the same moment; -1 if it has none.
        thumbnails: of the frames decoded so far, by index.
        sparse: whether frames that need not be sampled have been decoded without a thumbnail.
        alignment: with the lead, up to the last window that was read.
    """

    entry: VideoEntry
    reader: FrameReader
    file_bytes: int
    searched: bool = True
    ground_truth: FrameReader | None = None
    truth_of: NDArray[np.int64] | None = None
    shown: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    thumbnails: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    sparse: bool = False
    alignment: PairAlignment | None = None

    @property
    def video_id(self) -> str:
        return self.entry.video_id

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the upright frames."""
        return self.reader.info.height, self.reader.info.width

    @property
    def is_crops(self) -> bool:
        """Whether its frames are face crops already, so that no faces are detected in them."""
        return (self.entry.content or ("crops" if self.is_sequence else "frames")) == "crops"

    @property
    def is_sequence(self) -> bool:
        """Whether its frames are images of their own, which have numbers and no times."""
        return isinstance(self.reader, SequenceReader)

    @property
    def on_cpu(self) -> str:
        """As in `VideoReader`."""
        return "" if isinstance(self.reader, SequenceReader) else self.reader.on_cpu

    def seen(self) -> Thumbnails:
        """The thumbnails so far, for alignment; times are frame numbers in a sequence."""
        order = sorted(self.thumbnails)
        return Thumbnails(np.stack([self.thumbnails[i] for i in order]), np.array(order, np.int64), self.reader.times)


@dataclass(frozen=True, slots=True)
class LeadWindow:
    """The next sampled frames of the lead.

    Attributes:
        indices: of the frames, in the lead.
        frames: one per index; its `image` is None if it does not decode.
        between: frames between the samples, shrunk, RGB, by index.
        cuts: first frames of the shots found so far, ascending.
        ground_truth: frames of the lead's ground-truth mask video, if it is a fake that has one.
    """

    indices: list[int]
    frames: list[Frame]
    between: Mapping[int, NDArray[np.uint8]]
    cuts: list[int]
    ground_truth: list[Frame | None]


@dataclass(frozen=True, slots=True)
class FakeFrames:
    """Frames of a fake that show the same moments as frames of the lead's window, from position `start` on.

    Attributes:
        frames: None if the fake has no frame of that moment.
    """

    video: ClipVideo
    start: int
    frames: list[Frame | None]
    ground_truth: list[Frame | None]


@dataclass(frozen=True, slots=True)
class FakeRestart:
    """The frames of this fake's window yielded so far showed other moments: discard them, they are read again."""

    video: ClipVideo


@dataclass(frozen=True, slots=True)
class FakeRead:
    """A fake's window is complete.

    Attributes:
        refused: reason why it cannot be compared with the lead in this window; None if it can.
    """

    video: ClipVideo
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class CropFrames:
    """Frames of a video, read a second time for crops whose position depends on masks or faces of the whole clip.

    Attributes:
        start: position of the first frame among the clip's samples.
    """

    video: ClipVideo
    start: int
    frames: list[Frame | None]


ClipItem = LeadWindow | FakeFrames | FakeRestart | FakeRead | CropFrames
