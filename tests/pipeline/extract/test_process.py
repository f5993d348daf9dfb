"""From the items of a clip to samples: what is forgotten, counted and decided once, with every item in hand."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from facemill.detectors.face import Face
from facemill.manifests import ClipGroup, FailureRecord, LabelSource, Reason, SampleRecord, VideoEntry
from facemill.pipeline.clips import clip as clip_module
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import ClipItem, FakeFrames, FakeRead, FakeRestart, LeadWindow
from facemill.pipeline.clips.opening import open_clips
from facemill.pipeline.config.recipe import Recipe, load_recipe
from facemill.pipeline.extract import cropper, process
from facemill.pipeline.extract.comparison import FaceLabel
from facemill.pipeline.extract.process import WorkerResources, process_clip
from facemill.pipeline.extract.result import ClipResult
from tests.pipeline.conftest import Actor, MarkDetector, film

FRAMES = 20
LEFT, RIGHT = Actor(20, 60, side=110, dx=1), Actor(200, 90, side=80, dy=1)
RECIPE = load_recipe("default", ["crop.size=64", f"sample.frames={FRAMES}"])
AddVideo = Callable[..., VideoEntry]


@pytest.fixture
def group(add_video: AddVideo) -> ClipGroup:
    """A real of two people and two fakes, each of which forges another one."""
    actors = [LEFT, RIGHT]
    fakes = [add_video(f"fake{n}", film(actors, FRAMES, forged=n), 1, source_id="real") for n in range(2)]
    return ClipGroup(add_video("real", film(actors, FRAMES)), tuple(fakes))


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def read(group: ClipGroup, resources: ExitStack, recipe: Recipe = RECIPE) -> tuple[Clip, list[ClipItem]]:
    """The group's one clip, and all of its items."""
    [clip] = open_clips(group, recipe, 1, resources)
    assert isinstance(clip, Clip)
    return clip, list(clip.items())


def processed(clip: Clip, items: Sequence[ClipItem], recipe: Recipe = RECIPE) -> ClipResult:
    with ThreadPoolExecutor(1) as encoders:
        return process_clip(clip, items, WorkerResources(recipe, MarkDetector, None, "", encoders))


def samples(result: ClipResult) -> list[tuple[SampleRecord, bytes, bytes]]:
    return [(sample.record, sample.image, sample.mask) for sample in result.samples]


def at(result: ClipResult, video_id: str) -> list[int]:
    return [s.record.frame_index for s in result.samples if s.record.video_id == video_id]


def test_what_came_before_a_restart_leaves_no_trace(group: ClipGroup, resources: ExitStack) -> None:
    clip, items = read(group, resources)
    expected = processed(clip, items)
    first = next(number for number, item in enumerate(items) if isinstance(item, FakeFrames))
    wrong = items[first]
    assert isinstance(wrong, FakeFrames)
    shown = [None, *wrong.frames[:-1]]  # a frame too late, and one that is not there
    before = [replace(wrong, frames=shown), FakeRestart(wrong.video)]
    result = processed(clip, [*items[:first], *before, *items[first:]])
    assert samples(result) == samples(expected)
    assert result.failures == expected.failures


