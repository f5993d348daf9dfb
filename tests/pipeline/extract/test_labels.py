"""Labels per face and frame, on composed videos in which it is known who is forged, and when."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from facemill.manifests import (
    ClipGroup,
    FailureRecord,
    LabelSource,
    MaskKind,
    Reason,
    SampleRecord,
    VideoEntry,
    from_table,
)
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.build.shard import build_shard
from facemill.pipeline.config.recipe import load_recipe
from tests.pipeline.conftest import Actor, film

pytestmark = pytest.mark.usefixtures("mark_detector")

FRAMES = 40
LEFT, RIGHT = Actor(20, 60, side=110, dx=1), Actor(200, 90, side=80, dy=1)
AddVideo = Callable[..., VideoEntry]


def build(
    out: Path, *groups: ClipGroup, sets: Sequence[str] = ()
) -> tuple[list[SampleRecord], tuple[FailureRecord, ...]]:
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=20", *sets])
    result = build_shard(ShardSpec("train-000000", "train", groups), BuildJob(out, recipe))
    return from_table(pq.read_table(out / result.samples.path), SampleRecord), result.failures


def side(record: SampleRecord) -> str:
    """Whose face it is, by its size."""
    return "left" if record.bbox[2] - record.bbox[0] > 95 else "right"


def forged_from(start: int, actors: Sequence[Actor], forged: int) -> np.ndarray:
    """A fake that is untouched before frame `start`."""
    return np.concatenate([film(actors, start), film(actors, FRAMES - start, forged=forged, start=start)])


@pytest.mark.parametrize("keep", ["forged", "all"])
def test_a_fake_is_no_fake_before_its_forgery_begins_and_never_in_bystanders(
    add_video: AddVideo, tmp_path: Path, keep: str
) -> None:
    real = add_video("real", film([LEFT, RIGHT], FRAMES))
    fake = add_video("fake", forged_from(20, [LEFT, RIGHT], 1), 1, source_id="real")
    records, failures = build(tmp_path / "out", ClipGroup(real, (fake,)), sets=[f"track.keep={keep}"])
    fakes = [record for record in records if record.video_id == "fake"]
    assert {record.label for record in fakes} == {1}
    assert {side(record) for record in fakes} == {"right"}
    # Precision and recall of the label of each face in each frame, against the composition.
    assert [record.frame_index for record in fakes] == [
        record.frame_index
        for record in records
        if record.label == 0 and side(record) == "right" and record.frame_index >= 20
    ]
    assert {record.label_source for record in fakes} == {LabelSource.DIFFERENCE}
    assert all(record.difference is not None and record.difference > 0 for record in fakes)
    assert {(f.reason, f.frames) for f in failures if f.video_id == "fake"} == {(Reason.UNFORGED, 10)}
    reals = [record for record in records if record.video_id == "real"]
    assert {side(record) for record in reals} == ({"right"} if keep == "forged" else {"left", "right"})
    assert {(record.label, record.label_source, record.difference) for record in reals} == {
        (0, LabelSource.VIDEO, None)
    }


@pytest.mark.parametrize("unforged", ["drop", "keep_as_real", "keep_as_fake"])
def test_faces_of_which_the_difference_does_not_tell_are_left_out_and_on_record(
    add_video: AddVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unforged: str
) -> None:
    monkeypatch.setattr("facemill.masks.forgery.UNDECIDED", (1.0, 1e9))  # whatever is forged differs by hardly more
    actors = [RIGHT] if unforged == "keep_as_fake" else [LEFT, RIGHT]
    real = add_video("real", film(actors, FRAMES))
    fake = add_video("fake", forged_from(20, actors, len(actors) - 1), 1, source_id="real")
    sets = ["track.keep=all", f"label.unforged={unforged}"]
    records, failures = build(tmp_path / "out", ClipGroup(real, (fake,)), sets=sets)
    fakes = [record for record in records if record.video_id == "fake"]
    if unforged == "keep_as_fake":  # all that is known is the file's label
        assert Counter((r.label, r.label_source) for r in fakes) == {(1, LabelSource.VIDEO): 20}
        return
    assert {(r.label, side(r), r.frame_index < 20) for r in fakes if side(r) == "right"} <= {(0, "right", True)}
    recorded = {(f.reason, f.frames) for f in failures if f.video_id == "fake"}
    assert recorded == ({(Reason.UNDECIDED, 10), (Reason.UNFORGED, 10)} if unforged == "drop" else set())


@pytest.mark.parametrize("unforged", ["drop", "keep_as_real", "keep_as_fake"])
def test_a_fake_without_its_original_is_forged_within_its_periods_only(
    add_video: AddVideo, tmp_path: Path, unforged: str
) -> None:
    fake = replace(add_video("fake", forged_from(20, [LEFT], 0), 1), fake_periods=((20 / 25, 29 / 25), (1.4, 9.0)))
    records, failures = build(tmp_path / "out", ClipGroup(None, (fake,)), sets=[f"label.unforged={unforged}"])
    forged = {*range(21, 29, 2), 35, 37, 39}  # of 0, 2, ... 18, 21, ... 39
    assert {r.frame_index for r in records if r.label == 1 and r.frame_index in forged} == forged
    others = {(r.label, r.label_source, r.mask_kind) for r in records if r.frame_index not in forged}
    assert (
        others
        == {
            "drop": set(),
            "keep_as_real": {(0, LabelSource.PERIODS, MaskKind.ZEROS)},
            "keep_as_fake": {(1, LabelSource.VIDEO, MaskKind.NONE)},
        }[unforged]
    )
    lost = {failure.frames for failure in failures if failure.reason is Reason.UNFORGED}
    assert lost == ({20 - len(forged)} if unforged == "drop" else set())


def test_periods_and_difference_must_agree_that_a_face_is_forged(add_video: AddVideo, tmp_path: Path) -> None:
    """A fake and its original: untouched at first, though within the period, and coded anew after it."""
    real = add_video("real", film([LEFT], FRAMES))
    fake = add_video("fake", forged_from(10, [LEFT], 0), 1, source_id="real")
    records, _ = build(tmp_path / "out", ClipGroup(real, (replace(fake, fake_periods=((0.0, 1.2),)),)))
    assert [r.frame_index for r in records if r.video_id == "fake"] == [*range(10, 20, 2), *range(21, 30, 2)]
    assert {r.label_source for r in records if r.video_id == "fake"} == {LabelSource.DIFFERENCE}


def test_attributes_of_a_video_are_those_of_its_samples(add_video: AddVideo, tmp_path: Path) -> None:
    real = replace(add_video("real", film([LEFT], FRAMES)), attributes=("gender=women", "audio=real"))
    records, _ = build(tmp_path / "out", ClipGroup(real))
    assert {record.attributes for record in records} == {("gender=women", "audio=real")}


def test_two_forged_people_are_both_kept(add_video: AddVideo, tmp_path: Path) -> None:
    real = add_video("real", film([LEFT, RIGHT], FRAMES))
    both = film([LEFT, RIGHT], FRAMES, forged=0)
    other = film([LEFT, RIGHT], FRAMES, forged=1)
    both[:, :, 160:] = other[:, :, 160:]
    fake = add_video("fake", both, 1, source_id="real")
    records, failures = build(tmp_path / "out", ClipGroup(real, (fake,)))
    counts = Counter((record.video_id, side(record), record.label) for record in records)
    assert counts == {(name, who, label): 20 for name, label in (("real", 0), ("fake", 1)) for who in ("left", "right")}
    assert failures == ()


def test_of_an_unpaired_fake_only_the_largest_face_is_called_fake_and_doubt_is_on_record(
    add_video: AddVideo, tmp_path: Path
) -> None:
    fake = add_video("fake", film([LEFT, RIGHT], FRAMES, forged=1), 1)
    records, failures = build(tmp_path / "out", ClipGroup(None, (fake,)), sets=["track.keep=all"])
    assert {(side(record), record.label, record.label_source) for record in records} == {("left", 1, LabelSource.VIDEO)}
    assert {failure.reason for failure in failures} == {Reason.AMBIGUOUS, Reason.MASK_UNAVAILABLE}


def test_an_unpaired_fake_of_one_person_is_no_matter_of_doubt(add_video: AddVideo, tmp_path: Path) -> None:
    fake = add_video("fake", film([LEFT], FRAMES, forged=0), 1)
    records, failures = build(tmp_path / "out", ClipGroup(None, (fake,)))
    assert len(records) == 20
    assert {failure.reason for failure in failures} == {Reason.MASK_UNAVAILABLE}


def test_a_forgery_before_a_cut_says_nothing_of_who_comes_after_it(add_video: AddVideo, tmp_path: Path) -> None:
    """Two shots with somebody in the same place; the first of them is forged."""
    first, second = Actor(60, 60, side=100, dx=1), Actor(70, 60, side=100, dx=1)
    shots = film([first], 20), film([second], 20, seed=9)[:, :, ::-1]
    real = add_video("real", np.concatenate(shots))
    fake = add_video("fake", np.concatenate([film([first], 20, forged=0), shots[1]]), 1, source_id="real")
    records, _ = build(tmp_path / "out", ClipGroup(real, (fake,)), sets=["track.keep=all"])
    assert {record.frame_index < 20 for record in records if record.video_id == "fake"} == {True}
    before, after = (
        {record.track_id for record in records if (record.frame_index < 20) == early} for early in (True, False)
    )
    assert before.isdisjoint(after)


def test_the_framing_of_a_track_around_masks_is_one_for_all_frames_and_videos(
    add_video: AddVideo, tmp_path: Path
) -> None:
    """Whatever the masks of single frames: the ratio of crop to face must not tell real from fake, or one method."""
    real = add_video("real", film([LEFT], FRAMES))
    whole = add_video("whole", film([LEFT], FRAMES, forged=0), 1, source_id="real")
    late = add_video("late", forged_from(20, [LEFT], 0), 1, source_id="real")
    group = ClipGroup(real, (late, whole))
    records, _ = build(tmp_path / "out", group, sets=["crop.around=mask", "crop.scale=2.6"])
    ratios = {
        (record.video_id, round(96 / record.affine[0] / (record.bbox[2] - record.bbox[0]), 3)) for record in records
    }
    assert len({ratio for _, ratio in ratios}) == 1
    assert {video_id for video_id, _ in ratios} == {"real", "whole", "late"}
    affines = {(r.frame_index, r.affine) for r in records}
    assert len(affines) == len({frame for frame, _ in affines})


def test_crops_around_masks_show_what_any_fake_forges(add_video: AddVideo, tmp_path: Path) -> None:
    """One fake forges the upper left of the face, the other one the lower right: 35 pixels each, 80 in all."""
    frames = film([LEFT], FRAMES)
    fakes = []
    for name, start in (("upper", 12), ("lower", 57)):
        changed = frames.copy()
        for t, frame in enumerate(changed):
            x, y = (corner + start for corner in LEFT.corner(t))
            frame[y : y + 35, x : x + 35] = np.clip(frame[y : y + 35, x : x + 35].astype(int) + 75, 0, 255)
        fakes.append(add_video(name, changed, 1, source_id="real"))
    group = ClipGroup(add_video("real", frames), tuple(fakes))
    records, _ = build(tmp_path / "out", group, sets=["crop.around=mask", "crop.scale=1.5"])
    assert {record.video_id for record in records} == {"real", "upper", "lower"}
    for record in records:
        zoom, _, left, _, _, top = record.affine
        x, y = LEFT.corner(record.frame_index)
        corners = [(zoom * (x + at) + left, zoom * (y + at) + top) for at in (12, 92)]
        assert 0 < min(map(min, corners)) < max(map(max, corners)) < 96
        assert 96 / zoom < 1.5 * LEFT.side  # and no more than the face


def test_a_reference_gives_no_samples_of_its_own(add_video: AddVideo, tmp_path: Path) -> None:
    from dataclasses import replace

    real = replace(add_video("real", film([LEFT], FRAMES)), split="test")
    fake = add_video("fake", film([LEFT], FRAMES, forged=0), 1, source_id="real")
    records, failures = build(tmp_path / "out", ClipGroup(real, (fake,)))
    assert Counter(record.video_id for record in records) == {"fake": 20}
    assert {record.mask_kind for record in records} == {"difference"}
    assert failures == ()
