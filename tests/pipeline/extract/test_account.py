"""The account of a video's sampled frames: each frame without a sample is counted once, with its reason."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from facemill.manifests import Reason, Stage
from facemill.pipeline.extract.account import FrameAccount, spans


@dataclass
class Video:
    """What a counts asks of a video."""

    frames: int = 100
    declared: int | None = None
    video_id: str = "v"
    reader: Any = field(init=False)

    def __post_init__(self) -> None:
        self.reader = SimpleNamespace(info=SimpleNamespace(frame_count=self.frames, declared_frames=self.declared))


def account(
    counts: FrameAccount, wanted: set[int] | None = None, broken_off: int = 0, **video: Any
) -> dict[tuple[Stage, Reason], int]:
    """Frames by stage and reason."""
    found = list(counts.failures(Video(**video), {0} if wanted is None else wanted, broken_off))  # type: ignore[arg-type]
    said = {(failure.stage, failure.reason): failure.frames for failure in found}
    assert len(said) == len(found)
    return said


def test_every_frame_without_a_sample_has_one_reason() -> None:
    counts = FrameAccount(
        sampled=20,
        unmatched=1,
        uncertain=2,
        orphaned=3,
        undecoded=[7, 8],
        decoded=set(range(20, 32)),
        dropped={(0, 20): Reason.TOO_SMALL, (0, 21): Reason.BLURRED},
        left_out={(0, 22): Reason.UNFORGED, (0, 23): Reason.UNDECIDED},
        kept={24, 25, 26},
    )
    said = account(counts)
    assert said == {
        (Stage.DECODE, Reason.TRUNCATED): 2,
        (Stage.DECODE, Reason.UNMATCHED): 1,
        (Stage.DECODE, Reason.UNCERTAIN_TIME): 2,
        (Stage.DETECT, Reason.TRUNCATED): 3,
        (Stage.FILTER, Reason.TOO_SMALL): 1,
        (Stage.FILTER, Reason.BLURRED): 1,
        (Stage.LABEL, Reason.UNFORGED): 1,
        (Stage.LABEL, Reason.UNDECIDED): 1,
        (Stage.DETECT, Reason.NO_FACE): 5,
    }
    assert sum(said.values()) + len(counts.kept) == counts.sampled


@pytest.mark.parametrize(
    ("counts", "reason", "stage", "frames", "told"),
    [
        ({"undecoded": [3, 4, 9]}, Reason.TRUNCATED, Stage.DECODE, 3, "do not decode"),
        ({"misaligned": 4, "why_misaligned": "it is off"}, Reason.MISALIGNED, Stage.MASK, 4, "(it is off)"),
        ({"kept": {1}, "decoded": {1}, "empty": {1}}, Reason.MASK_EMPTY, Stage.MASK, 1, "an empty mask"),
        ({"kept": {1}, "decoded": {1}, "unreliable": {1}}, Reason.MASK_UNRELIABLE, Stage.MASK, 1, "an unreliable mask"),
        ({"kept": {1}, "decoded": {1}, "without_mask": {(0, 1)}}, Reason.MASK_UNAVAILABLE, Stage.MASK, 1, "no mask"),
        ({"decoded": {1, 2}}, Reason.NO_FACE, Stage.DETECT, 2, "no face"),
    ],
)
def test_each_reason(counts: dict[str, Any], reason: Reason, stage: Stage, frames: int, told: str) -> None:
    [failure] = FrameAccount(sampled=5, **counts).failures(Video(), {0}, 0)  # type: ignore[arg-type]
    assert (failure.stage, failure.reason, failure.frames) == (stage, reason, frames)
    assert told in failure.message


def test_a_frame_with_a_sample_of_somebody_is_not_counted_as_lost() -> None:
    """Of two faces in one frame one was dropped: the frame gave a sample."""
    counts = FrameAccount(
        sampled=1, decoded={5}, kept={5}, dropped={(1, 5): Reason.TOO_SMALL}, left_out={(2, 5): Reason.UNFORGED}
    )
    assert account(counts, {0, 1}) == {}


def test_faces_of_people_who_are_not_wanted_are_not_counted() -> None:
    counts = FrameAccount(
        sampled=2, decoded={5, 6}, kept={6}, dropped={(3, 5): Reason.TOO_SMALL}, without_mask={(3, 6)}
    )
    assert account(counts, {0}) == {(Stage.DETECT, Reason.NO_FACE): 1}


def test_frames_beyond_where_a_video_broke_off_are_told_once() -> None:
    assert account(FrameAccount(sampled=5, undecoded=[3, 4]), broken_off=2) == {}
    assert account(FrameAccount(sampled=5), frames=90, declared=100) == {(Stage.DECODE, Reason.TRUNCATED): 0}
    assert account(FrameAccount(), frames=0) == {(Stage.DECODE, Reason.TRUNCATED): 0}


def test_stretches_add_up() -> None:
    whole = FrameAccount(sampled=3, unmatched=1, decoded={0, 1}, dropped={(0, 1): Reason.BLURRED})
    whole.add(FrameAccount(sampled=4, uncertain=1, undecoded=[9], orphaned=1, decoded={2}))
    whole.refused(FrameAccount(sampled=6), "another scene")
    assert (whole.sampled, whole.unmatched, whole.uncertain, whole.orphaned, whole.misaligned) == (13, 1, 1, 1, 6)
    assert (whole.decoded, whole.undecoded, whole.why_misaligned) == ({0, 1, 2}, [9], "another scene")


def test_spans() -> None:
    assert spans([14, 3, 4, 5, 9, 5]) == "3-5, 9, 14"
    assert spans([]) == ""