def test_frames_of_a_refused_window_are_counted_and_give_no_samples(
    group: ClipGroup, resources: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_module, "LONGEST_WINDOW", FRAMES // 2)
    clip, items = read(group, resources)
    refused = clip.fakes[0]
    seen: list[FakeRead] = []
    for number, item in enumerate(items):
        if isinstance(item, FakeRead) and item.video is refused:
            seen.append(item)
            if len(seen) == 2:
                items[number] = replace(item, refused="it jumps")
    assert len(seen) == 2
    result = processed(clip, items)
    assert at(result, "fake0") == list(range(FRAMES // 2))
    assert at(result, "fake1") == list(range(FRAMES))
    told = [f for f in result.failures if f.video_id == "fake0" and f.reason is Reason.MISALIGNED]
    assert [failure.frames for failure in told] == [FRAMES // 2]
    assert "it jumps" in told[0].message


def test_samples_do_not_depend_on_the_length_of_windows(
    group: ClipGroup, resources: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = processed(*read(group, resources))
    monkeypatch.setattr(clip_module, "BATCH", 3)
    assert samples(processed(*read(group, resources))) == samples(whole)
    monkeypatch.setattr(clip_module, "LONGEST_WINDOW", FRAMES // 2)
    halves = processed(*read(group, resources))

    def crops(result: ClipResult) -> list[Any]:
        return [(s.record.sample_id, s.record.affine, s.record.label, s.image) for s in result.samples]

    assert crops(halves) == crops(whole)


def test_faces_are_cropped_later_in_the_frame_in_which_they_were_found_in_any_of_several_windows(
    group: ClipGroup, resources: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = replace(group, fakes=())
    sets = ["crop.size=64", "sample.strategy=runs", f"sample.frames={FRAMES}", "sample.runs=1", "crop.steady=true"]
    recipe = load_recipe("default", sets)
    whole = samples(processed(*read(alone, resources, recipe), recipe))
    assert len(whole) == FRAMES
    monkeypatch.setattr(clip_module, "LONGEST_WINDOW", FRAMES // 3)
    assert samples(processed(*read(alone, resources, recipe), recipe)) == whole


def test_the_face_in_the_real_decides_whether_it_is_kept_in_all_videos(
    group: ClipGroup, resources: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, items = read(group, resources)
    window = items[0]
    assert isinstance(window, LeadWindow)
    first = window.frames[0].image
    assert first is not None
    boxes = [tuple(face.bbox) for face in MarkDetector().detect([first])[0]]
    asked: list[np.ndarray] = []

    def reason_to_drop(face: Face, crop: np.ndarray, filters: object) -> Reason | None:
        asked.append(crop)
        forged = crop[20:44, 20:44].mean() > 170  # as no face of the real is
        return Reason.BLURRED if tuple(face.bbox) in boxes or forged else None

    monkeypatch.setattr(cropper, "reason_to_drop", reason_to_drop)
    result = processed(clip, items)
    assert len(asked) == 2 * FRAMES  # each face of each frame once
    for video in group.videos():
        assert set(at(result, video.video_id)) == set(range(1, FRAMES))
    blurred = [failure for failure in result.failures if failure.reason is Reason.BLURRED]
    assert {failure.video_id for failure in blurred} == {video.video_id for video in group.videos()}


def test_faces_that_no_video_keeps_are_neither_cropped_nor_encoded(
    group: ClipGroup, resources: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: Counter[str] = Counter()
    for module, name in ((cropper, "crop_image"), (process, "annotate"), (process, "encode_image")):
        step = getattr(module, name)

        def counted(*args: Any, name: str = name, step: Any = step, **how: Any) -> Any:
            done[name] += 1
            return step(*args, **how)

        monkeypatch.setattr(module, name, counted)
    group = replace(group, fakes=group.fakes[:1])
    result = processed(*read(group, resources))
    assert len(result.samples) == 2 * FRAMES  # the forged person, in real and fake
    count = len(result.samples)
    assert done == {"crop_image": count, "annotate": count, "encode_image": count}


def test_a_frame_that_does_not_decode_is_missing_in_its_own_video_and_orphaned_in_fakes(
    group: ClipGroup, resources: ExitStack
) -> None:
    clip, items = read(group, resources)
    window = items[0]
    assert isinstance(window, LeadWindow)
    window.frames[4] = replace(window.frames[4], image=None)
    fake = next(item for item in items if isinstance(item, FakeFrames) and item.video is clip.fakes[1])
    lost = fake.frames[6]
    assert lost is not None
    fake.frames[6] = replace(lost, image=None)
    result = processed(clip, items)
    assert set(at(result, "real")) == set(range(FRAMES)) - {4}
    assert set(at(result, "fake0")) == set(range(FRAMES)) - {4}
    assert set(at(result, "fake1")) == set(range(FRAMES)) - {4, 6}
    told: list[FailureRecord] = [f for f in result.failures if f.reason is Reason.TRUNCATED]
    assert sorted((f.video_id, f.stage.value, f.frames) for f in told) == [
        ("fake0", "detect", 1),
        ("fake1", "decode", 1),
        ("fake1", "detect", 1),
        ("real", "decode", 1),
    ]


@pytest.mark.parametrize("scale", [1.0, 2.6])
def test_a_crop_is_the_same_whatever_part_of_the_frame_is_held(
    group: ClipGroup, resources: ExitStack, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    """A fake that shows its original's frames: at the smaller scale parts of them are held, at the larger all."""
    recipe = load_recipe("default", ["crop.size=64", f"sample.frames={FRAMES}", f"crop.scale={scale}"])
    clip, items = read(group, resources, recipe)
    lead = items[0]
    assert isinstance(lead, LeadWindow)
    items = [
        replace(item, frames=lead.frames[item.start : item.start + len(item.frames)])
        if isinstance(item, FakeFrames)
        else item
        for item in items
    ]
    monkeypatch.setattr(process.TrackSelection, "may_still_keep", lambda *args: True)
    monkeypatch.setattr(process.TrackSelection, "wanted", lambda *args: {0, 1})
    monkeypatch.setattr(process.Comparison, "label_of", lambda *args: FaceLabel(1, LabelSource.DIFFERENCE))
    result = processed(clip, items, recipe)
    images = {
        video.video_id: [s.image for s in result.samples if s.record.video_id == video.video_id]
        for video in group.videos()
    }
    assert len(images["real"]) == 2 * FRAMES
    assert images["fake0"] == images["fake1"] == images["real"]


def test_a_missing_frame_that_was_matched_is_uncertain_and_one_that_was_not_is_unmatched(
    group: ClipGroup, resources: ExitStack
) -> None:
    """Matched are the first two; the third may be shown by the fake, and the fourth is not."""
    clip, items = read(group, resources)
    number = next(n for n, item in enumerate(items) if isinstance(item, FakeFrames) and item.video is clip.fakes[0])
    fake = items[number]
    assert isinstance(fake, FakeFrames)
    alignment = fake.video.alignment
    assert alignment is not None
    fake_of, doubtful = np.full(FRAMES, -1), np.zeros(FRAMES, bool)
    fake_of[:2], doubtful[2] = [0, 1], True
    fake.video.alignment = replace(alignment, fake_of=fake_of, doubtful=doubtful)
    items[number] = replace(fake, frames=[*[None] * 4, *fake.frames[4:]])
    told = {f.reason: f.frames for f in processed(clip, items).failures if f.video_id == "fake0"}
    assert (told[Reason.UNCERTAIN_TIME], told[Reason.UNMATCHED]) == (3, 1)


def test_a_person_who_might_have_been_kept_and_is_not_gives_no_samples(
    group: ClipGroup, resources: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That nothing is encoded for whom the selection has ruled out already only saves work."""
    clip, items = read(replace(group, fakes=group.fakes[1:]), resources)
    expected = processed(clip, items)
    monkeypatch.setattr(process.TrackSelection, "may_still_keep", lambda *_: True)
    result = processed(clip, items)
    assert samples(result) == samples(expected)
    assert result.failures == expected.failures
    assert len({sample.record.track_id for sample in result.samples}) == 1
