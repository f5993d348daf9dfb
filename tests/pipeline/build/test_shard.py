"""From videos to a committed shard, with a detector that needs no network."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from facemill import DetectorError, VideoError
from facemill.manifests import (
    ClipGroup,
    LabelSource,
    MaskKind,
    Reason,
    SampleRecord,
    VideoEntry,
    VideoFacts,
    from_table,
)
from facemill.manifests.shards import EncodedSample, format_of
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.build.shard import build_shard
from facemill.pipeline.build.state import ShardResult
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.extract import cropper, process
from tests.conftest import encode_video
from tests.pipeline.conftest import SIZE, Actor, MarkDetector, film, inner_box

pytestmark = pytest.mark.usefixtures("mark_detector")

FRAMES = 20
BIG, SMALL = Actor(20, 60, side=110, dx=1), Actor(220, 40, side=64, dy=1)
AddVideo = Callable[..., VideoEntry]


def run(out: Path, *groups: ClipGroup, sets: Sequence[str] = (), **job: object) -> ShardResult:
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=6", *sets])
    return build_shard(ShardSpec("train-000000", "train", groups), BuildJob(out, recipe, **job))


def samples(out: Path, result: ShardResult) -> list[EncodedSample]:
    return list(format_of(result.shard.path).read(out / result.shard.path)) if result.shard else []


def reasons(result: ShardResult) -> dict[str, set[Reason]]:
    found: dict[str, set[Reason]] = {}
    for failure in result.failures:
        found.setdefault(failure.video_id, set()).add(failure.reason)
    return found


def picture(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def known_mask(sample: EncodedSample, actor: Actor, t: int) -> np.ndarray:
    """The forged square, mapped into the crop by the recorded affine with exact arithmetic."""
    affine = np.array(sample.record.affine).reshape(2, 3)
    inverse = cv2.invertAffineTransform(affine)
    size = sample.record.crop_size
    u, v = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    x = inverse[0, 0] * u + inverse[0, 1] * v + inverse[0, 2]
    y = inverse[1, 0] * u + inverse[1, 1] * v + inverse[1, 2]
    x1, y1, x2, y2 = inner_box(actor, t)
    return (x >= x1) & (x < x2) & (y >= y1) & (y < y2)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def pair(add_video: AddVideo, **fake: object) -> ClipGroup:
    real = add_video("real", film([BIG], FRAMES))
    return ClipGroup(real, (add_video("fake", film([BIG], FRAMES, forged=0), 1, source_id="real", **fake),))


def test_real_and_fake_share_frames_boxes_and_affines_and_the_mask_is_exact(
    add_video: AddVideo, tmp_path: Path
) -> None:
    result = run(tmp_path / "out", pair(add_video), sets=["mask.threshold=0.15"])
    found = samples(tmp_path / "out", result)
    reals, fakes = found[:6], found[6:]
    assert [s.record.label for s in found] == [0] * 6 + [1] * 6
    assert [s.record.frame_index for s in reals] == [0, 4, 8, 11, 15, 19]
    for real, fake in zip(reals, fakes, strict=True):
        assert (real.record.bbox, real.record.affine) == (fake.record.bbox, fake.record.affine)
        assert (real.record.mask_kind, real.record.mask_coverage) == (MaskKind.ZEROS, 0.0)
        assert not picture(real.mask).any()
        assert (fake.record.mask_kind, fake.record.pair_offset) == (MaskKind.DIFFERENCE, 0)
        mask = picture(fake.mask) > 0
        assert mask.mean() == pytest.approx(fake.record.mask_coverage, abs=1e-6)
        assert iou(mask, known_mask(fake, BIG, fake.record.frame_index)) > 0.85
        assert fake.record.pts_s == pytest.approx(fake.record.frame_index / 25)
    assert result.failures == ()


def test_the_facts_of_each_video_are_kept(add_video: AddVideo, tmp_path: Path) -> None:
    group = pair(add_video, content_hash="xxh3:1")
    result = run(tmp_path / "out", group)
    rows = from_table(pq.read_table(tmp_path / "out" / result.facts.path), VideoFacts)
    assert [facts.video_id for facts in rows] == ["real", "fake"]
    for facts, entry in zip(rows, group.videos(), strict=True):
        path = Path(entry.root) / entry.path
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            times = [picture.time for picture in container.decode(stream)]
            assert (facts.coded_width, facts.coded_height) == (stream.codec_context.width, stream.codec_context.height)
            assert facts.profile == stream.codec_context.profile
        assert facts.duration_s == pytest.approx(times[-1] - times[0] + times[1] - times[0])
        assert facts.longest_gap_s == pytest.approx(times[1] - times[0])
        assert (facts.frames, facts.size_bytes) == (len(times), path.stat().st_size)
        assert facts.content_hash == entry.content_hash


def test_crops_equal_an_independent_cut_from_the_source(add_video: AddVideo, tmp_path: Path) -> None:
    """At a scale that makes crops as large as their boxes, they are the video's own pixels, not shifted by any."""
    entry = add_video("real", film([Actor(40, 50, side=96, dx=2)], FRAMES))
    with av.open(str(Path(entry.root) / entry.path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    result = run(tmp_path / "out", ClipGroup(entry), sets=["crop.scale=1.0"])
    found = samples(tmp_path / "out", result)
    boxes = [[round(v) for v in sample.record.bbox] for sample in found]
    assert {(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes} == {(96, 96)}
    for sample, (x1, y1, x2, y2) in zip(found, boxes, strict=True):
        crop = cv2.cvtColor(picture(sample.image), cv2.COLOR_BGR2RGB)
        assert np.array_equal(crop, frames[sample.record.frame_index][y1:y2, x1:x2])


def test_of_two_people_the_forged_one_is_kept_even_if_smaller(add_video: AddVideo, tmp_path: Path) -> None:
    real = add_video("real", film([BIG, SMALL], FRAMES))
    fake = add_video("fake", film([BIG, SMALL], FRAMES, forged=1), 1, source_id="real")
    found = samples(tmp_path / "a", run(tmp_path / "a", ClipGroup(real, (fake,))))
    assert len(found) == 12
    assert all(s.record.bbox[2] - s.record.bbox[0] < 80 for s in found)
    assert len({s.record.track_id for s in found}) == 1
    largest = samples(tmp_path / "b", run(tmp_path / "b", ClipGroup(real, (fake,)), sets=["track.keep=largest"]))
    assert all(s.record.bbox[2] - s.record.bbox[0] > 80 for s in largest)
    everyone = samples(tmp_path / "c", run(tmp_path / "c", ClipGroup(real, (fake,)), sets=["track.keep=all"]))
    assert Counter(s.record.label for s in everyone) == {0: 12, 1: 6}
    sets = ["track.keep=all", "label.unforged=keep_as_real"]
    labelled = samples(tmp_path / "d", run(tmp_path / "d", ClipGroup(real, (fake,)), sets=sets))
    assert Counter((s.record.video_id, s.record.label, s.record.label_source) for s in labelled) == {
        ("real", 0, LabelSource.VIDEO): 12,
        ("fake", 0, LabelSource.DIFFERENCE): 6,
        ("fake", 1, LabelSource.DIFFERENCE): 6,
    }


def test_only_what_is_kept_is_encoded(add_video: AddVideo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    encoded = []
    encode = process.encode_image
    monkeypatch.setattr(process, "encode_image", lambda *given: encoded.append(1) or encode(*given))
    real = add_video("real", film([BIG, SMALL], FRAMES))
    fakes = [add_video(f"fake{n}", film([BIG, SMALL], FRAMES, forged=1), 1, source_id="real") for n in range(2)]
    result = run(tmp_path / "out", ClipGroup(real, tuple(fakes)))
    assert len(encoded) == result.rows == 18


def test_when_fakes_forge_different_people_the_real_is_kept_for_both(add_video: AddVideo, tmp_path: Path) -> None:
    real = add_video("real", film([BIG, SMALL], FRAMES))
    fakes = [add_video(f"fake{n}", film([BIG, SMALL], FRAMES, forged=n), 1, source_id="real") for n in (0, 1)]
    found = samples(tmp_path / "out", run(tmp_path / "out", ClipGroup(real, tuple(fakes))))
    assert [s.record.video_id for s in found].count("real") == 12
    tracks = {s.record.video_id: s.record.track_id for s in found if s.record.label}
    assert tracks["fake0"] != tracks["fake1"]


def test_a_shifted_fake_is_lined_up_and_its_mask_stays_exact(add_video: AddVideo, tmp_path: Path) -> None:
    mover = Actor(20, 60, side=110, dx=3)
    real = add_video("real", film([mover], 24))
    fake = add_video("fake", film([mover], 22, forged=0, start=2), 1, source_id="real")  # lacks the first two frames
    found = samples(tmp_path / "out", run(tmp_path / "out", ClipGroup(real, (fake,)), sets=["mask.threshold=0.15"]))
    assert {s.record.pair_offset for s in found} == {None, -2}
    for sample in found[6:]:
        assert iou(picture(sample.mask) > 0, known_mask(sample, mover, sample.record.frame_index + 2)) > 0.85


def test_a_fake_of_something_else_or_of_another_shape_gets_no_mask_and_says_so(
    add_video: AddVideo, tmp_path: Path
) -> None:
    real = add_video("real", film([BIG], FRAMES))
    other = add_video("other", film([Actor(150, 80, side=90, dy=-2)], FRAMES, seed=5), 1, source_id="real")
    small = add_video("small", film([BIG], FRAMES, forged=0)[:, ::2, ::2], 1, source_id="real")
    wide = add_video("wide", film([BIG], FRAMES, forged=0)[:, ::2], 1, source_id="real")
    result = run(tmp_path / "out", ClipGroup(real, (other, small, wide)))
    kinds = {s.record.video_id: s.record.mask_kind for s in samples(tmp_path / "out", result)}
    assert kinds == {
        "real": MaskKind.ZEROS,
        "other": MaskKind.NONE,
        "small": MaskKind.DIFFERENCE,
        "wide": MaskKind.NONE,
    }
    without = Reason.MASK_UNAVAILABLE
    assert reasons(result) == {"other": {Reason.MISALIGNED, without}, "wide": {Reason.SIZE_MISMATCH, without}}


def test_without_its_original_a_fake_is_processed_alone(add_video: AddVideo, tmp_path: Path) -> None:
    broken = add_video("real", b"this is no video")
    fake = add_video("fake", film([BIG], FRAMES, forged=0), 1, source_id="real")
    result = run(tmp_path / "out", ClipGroup(broken, (fake,)))
    found = samples(tmp_path / "out", result)
    assert [s.record.mask_kind for s in found] == [MaskKind.NONE] * 6
    assert {s.record.mask_coverage for s in found} == {None}
    assert reasons(result) == {"real": {Reason.UNREADABLE}, "fake": {Reason.MASK_UNAVAILABLE}}
    assert (result.videos, result.videos_without_samples) == (2, 1)


def test_a_short_fake_does_not_shorten_the_others(add_video: AddVideo, tmp_path: Path) -> None:
    group = pair(add_video)
    stump = add_video("stump", film([BIG], 5, forged=0), 1, source_id="real")
    result = run(tmp_path / "out", ClipGroup(group.real, (*group.fakes, stump)))
    frames: dict[str, list[int]] = {}
    for sample in samples(tmp_path / "out", result):
        frames.setdefault(sample.record.video_id, []).append(sample.record.frame_index)
    assert frames == {"real": [0, 4, 8, 11, 15, 19], "fake": [0, 4, 8, 11, 15, 19], "stump": [0, 4]}
    assert reasons(result) == {"stump": {Reason.UNMATCHED}}


def test_a_real_shorter_than_its_fakes_sets_the_length(add_video: AddVideo, tmp_path: Path) -> None:
    real = add_video("real", film([BIG], 12))
    fake = add_video("fake", film([BIG], 40, forged=0), 1, source_id="real")
    result = run(tmp_path / "out", ClipGroup(real, (fake,)))
    found = samples(tmp_path / "out", result)
    assert [s.record.frame_index for s in found] == [0, 2, 4, 7, 9, 11] * 2
    assert result.failures == ()


@pytest.mark.parametrize("broken", ["real", "fake"])
@pytest.mark.parametrize("after", [0, 15])
def test_a_video_that_breaks_off_costs_nobody_else(
    add_video: AddVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, after: int
) -> None:
    """A decoder that gives up, at once or later on."""
    from facemill.pipeline.decode import VideoReader

    read = VideoReader.read

    def breaking(self: VideoReader, indices: Sequence[int], **options: object):
        for frame in read(self, indices, **options):
            if self.path.stem == broken and frame.index >= after:
                raise VideoError(Reason.DECODE_TIMEOUT, "No frame came within 1 s.")
            yield frame

    monkeypatch.setattr(VideoReader, "read", breaking)
    group = pair(add_video)
    other = add_video("other", film([BIG], FRAMES, forged=0), 1, source_id="real")
    result = run(tmp_path / "out", ClipGroup(group.real, (*group.fakes, other)))
    counts = Counter(s.record.video_id for s in samples(tmp_path / "out", result))
    found = reasons(result)
    assert Reason.DECODE_TIMEOUT in found[broken]
    assert all(Reason.DECODE_TIMEOUT not in why for name, why in found.items() if name != broken)
    if after == 0 and broken == "real":  # its fakes are read alone, with faces of their own
        assert counts == {"fake": 6, "other": 6}
        assert {s.record.label_source for s in samples(tmp_path / "out", result)} == {LabelSource.VIDEO}
    elif after == 0:
        assert counts == {"real": 6, "other": 6}
    elif broken == "fake":
        assert counts == {"real": 6, "fake": 4, "other": 6}
        assert [failure.frames for failure in result.failures] == [2]
    else:
        assert counts == {"real": 4, "fake": 4, "other": 4}
        assert {name: why for name, why in found.items() if name != broken} == {
            name: {Reason.TRUNCATED} for name in ("fake", "other")
        }


def test_filters_judge_a_face_once_for_real_and_fake(add_video: AddVideo, tmp_path: Path) -> None:
    """The fake is sharper than the real one by what was altered; both stay, or both go."""
    for limit in (1, 10, 50, 100, 200, 400, 800, 1600, 3200):
        result = run(tmp_path / str(limit), pair(add_video), sets=[f"filter.min_sharpness={limit}"])
        counts = Counter(s.record.label for s in samples(tmp_path / str(limit), result))
        assert counts[0] == counts[1]
    assert reasons(result) == {"real": {Reason.BLURRED}, "fake": {Reason.BLURRED}}


def test_what_is_nobodys_fault_is_not_held_against_the_videos(
    add_video: AddVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise DetectorError("There are no weights: put them there.")

    monkeypatch.setattr("facemill.pipeline.build.groups.load_detector", missing)
    with pytest.raises(DetectorError):
        run(tmp_path / "out", pair(add_video))
    assert not list((tmp_path / "out").rglob("*.json"))
    assert not [*(tmp_path / "out").rglob("*.tmp"), *(tmp_path / "out").rglob("*.parquet")]


def test_a_video_without_a_face_and_a_small_face_are_recorded(add_video: AddVideo, tmp_path: Path) -> None:
    empty = add_video("empty", film([], FRAMES))
    small = add_video("small", film([SMALL], FRAMES))
    result = run(tmp_path / "out", ClipGroup(empty), ClipGroup(small), sets=["filter.min_face=100"])
    assert result.shard is None
    assert not list((tmp_path / "out").rglob("train-000000.parquet"))
    assert reasons(result) == {"empty": {Reason.NO_FACE}, "small": {Reason.TOO_SMALL}}
    assert {failure.frames for failure in result.failures} == {6}


def test_frames_are_counted_however_many_faces_each_of_them_shows(add_video: AddVideo, tmp_path: Path) -> None:
    video = add_video("two", film([SMALL, Actor(40, 90, side=60, dx=1)], FRAMES))
    result = run(tmp_path / "out", ClipGroup(video), sets=["filter.min_face=100", "track.keep=all"])
    (failure,) = result.failures
    assert (failure.reason, failure.frames) == (Reason.TOO_SMALL, 6)
    assert failure.message.startswith("6 of 6 sampled frames")


@pytest.mark.parametrize("source", ["difference", "official", "both"])
def test_a_fake_without_any_mask_is_recorded_under_every_source(
    add_video: AddVideo, tmp_path: Path, source: str
) -> None:
    fake = add_video("fake", film([BIG], FRAMES, forged=0), 1)
    result = run(tmp_path / "out", ClipGroup(None, (fake,)), sets=[f"mask.source={source}"])
    assert [(f.reason, f.frames) for f in result.failures] == [(Reason.MASK_UNAVAILABLE, 6)]


def test_an_unchanged_fake_gives_no_fakes_and_says_so(add_video: AddVideo, tmp_path: Path) -> None:
    real = add_video("real", film([BIG], FRAMES))
    fake = add_video("fake", film([BIG], FRAMES), 1, source_id="real")
    result = run(tmp_path / "out", ClipGroup(real, (fake,)))
    assert reasons(result) == {"fake": {Reason.UNFORGED}}
    assert {s.record.video_id for s in samples(tmp_path / "out", result)} == {"real"}
    kept = run(tmp_path / "kept", ClipGroup(real, (fake,)), sets=["label.unforged=keep_as_fake"])
    assert reasons(kept) == {"fake": {Reason.MASK_EMPTY}}
    assert len(samples(tmp_path / "kept", kept)) == 12


def test_crops_around_the_mask(add_video: AddVideo, tmp_path: Path) -> None:
    found = samples(
        tmp_path / "out", run(tmp_path / "out", pair(add_video), sets=["crop.around=mask", "crop.scale=2.6"])
    )
    for real, fake in zip(found[:6], found[6:], strict=True):
        assert real.record.affine == fake.record.affine
        ys, xs = np.nonzero(picture(fake.mask))
        assert max(np.ptp(xs), np.ptp(ys)) + 1 == pytest.approx(96 / 2.6, abs=2)
        assert (xs.mean(), ys.mean()) == pytest.approx((47.5, 47.5), abs=2.5)


def ground_truth(tmp_path: Path, frames: int) -> str:
    masks = np.zeros((frames, 240, 320, 3), np.uint8)
    for t, mask in enumerate(masks):
        x1, y1, x2, y2 = inner_box(BIG, t)
        mask[y1:y2, x1:x2] = 255
    return encode_video(tmp_path / "data" / "mask.mp4", masks).name


def test_ground_truth_masks_and_both(add_video: AddVideo, tmp_path: Path) -> None:
    group = pair(add_video, mask_path=ground_truth(tmp_path, FRAMES))
    only = samples(tmp_path / "a", run(tmp_path / "a", group, sets=["mask.source=official"]))[6:]
    both = samples(tmp_path / "b", run(tmp_path / "b", group, sets=["mask.source=both", "mask.threshold=0.15"]))[6:]
    assert [s.mask for s in only] == [s.mask for s in both]
    for sample in both:
        assert sample.record.mask_kind is MaskKind.OFFICIAL
        assert iou(picture(sample.mask) > 0, known_mask(sample, BIG, sample.record.frame_index)) > 0.9
        assert sample.record.mask_iou > 0.85
    assert {s.record.mask_iou for s in only} == {None}


def test_a_ground_truth_mask_that_ends_early(add_video: AddVideo, tmp_path: Path) -> None:
    group = pair(add_video, mask_path=ground_truth(tmp_path, 10))
    result = run(tmp_path / "a", group, sets=["mask.source=official"])
    kinds = [s.record.mask_kind for s in samples(tmp_path / "a", result)[6:]]
    assert kinds == [MaskKind.OFFICIAL] * 3 + [MaskKind.NONE] * 3
    assert [(f.reason, f.frames) for f in result.failures] == [(Reason.MASK_UNAVAILABLE, 3)]
    both = samples(tmp_path / "b", run(tmp_path / "b", group, sets=["mask.source=both"]))[6:]
    assert [s.record.mask_kind for s in both] == [MaskKind.OFFICIAL] * 3 + [MaskKind.DIFFERENCE] * 3


@pytest.mark.parametrize("lack", ["none", "gone", "no video", "short"])
def test_a_fake_without_its_mask_takes_none_from_those_that_follow(
    add_video: AddVideo, tmp_path: Path, lack: str
) -> None:
    """In its own clip group and in the next, whatever its mask lacks."""
    whole = ground_truth(tmp_path, FRAMES)
    (tmp_path / "data" / "noise.mp4").write_bytes(b"this is no video")
    short = encode_video(tmp_path / "data" / "short.mp4", np.full((3, *SIZE, 3), 255, np.uint8)).name
    mask = {"none": None, "gone": "gone.mp4", "no video": "noise.mp4", "short": short}[lack]
    groups = []
    for person in ("a", "b"):
        real = add_video(f"{person}-real", film([BIG], FRAMES))
        fakes = [
            add_video(f"{person}-fake{n}", film([BIG], FRAMES, forged=0), 1, source_id=real.video_id, mask_path=path)
            for n, path in enumerate((mask, whole))
        ]
        groups.append(ClipGroup(real, tuple(fakes)))
    result = run(tmp_path / "out", *groups, sets=["mask.source=both"])
    listed = from_table(pq.read_table(tmp_path / "out" / result.samples.path), SampleRecord)
    kinds: dict[str, list[MaskKind]] = {}
    for record in listed:
        kinds.setdefault(record.video_id, []).append(record.mask_kind)
        assert (record.mask_iou is not None) == (record.mask_kind is MaskKind.OFFICIAL)
    first = [MaskKind.OFFICIAL] * (lack == "short") + [MaskKind.DIFFERENCE] * (5 if lack == "short" else 6)
    for person in ("a", "b"):
        assert kinds[f"{person}-fake0"] == first
        assert kinds[f"{person}-fake1"] == [MaskKind.OFFICIAL] * 6
    missing = {"none": {}, "short": {"a-fake0": 5, "b-fake0": 5}}.get(lack, {"a-fake0": 6, "b-fake0": 6})
    assert {f.video_id: f.frames for f in result.failures if f.reason is Reason.MASK_UNAVAILABLE} == missing
    assert reasons(result) == {video_id: {Reason.MASK_UNAVAILABLE} for video_id in missing}


def test_detecting_in_each_video_matches_fakes_to_the_people_of_their_original(
    add_video: AddVideo, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    """The forged face is 4 pixels further right in the fake, where its own box is, and its crop."""
    moved = replace(SMALL, x=SMALL.x + 4)
    real = add_video("real", film([BIG, SMALL], FRAMES))
    fake = add_video("fake", film([BIG, moved], FRAMES, forged=1), 1, source_id="real")
    found = samples(tmp_path / "out", run(tmp_path / "out", ClipGroup(real, (fake,)), sets=["detect.on=each"]))
    assert mark_detector.frames_seen == 12
    assert len({s.record.track_id for s in found}) == 1
    assert all(s.record.bbox[2] - s.record.bbox[0] < 80 for s in found)
    lefts = {s.record.video_id: [] for s in found}
    for s in found:
        lefts[s.record.video_id].append((s.record.bbox[0], -s.record.affine[2] / s.record.affine[0]))
    assert np.array(lefts["fake"]) - np.array(lefts["real"]) == pytest.approx(np.full((6, 2), 4), abs=1.5)


@pytest.mark.parametrize("shard_format", ["parquet", "webdataset"])
def test_equal_work_gives_equal_bytes_and_a_committed_shard_is_left_alone(
    add_video: AddVideo, tmp_path: Path, mark_detector: MarkDetector, shard_format: str
) -> None:
    group, sets = pair(add_video), [f"shards.format={shard_format}"]
    first = run(tmp_path / "a", group, sets=sets)
    again = run(tmp_path / "b", group, sets=sets)
    assert first.shard == again.shard
    assert first.samples == again.samples
    seen = mark_detector.frames_seen
    assert run(tmp_path / "a", group, sets=sets) == first
    assert mark_detector.frames_seen == seen
    shard = tmp_path / "a" / first.shard.path
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert run(tmp_path / "a", group, sets=sets).shard == first.shard
    assert shard.read_bytes() == (tmp_path / "b" / first.shard.path).read_bytes()
    assert not list((tmp_path / "a").rglob("*.tmp"))


def test_both_formats_hold_the_same_samples(add_video: AddVideo, tmp_path: Path) -> None:
    group = pair(add_video)
    parquet = samples(tmp_path / "a", run(tmp_path / "a", group))
    tar = samples(tmp_path / "b", run(tmp_path / "b", group, sets=["shards.format=webdataset"]))
    assert [(s.image, s.mask, s.record.sample_id, s.record.affine) for s in parquet] == [
        (s.image, s.mask, s.record.sample_id, s.record.affine) for s in tar
    ]


def test_what_breaks_inside_costs_its_own_clip_only(
    add_video: AddVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_part = cropper.source_part

    def fragile(affine: np.ndarray, size: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
        if shape[:2] == (180, SIZE[1]):
            raise ArithmeticError("cannot")
        return source_part(affine, size, shape)

    monkeypatch.setattr(cropper, "source_part", fragile)
    cursed = add_video("cursed", film([BIG], FRAMES)[:, :180])
    result = run(tmp_path / "out", ClipGroup(cursed), pair(add_video))
    assert reasons(result) == {"cursed": {Reason.INTERNAL_ERROR}}
    assert "ArithmeticError: cannot" in result.failures[0].message
    assert len(samples(tmp_path / "out", result)) == 12
    monkeypatch.setattr(cropper, "source_part", source_part)  # mended: the shard is tried again
    assert run(tmp_path / "out", ClipGroup(cursed), pair(add_video)).failures == ()


def test_windows_do_not_show_in_what_is_sampled(
    add_video: AddVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = pair(add_video)
    whole = samples(tmp_path / "a", run(tmp_path / "a", group))
    monkeypatch.setattr("facemill.pipeline.clips.clip.LONGEST_WINDOW", 2)
    parts = samples(tmp_path / "b", run(tmp_path / "b", group))
    assert [(s.image, s.record.sample_id, s.record.label_source) for s in parts] == [
        (s.image, s.record.sample_id, s.record.label_source) for s in whole
    ]
    assert all(iou(picture(a.mask) > 0, picture(b.mask) > 0) > 0.9 for a, b in zip(parts[6:], whole[6:], strict=True))


@pytest.mark.parametrize("window", [64, 2])
def test_a_fake_that_breaks_off_in_each_reading_is_recorded_once(
    add_video: AddVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    """It starts two frames later by its content, not by its clock, so that it is read twice."""
    from facemill.pipeline.decode import VideoReader

    read, started = VideoReader.read, Counter[str]()

    def breaking(self: VideoReader, indices: Sequence[int], **options: object):
        started[self.path.stem] += 1
        for frame in read(self, indices, **options):
            if self.path.stem == "fake" and frame.index >= 15:
                raise VideoError(Reason.DECODE_TIMEOUT, "No frame came within 1 s.")
            yield frame

    monkeypatch.setattr(VideoReader, "read", breaking)
    monkeypatch.setattr("facemill.pipeline.clips.clip.LONGEST_WINDOW", window)
    mover = Actor(20, 60, side=110, dx=3)
    real = add_video("real", film([mover], 24))
    fake = add_video("fake", film([mover], 22, forged=0, start=2), 1, source_id="real")
    result = run(tmp_path / "out", ClipGroup(real, (fake,)))
    assert started["fake"] > 1
    counts = [failure.reason for failure in result.failures if failure.video_id == "fake"]
    assert sorted(counts) == [Reason.DECODE_TIMEOUT, Reason.UNMATCHED], "its first moments are missing, too"
    kept = sum(s.record.video_id == "fake" for s in samples(tmp_path / "out", result))
    assert kept + sum(failure.frames for failure in result.failures) == 6


@pytest.mark.parametrize("keep", ["forged", "largest"])
@pytest.mark.parametrize("paired", [True, False])
def test_only_crops_that_are_kept_are_encoded(
    add_video: AddVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, paired: bool
) -> None:
    """Two people in each frame, of whom one is kept: the forged one, or where nothing tells who that is the largest."""
    encoded = []
    encode_image = process.encode_image
    monkeypatch.setattr(process, "encode_image", lambda *given: encoded.append(1) or encode_image(*given))
    real = add_video("real", film([BIG, SMALL], FRAMES))
    fake = add_video("fake", film([BIG, SMALL], FRAMES, forged=0), 1, source_id="real" if paired else None)
    groups = [ClipGroup(real, (fake,))] if paired else [ClipGroup(real), ClipGroup(None, (fake,))]
    result = run(tmp_path / "out", *groups, sets=[f"track.keep={keep}"])
    assert len(encoded) == result.rows == 12
