"""Accounting of a video's sampled frames: why a frame gave no sample, or a sample without a mask."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from facemill.manifests import FailureRecord, Reason, Stage
from facemill.pipeline.clips.items import ClipVideo

__all__ = ["FrameAccount", "spans"]

FaceKey = tuple[int, int]  # track id, frame index


@dataclass(slots=True)
class FrameAccount:
    """Counts of one video's sampled frames.

    Attributes:
        sampled: number of requested frames.
        unmatched: number of sampled moments that the fake lacks.
        uncertain: number of sampled moments for which no frame of the fake can be matched with certainty.
        undecoded: indices of frames that do not decode intact.
        orphaned: number of frames that decode, while the original's frame, in which faces are detected, does not.
        misaligned: number of frames in stretches in which the fake does not follow its original.
        why_misaligned: reason of the last such stretch.
        decoded: indices of the remaining frames.
        dropped: faces that a filter dropped.
        left_out: faces of a fake that do not differ from the original, or for which that cannot be decided.
        without_mask: faces of a fake without the mask that the recipe requests.
        kept, empty, unreliable: indices of frames with a sample, with an empty mask in a fake, with an unreliable mask.
    """

    sampled: int = 0
    unmatched: int = 0
    uncertain: int = 0
    orphaned: int = 0
    misaligned: int = 0
    why_misaligned: str = ""
    undecoded: list[int] = field(default_factory=list)
    decoded: set[int] = field(default_factory=set)
    dropped: dict[FaceKey, Reason] = field(default_factory=dict)
    left_out: dict[FaceKey, Reason] = field(default_factory=dict)
    without_mask: set[FaceKey] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)
    empty: set[int] = field(default_factory=set)
    unreliable: set[int] = field(default_factory=set)

    def add(self, other: "FrameAccount") -> None:
        """Add the counts of another stretch of the video."""
        self.sampled += other.sampled
        self.unmatched += other.unmatched
        self.uncertain += other.uncertain
        self.undecoded += other.undecoded
        self.orphaned += other.orphaned
        self.decoded |= other.decoded
        self.dropped.update(other.dropped)

    def refused(self, other: "FrameAccount", why: str) -> None:
        """Add a stretch in which the fake does not follow its original."""
        self.sampled += other.sampled
        self.misaligned += other.sampled
        self.why_misaligned = why

    def failures(self, video: ClipVideo, wanted: set[int], broken_off: int) -> Iterator[FailureRecord]:
        """Yield failure records for frames without a sample or a mask.

        Args:
            wanted: tracks of this video that are kept.
            broken_off: number of frames lost because reading failed partway, which is recorded already.
        """
        video_id, info = video.video_id, video.reader.info

        def failure(stage: Stage, reason: Reason, frames: int, what: str) -> FailureRecord:
            return FailureRecord(video_id, stage, reason, f"{frames} of {self.sampled} sampled frames {what}.", frames)

        if not self.sampled:
            message = f"It holds {info.frame_count} frames, and has none in common with its clip group."
            yield FailureRecord(video_id, Stage.DECODE, Reason.TRUNCATED, message)
        if (undecoded := len(self.undecoded) - broken_off) > 0:
            damaged = spans(index for index in self.undecoded if index < info.frame_count)
            numbers = f" (frames {damaged})" if damaged else ""
            what = f"do not decode intact{numbers}, or lie beyond the {info.frame_count} frames that the file holds"
            yield failure(Stage.DECODE, Reason.TRUNCATED, undecoded, what)
        elif (info.declared_frames or 0) > info.frame_count:
            message = f"The file holds {info.frame_count} of the {info.declared_frames} frames that its header claims."
            yield FailureRecord(video_id, Stage.DECODE, Reason.TRUNCATED, message)
        if self.unmatched:
            yield failure(Stage.DECODE, Reason.UNMATCHED, self.unmatched, "show a moment that this video lacks")
        if self.uncertain:
            what = "show a moment that cannot be matched with certainty to a frame of this video"
            yield failure(Stage.DECODE, Reason.UNCERTAIN_TIME, self.uncertain, what)
        if self.misaligned:
            what = f"lie in a stretch that does not follow the original ({self.why_misaligned})"
            yield failure(Stage.MASK, Reason.MISALIGNED, self.misaligned, what)
        if self.orphaned:
            yield failure(Stage.DETECT, Reason.TRUNCATED, self.orphaned, "do not decode in its original")
        by_reason: dict[Reason, set[int]] = defaultdict(set)
        for (track_id, frame), reason in self.dropped.items():
            if track_id in wanted:
                by_reason[reason].add(frame)
        if excluded := by_reason.pop(Reason.EXCLUDED, set()):
            yield failure(Stage.FILTER, Reason.EXCLUDED, len(excluded), "show a face that the recipe excludes")
        for reason, frames in sorted(by_reason.items()):
            lost = len(frames - self.kept)
            if lost:
                yield failure(Stage.FILTER, reason, lost, f"were dropped by the filter: {reason.replace('_', ' ')}")
        undecided = {frame for (_, frame), reason in self.left_out.items() if reason is Reason.UNDECIDED} - self.kept
        unforged = {frame for _, frame in self.left_out} - self.kept - undecided
        if unforged:
            yield failure(Stage.LABEL, Reason.UNFORGED, len(unforged), "show no forged face")
        if undecided:
            what = "show a face that differs from the original by hardly more than coding noise"
            yield failure(Stage.LABEL, Reason.UNDECIDED, len(undecided), what)
        faceless = self.decoded - self.kept - unforged - undecided - excluded - set().union(*by_reason.values())
        if faceless:
            yield failure(Stage.DETECT, Reason.NO_FACE, len(faceless), "show no face of a track that is kept")
        if without := {frame for track, frame in self.without_mask if track in wanted} & self.kept:
            yield failure(Stage.MASK, Reason.MASK_UNAVAILABLE, len(without), "have no mask")
        if self.empty:
            yield failure(Stage.MASK, Reason.MASK_EMPTY, len(self.empty), "are fakes with an empty mask in the crop")
        if self.unreliable:
            what = "have an unreliable mask: the fake also differs outside the face"
            yield failure(Stage.MASK, Reason.MASK_UNRELIABLE, len(self.unreliable), what)


def spans(indices: Iterable[int]) -> str:
    """Format numbers as text, with consecutive ones as a span: `3-9, 14`."""
    ends: list[list[int]] = []
    for index in sorted(set(indices)):
        if ends and index == ends[-1][1] + 1:
            ends[-1][1] = index
        else:
            ends.append([index, index])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)
