"""Folders of full frames are built like the videos that they were taken from."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from facemill.manifests import (
    ClipGroup,
    FailureRecord,
    LabelSource,
    MaskKind,
    Reason,
    VideoEntry,
    VideoFacts,
    from_table,
)
from facemill.manifests.shards import EncodedSample, format_of
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.build.shard import build_shard
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.decode import SequenceReader, VideoReader
from tests.pipeline.conftest import SIZE, Actor, MarkDetector, film, inner_box

pytestmark = pytest.mark.usefixtures("mark_detector")

LEFT, RIGHT = Actor(20, 60, side=110, dx=1), Actor(200, 90, side=80, dy=1)
FRAMES = 30
AddVideo = Callable[..., VideoEntry]
Built = tuple[list[EncodedSample], tuple[FailureRecord, ...], dict[str, VideoFacts]]


def build(out: Path, group: ClipGroup, *sets: str) -> Built:
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=12", *sets])
    result = build_shard(ShardSpec("train-000000", "train", (group,)), BuildJob(out, recipe))
    assert result.shard is not None
    facts = from_table(pq.read_table(out / result.facts.path), VideoFacts)
    samples = list(format_of(result.shard.path).read(out / result.shard.path))
    return samples, result.failures, {fact.video_id: fact for fact in facts}


def unpack(video: VideoEntry, *, first: int = 0, keep: Sequence[int] | None = None, mask: bool = False) -> VideoEntry:
    """The video as a folder of PNGs, named by the frames' numbers, of which the first is `first`."""
    folder = Path(video.root, f"{video.video_id}-frames")
    folder.mkdir()
    with VideoReader(Path(video.root, video.path)) as reader:
        for frame in reader.read(range(reader.info.frame_count)):
            if keep is None or frame.index + first in keep:
                assert frame.image is not None
                cv2.imwrite(str(folder / f"v2_{frame.index + first:04d}.png"), frame.image[..., ::-1])
    return replace(video, path=folder.name, content="frames")


def seen(sample: EncodedSample) -> tuple[object, ...]:
    """All that a sample says but when its frame is shown."""
    return replace(sample.record, pts_s=0.0, shard=""), sample.image, sample.mask


@pytest.fixture
def pair(add_video: AddVideo) -> ClipGroup:
    """A real video of two people, of whom the second is forged in the fake; with cuts in between."""
    shots = film([LEFT, RIGHT], 18), film([LEFT, RIGHT], 12, start=18, seed=9)
    forged = film([LEFT, RIGHT], 18, forged=1), film([LEFT, RIGHT], 12, start=18, seed=9, forged=1)
    real = add_video("real", np.concatenate(shots))
    return ClipGroup(real, (add_video("fake", np.concatenate(forged), 1, source_id="real"),))


@pytest.mark.parametrize("sets", [(), ("track.keep=all", "crop.around=mask", "crop.align=similarity")])
def test_crops_and_masks_of_frames_are_those_of_the_video(pair: ClipGroup, tmp_path: Path, sets: Sequence[str]) -> None:
    """With both people, their tracks on either side of the cut, and the alignment in time."""
    samples, failures, facts = build(tmp_path / "videos", pair, *sets)
    frames = ClipGroup(unpack(pair.real, first=1), (unpack(pair.fakes[0], first=1),))
    found, lost, known = build(tmp_path / "frames", frames, *sets)
    assert len(found) >= 24
    assert {sample.record.mask_kind for sample in found} == {MaskKind.ZEROS, MaskKind.DIFFERENCE}
    assert list(map(seen, found)) == list(map(seen, samples))
    assert lost == failures
    assert facts["real"].cuts == known["real"].cuts == (18,)
    assert facts["fake"].alignment == known["fake"].alignment == "in_step"
    assert {sample.record.pts_s for sample in found} == {0.0}
    assert known["real"].duration_s is None


def test_a_lone_video_gives_the_same_as_frames(pair: ClipGroup, tmp_path: Path) -> None:
    samples, *_ = build(tmp_path / "video", ClipGroup(pair.real), "track.keep=all")
    found, _, facts = build(tmp_path / "frames", ClipGroup(unpack(pair.real)), "track.keep=all")
    assert len(found) == 24
    assert facts["real"].cuts == (18,)  # between two samples
    assert list(map(seen, found)) == list(map(seen, samples))


