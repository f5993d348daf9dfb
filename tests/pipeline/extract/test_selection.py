"""Which tracks become samples, by the recipe and the labels of each fake."""

from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest

from facemill.detectors.face import Face
from facemill.manifests import LabelSource, Reason
from facemill.pipeline.config.sections import TrackSettings
from facemill.pipeline.extract.comparison import FaceLabel
from facemill.pipeline.extract.selection import TrackSelection
from facemill.pipeline.tracking.track import Track

SAMPLES = 10
LARGE, SMALL, BRIEF = 0, 1, 2


def track(track_id: int, side: float, left: float, frames: int = SAMPLES) -> Track:
    """Somebody who moves, and is seen in the first samples."""
    faces = {
        i: Face(np.array([left + i, 10, left + i + side, 10 + side], np.float32), 0.99, np.zeros((5, 2), np.float32))
        for i in range(frames)
    }
    return Track(track_id, faces)


def video(video_id: str, label: int) -> Any:
    return SimpleNamespace(video_id=video_id, entry=SimpleNamespace(label=label))


REAL, FORGES_SMALL, FORGES_BOTH = video("real", 0), video("small", 1), video("both", 1)
BY_NAME = FaceLabel(1, LabelSource.VIDEO)
FORGED, UNFORGED = FaceLabel(1, LabelSource.DIFFERENCE, 9.0), FaceLabel(0, LabelSource.DIFFERENCE, 0.5)


def select(keep: Literal["forged", "largest", "all"], *fakes: Any, lead: Any = REAL) -> TrackSelection:
    lead.is_crops = False
    clip: Any = SimpleNamespace(lead=lead, following=list(fakes), cuts=np.array([], int), indices=np.arange(SAMPLES))
    result = TrackSelection(clip, TrackSettings(keep=keep, min_share=0.25, drop_still=False))
    tracks = [track(LARGE, 100, 20), track(SMALL, 60, 200), track(BRIEF, 80, 400, frames=1)]
    result.see(tracks, {}, last=True)
    return result


def label_fake(result: TrackSelection, fake: Any, **by_track: FaceLabel) -> None:
    tracks = {"large": LARGE, "small": SMALL, "brief": BRIEF}
    result.take_labels(fake, {(0, tracks[name]): label for name, label in by_track.items()})


@pytest.mark.parametrize(
    ("keep", "small", "both", "real"),
    [
        ("forged", {SMALL}, {LARGE, SMALL}, {LARGE, SMALL}),
        ("largest", {LARGE}, {LARGE}, {LARGE}),
        ("all", {LARGE, SMALL}, {LARGE, SMALL}, {LARGE, SMALL}),
    ],
)
def test_of_pairs(keep: Any, small: set[int], both: set[int], real: set[int]) -> None:
    result = select(keep, FORGES_SMALL, FORGES_BOTH)
    label_fake(result, FORGES_SMALL, small=FORGED, large=UNFORGED)
    label_fake(result, FORGES_BOTH, small=FORGED, large=FORGED)
    assert [result.wanted(one) for one in (FORGES_SMALL, FORGES_BOTH, REAL)] == [small, both, real]


def test_the_original_shows_whoever_some_fake_forges() -> None:
    result = select("forged", FORGES_SMALL)
    label_fake(result, FORGES_SMALL, small=FORGED, large=UNFORGED)
    assert result.wanted(REAL) == {SMALL}
    assert not result.may_still_keep(REAL, LARGE)


def test_a_fake_in_which_nobody_differs_gives_nothing_and_its_original_the_largest() -> None:
    result = select("forged", FORGES_SMALL)
    label_fake(result, FORGES_SMALL, small=UNFORGED, large=UNFORGED)
    assert result.wanted(FORGES_SMALL) == set()
    assert result.wanted(REAL) == {LARGE}


@pytest.mark.parametrize("keep", ["forged", "largest", "all"])
def test_where_only_the_name_says_fake_bystanders_are_never_kept(keep: Any) -> None:
    alone = video("alone", 1)
    result = select(keep, lead=alone)
    label_fake(result, alone, small=BY_NAME, large=BY_NAME)
    assert result.wanted(alone) == {LARGE}
    reasons = [failure.reason for failure in result.failures(alone)]
    assert reasons == [Reason.TOO_BRIEF, Reason.AMBIGUOUS]


@pytest.mark.parametrize("keep", ["forged", "all"])
def test_who_is_seen_too_briefly_is_nobody_and_on_record(keep: Any) -> None:
    result = select(keep, FORGES_SMALL)
    label_fake(result, FORGES_SMALL, brief=FORGED, small=FORGED)
    assert BRIEF not in result.wanted(FORGES_SMALL)
    assert not result.may_keep(BRIEF)
    assert result.may_keep(SMALL)
    assert [(f.reason, f.frames) for f in result.failures(REAL)] == [(Reason.TOO_BRIEF, 1)]