def test_a_frame_is_compared_with_the_frame_of_its_number(add_video: AddVideo, tmp_path: Path) -> None:
    """Whatever is missing of either, and although the background moves from frame to frame."""
    real = unpack(add_video("real", film([LEFT], FRAMES)), keep=[*range(0, 11), *range(12, 30)])
    fake = unpack(add_video("fake", film([LEFT], FRAMES, forged=0), 1, source_id="real"), keep=range(2, 30, 3))
    samples, failures, facts = build(tmp_path / "out", ClipGroup(real, (fake,)))
    assert failures == ()
    assert facts["fake"].alignment is None
    common = [number for number in range(2, 30, 3) if number != 11]
    fakes = [sample for sample in samples if sample.record.label]
    assert [sample.record.frame_index for sample in fakes] == [n // 3 for n in range(2, 30, 3) if n != 11]
    assert [sample.record.frame_index for sample in samples if not sample.record.label] == [
        number - (number > 11) for number in common
    ]
    for sample, number in zip(fakes, common, strict=True):
        assert sample.record.label_source is LabelSource.DIFFERENCE
        corners = np.array(inner_box(LEFT, number), np.float64).reshape(2, 2)
        (x1, y1), (x2, y2) = corners @ np.reshape(sample.record.affine, (2, 3))[:, :2].T + sample.record.affine[2::3]
        mask = cv2.imdecode(np.frombuffer(sample.mask, np.uint8), cv2.IMREAD_UNCHANGED) > 0
        known = np.zeros_like(mask)
        known[round(y1) : round(y2), round(x1) : round(x2)] = True
        assert sample.record.mask_kind is MaskKind.DIFFERENCE
        assert (mask & known).sum() / (mask | known).sum() > 0.65


def test_frames_counted_from_0_and_from_1_are_aligned(pair: ClipGroup, tmp_path: Path) -> None:
    frames = ClipGroup(unpack(pair.real, first=0), (unpack(pair.fakes[0], first=1),))
    found, _, facts = build(tmp_path / "frames", frames)
    assert facts["fake"].alignment == "in_step"
    fakes = [sample.record for sample in found if sample.record.label]
    assert {(record.pair_offset, record.mask_kind) for record in fakes} == {(0, MaskKind.DIFFERENCE)}


@pytest.mark.parametrize("unpacked", ["mask", "fake", "both"])
def test_ground_truth_masks_are_found_by_number(add_video: AddVideo, tmp_path: Path, unpacked: str) -> None:
    white = np.zeros((FRAMES, *SIZE, 3), np.uint8)
    for number, frame in enumerate(white):
        x1, y1, x2, y2 = inner_box(LEFT, number)
        frame[y1:y2, x1:x2] = 255
    mask = add_video("mask", white)
    fake = add_video("fake", film([LEFT], FRAMES, forged=0), 1, mask_path=mask.path)
    sets = "mask.source=official", "sample.frames=4"
    samples, *_ = build(tmp_path / "video", ClipGroup(None, (fake,)), *sets)
    numbers = [sample.record.frame_index for sample in samples]
    if unpacked in ("mask", "both"):
        fake = replace(fake, mask_path=unpack(mask, keep=[0, *numbers]).path)
    if unpacked in ("fake", "both"):
        fake = unpack(fake, keep=numbers)
    found, *_ = build(tmp_path / "frames", ClipGroup(None, (fake,)), *sets)
    assert {sample.record.mask_kind for sample in found} == {MaskKind.OFFICIAL}
    assert [sample.mask for sample in found] == [sample.mask for sample in samples]


def test_other_content_under_the_same_numbers_gets_no_mask(add_video: AddVideo, tmp_path: Path) -> None:
    real = unpack(add_video("real", film([LEFT], FRAMES)))
    fake = unpack(add_video("fake", film([LEFT], FRAMES, seed=5), 1, source_id="real"))
    samples, failures, _ = build(tmp_path / "out", ClipGroup(real, (fake,)))
    assert failures[0].reason is Reason.MISALIGNED
    assert {sample.record.mask_kind for sample in samples if sample.record.label} == {MaskKind.NONE}


def test_frames_whose_original_does_not_decode_are_a_video_of_their_own(add_video: AddVideo, tmp_path: Path) -> None:
    """With cuts, although a sequence with gaps is not searched for its original's frames."""
    cut = np.concatenate([film([LEFT], 14), film([LEFT], 14, start=14, seed=9)])
    real = unpack(add_video("real", cut))
    fake = unpack(add_video("fake", cut, 1, source_id="real"), keep=[*range(1, 20), *range(21, 28)])
    for path in sorted(Path(real.root, real.path).iterdir())[1:]:  # the fake lacks the first frame
        path.write_bytes(b"no image")
    samples, failures, facts = build(tmp_path / "out", ClipGroup(real, (fake,)), "sample.frames=4")
    assert failures[0].video_id == "real"
    assert facts["fake"].cuts == (13,)
    assert {sample.record.mask_kind for sample in samples} == {MaskKind.NONE}


def test_faces_of_other_images_of_the_same_name_are_not_reused(
    add_video: AddVideo, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    real = unpack(add_video("real", film([LEFT], 6)))
    recipe = load_recipe("default", ["crop.size=96"])
    spec = ShardSpec("train-000000", "train", (ClipGroup(real),))
    seen = []
    for number in range(3):
        out = tmp_path / f"out{number}"
        faces = tmp_path / "out0" if number else None
        result = build_shard(spec, BuildJob(out, recipe, faces=faces))
        (out / "faces.parquet").write_bytes((out / result.faces.path).read_bytes())
        seen.append(mark_detector.frames_seen)
        if number == 1:
            first = min(Path(real.root, real.path).iterdir())
            cv2.imwrite(str(first), 255 - cv2.imread(str(first)))
    assert seen == [6, 6, 12]


def test_a_single_image_is_a_frame_or_a_crop_as_its_entry_says(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), film([LEFT], 1)[0][..., ::-1])
    one = VideoEntry("one", "photos", "real", 0, "native", "train", str(tmp_path), "one.png")
    [found], *_ = build(tmp_path / "frames", ClipGroup(one))
    x, y = LEFT.corner(0)
    assert found.record.bbox == pytest.approx((x, y, x + LEFT.side, y + LEFT.side), abs=4)
    [crop], *_ = build(tmp_path / "crops", ClipGroup(replace(one, content="crops")))
    assert crop.record.bbox == (0, 0, SIZE[1], SIZE[0])


def test_numbers_are_those_of_the_names_or_positions(tmp_path: Path) -> None:
    for folder, names, numbers in (
        ("a", ["f2_10", "f2_007", "f2_9"], [7, 9, 10]),
        ("b", ["x", "y", "z"], [0, 1, 2]),
        ("c", ["1_5", "2_3", "3_4"], [0, 1, 2]),
        ("d", ["5", "05", "6"], [0, 1, 2]),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
        with SequenceReader(str(tmp_path), folder) as reader:
            assert reader.numbers.tolist() == numbers
            assert reader.has_gaps == (folder == "a")
