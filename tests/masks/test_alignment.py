"""Fakes whose frames show known frames of their original; real clips, forged and brought out of step by hand."""

import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemill.masks import AlignmentKind, PairAlignment, Thumbnails, align_pair, alignment, match_by_time
from tests.composed.timing import CASES, TimedPair, forge, read_clip, wrongly_paired

FACES = {  # where the face is, xyxy as shares of the sides
    "videos/lp_d18.mp4": (0.3, 0.2, 0.7, 0.75),
    "videos/fsgan_conan.mp4": (0.3, 0.1, 0.6, 0.75),
    "pairs/ghost_real.mp4": (0.3, 0.15, 0.7, 0.6),
}
KINDS = {
    "as it is": "in_step", "starts 3 later": "shifted", "starts 12 later": "shifted", "real starts 5 later": "shifted",
    "one dropped at two places": "piecewise", "three doubled": "piecewise", "20 cut out": "piecewise",
    "30 from 25": "rate", "30 from 25, rounded": "rate", "25 from 30": "rate", "12.5 from 25": "rate",
    "paler and brighter": "in_step", "half the size": "in_step", "the real again": "in_step",
}  # fmt: skip
SHRUNK: dict[int, tuple[np.ndarray, np.ndarray]] = {}
"""Frames and their luma, by the id of the frames."""


@lru_cache(maxsize=8)
def clip(path: Path, count: int = 66) -> np.ndarray:
    return read_clip(path, count, side=288)


@lru_cache(maxsize=4)
def forged(path: Path, other: Path, box: tuple[float, float, float, float]) -> np.ndarray:
    return forge(clip(path), clip(other), box)


@lru_cache(maxsize=1)
def forged_pair(real: Path, other: Path, case: str) -> TimedPair:
    return CASES[case](clip(real), forged(real, other, FACES[f"{real.parent.name}/{real.name}"]))


def shrunk(frames: np.ndarray) -> np.ndarray:
    """Luma [N, h, w] of thumbnails, made without the code under test. That of the last few films is kept."""
    if id(frames) not in SHRUNK:
        if len(SHRUNK) == 4:
            del SHRUNK[next(iter(SHRUNK))]
        scale = 96 / max(frames.shape[1:3])
        size = (round(frames.shape[2] * scale), round(frames.shape[1] * scale))
        small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
        SHRUNK[id(frames)] = frames, 0.299 * small[..., 0] + 0.587 * small[..., 1] + 0.114 * small[..., 2]
    return SHRUNK[id(frames)][1]


def thumbnails(
    frames: np.ndarray, *, fps: float = 25, start: float = 0, every: int = 1, seed: int = 0, noise: float = 1.0
) -> Thumbnails:
    """With what compression leaves of noise."""
    indices = np.arange(0, len(frames), every)
    luma = shrunk(frames)[indices]
    noisy = np.clip(luma + np.random.default_rng(seed).normal(0, noise, luma.shape), 0, 255).astype(np.uint8)
    return Thumbnails(noisy, indices, start + np.arange(len(frames)) / fps)


def aligned(pair: TimedPair, every: int = 1, noise: float = 1.0):
    return align_pair(
        thumbnails(pair.real, fps=pair.real_fps, seed=1, noise=noise),
        thumbnails(pair.fake, fps=pair.fake_fps, start=1.4, every=every, seed=2, noise=noise),
    )


@lru_cache(maxsize=2)
def slow_pair(path: Path, other: Path, box: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    real = read_clip(path, 80, side=320)
    return real, forge(real, read_clip(other, 80, side=320), box)


def encoded(frames: np.ndarray, path: Path, how: int | dict[str, str]) -> np.ndarray:
    """The frames after H.264 at a bit rate or with other options, on one thread."""
    options = {"threads": "1", **(how if isinstance(how, dict) else {})}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        if isinstance(how, int):
            stream.bit_rate = how
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return read_clip(path)


@pytest.mark.parametrize("every", [1, pytest.param(2, marks=pytest.mark.heavy), 4])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FACES)
def test_no_frame_is_wrongly_paired(media: Path, name: str, case: str, every: int) -> None:
    pair = forged_pair(media / name, media / "videos/fsgan_shinzo.mp4", case)
    found = aligned(pair, every)
    assert found.usable == pair.match, found.reason
    assert bool(found.reason) != pair.match
    assert wrongly_paired(pair, found.real_of) == 0
    if pair.match:
        assert found.kind == KINDS[case]
        compared, between = placed(pair, found, every)
        assert compared > (0.95 if every == 1 else 0.85)
        assert between > 0.6
        assert found.residual < 5


@lru_cache(maxsize=2)
def long_pair(path: Path, other: Path, box: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    real = clip(path, 130)
    return real, forge(real, clip(other), box)


@pytest.mark.parametrize("name", ["videos/lp_d18.mp4", "videos/fsgan_conan.mp4"])
@pytest.mark.parametrize("offset", [40, 41, 43, 46, -34, -38, -41])
def test_a_pair_that_is_too_far_apart_is_refused(media: Path, name: str, offset: int) -> None:
    """A fake that starts many frames after its original, or before it."""
    real, frames = long_pair(media / name, media / "videos/fsgan_shinzo.mp4", FACES[name])
    late, early = max(offset, 0), max(-offset, 0)
    pair = TimedPair(real[early:], frames[late:], np.arange(late, len(frames)) - early)
    found = aligned(pair)
    assert wrongly_paired(pair, found.real_of) == 0
    if abs(offset) > 40:
        assert not found.usable
        assert found.reason
    assert offset != 40 or found.kind == "shifted"


def placed(pair: TimedPair, found: PairAlignment, every: int) -> tuple[float, float]:
    """Shares of the fake frames that show one of the original's for which one was found: of those compared, of all."""
    inside = (pair.real_of >= 0) & (pair.real_of < len(pair.real))
    compared = inside & (np.arange(len(inside)) % every == 0)
    return float((found.real_of[compared] >= 0).mean()), float((found.real_of[inside] >= 0).mean())


QUALITIES = {"crf 15 and 40": ({"crf": "15"}, {"crf": "40"}), "114 and 803 kbit/s": (114_000, 803_000)}


CONAN, SLOWER = "videos/fsgan_conan.mp4", "videos/lp_d18.mp4"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "quality", "case", "least"),
    [
        *((CONAN, quality, "as it is", 0.85) for quality in QUALITIES),
        *((CONAN, quality, "one dropped at two places", 0.75) for quality in QUALITIES),  # .8 with FFmpeg 8's x264
        (SLOWER, "crf 15 and 40", "one dropped at two places", 0.65),
        (SLOWER, "114 and 803 kbit/s", "20 cut out", 0.5),
    ],
)
def test_no_frame_is_wrongly_paired_where_the_qualities_differ(
    media: Path, tmp_path: Path, name: str, quality: str, case: str, least: float
) -> None:
    """Slow motion, which strong compression makes lag: what cannot be told for certain is left out."""
    pair = CASES[case](*slow_pair(media / name, media / "videos/fsgan_shinzo.mp4", FACES[name]))
    real, fake = (
        encoded(frames, tmp_path / f"{number}.mp4", how)
        for number, (frames, how) in enumerate(zip((pair.real, pair.fake), QUALITIES[quality], strict=True))
    )
    for every in (1, 2, 4):
        found = aligned(replace(pair, real=real, fake=fake), every, noise=0)
        assert found.usable
        assert wrongly_paired(pair, found.real_of) == 0
        assert placed(pair, found, every)[0] > least


@pytest.mark.parametrize(
    "case", ["as it is", "as it is, but one frame", "starts 3 later", "three doubled", "12.5 from 25", "mirrored"]
)
def test_a_search_over_few_frames_first_changes_nothing(
    media: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    name = "videos/lp_d18.mp4"
    pair = forged_pair(media / name, media / "videos/fsgan_shinzo.mp4", case.partition(",")[0])
    if "one frame" in case:  # which is not among the few
        noise = np.random.default_rng(0).integers(0, 256, pair.fake[:1].shape, np.uint8)
        pair = replace(pair, fake=np.concatenate([pair.fake[:13], noise, pair.fake[14:]]))
    whole, reaches = aligned(pair), []
    compare = alignment._Comparison

    def noted(real: Thumbnails, fake: Thumbnails, reach: int) -> alignment._Comparison:
        reaches.append(reach)
        return compare(real, fake, reach)

    monkeypatch.setattr(alignment, "MANY", 20)
    monkeypatch.setattr(alignment, "_Comparison", noted)
    found = aligned(pair)
    assert (found.kind, found.real_of.tolist()) == (whole.kind, whole.real_of.tolist())
    wide, narrow = alignment.WIDEST_REACH, alignment.LEAST_REACH
    assert reaches == ([wide, narrow] if "as it is" in case else [wide, narrow, wide])


def test_a_frame_counts_for_those_around_it_that_were_compared_no_matter_how_long_the_clip_is(media: Path) -> None:
    """The first frames of a fake that goes on for long."""
    pair = CASES["one dropped at two places"](*[clip(media / "videos/lp_d18.mp4")] * 2)
    real, fake = thumbnails(pair.real, seed=1), thumbnails(pair.fake, seed=2)
    longer = [replace(one, times=np.arange(2000) / 25) for one in (real, fake)]
    found, whole = align_pair(*longer), align_pair(real, fake)
    assert found.real_of[: len(pair.fake)].tolist() == whole.real_of.tolist()


def test_a_fake_of_which_no_frame_can_be_placed_is_not_settled() -> None:
    nowhere, nothing = np.full(4, -1), np.zeros(4, bool)
    found = PairAlignment(AlignmentKind.IN_STEP, nowhere, nowhere, nothing, nothing)
    assert not found.settled(np.arange(4))


def test_a_fake_is_settled_if_each_frame_up_to_the_end_of_its_original_is_placed() -> None:
    still = thumbnails(np.zeros((4, 54, 96, 3), np.uint8))
    found = align_pair(still, still)
    for real_of, settled in (
        ([0, 1, 2, 3], True),
        ([0, 1, 2, -1], True),
        ([0, -1, 2, 3], False),
        ([-1, 0, 1, 2], False),
    ):
        assert replace(found, real_of=np.array(real_of)).settled(np.arange(4)) == settled
    assert replace(found, real_of=np.array([0, -1, 2, 3])).settled(np.array([0, 2, 3]))


@pytest.mark.parametrize("height", range(52, 57))
def test_thumbnails_may_differ_in_size_by_rounding_only(height: int) -> None:
    rng = np.random.default_rng(0)
    real, fake = (rng.integers(0, 255, (3, rows, 96), np.uint8) for rows in (54, height))
    found = align_pair(*(Thumbnails(frames, np.arange(3), np.arange(3) / 25) for frames in (real, fake)))
    assert ("aspect ratio" in found.reason) == (abs(height - 54) > 1)


@pytest.mark.parametrize(("frames", "stretch", "changes"), [(66, 8, 8), (66, 11, 0), (50, 7, 6), (51, 7, 0)])
def test_a_fake_that_falls_out_of_step_again_and_again_is_refused(
    media: Path, frames: int, stretch: int, changes: int
) -> None:
    """One frame late in every second stretch; refused from 4 changes and one in 25 frames on."""
    real = clip(media / "videos/fsgan_conan.mp4")[:frames]
    shown = np.maximum(np.arange(frames) - np.arange(frames) // stretch % 2, 0)
    found = align_pair(thumbnails(real), thumbnails(real[shown], seed=1))
    assert found.usable == (changes == 0)
    assert found.reason == (f"it falls out of step {changes} times in {frames} frames" if changes else "")


@pytest.mark.parametrize("rate", [2, 3, 4])
def test_a_frame_with_a_partner_is_not_doubtful_though_others_may_show_it_too(media: Path, rate: int) -> None:
    """Each frame is shown several times, of which one was compared."""
    real = clip(media / "videos/fsgan_conan.mp4")
    found = align_pair(thumbnails(real), thumbnails(real.repeat(rate, axis=0), fps=25 * rate, every=rate, seed=1))
    assert found.real_of[::rate].tolist() == list(range(66))
    assert not found.doubtful[found.fake_of >= 0].any()


@pytest.mark.parametrize(("back", "usable"), [(4, True), (5, False)])
def test_a_fake_may_go_back_once_by_four_frames(moving_clip, back: int, usable: bool) -> None:
    real = moving_clip(60, 162, 288, seed=1)
    shown = np.concatenate([np.arange(31), np.arange(30 - back, 60)])
    found = align_pair(thumbnails(real), thumbnails(real[shown], seed=1))
    assert found.usable == usable
    assert usable or found.reason == "its frames are in another order"


def test_both_directions_agree(media: Path) -> None:
    real = clip(media / "pairs/ghost_real.mp4")
    found = aligned(CASES["20 cut out"](real, real))
    assert found.fake_of[[0, 22, 30, 43, 65]].tolist() == [0, 22, -1, 23, 45]
    assert found.real_of[[0, 22, 23, 45]].tolist() == [0, 22, 43, 65]
    assert found.offsets == [(0, 0), (23, -20)]
    assert not found.doubtful.any(), "what was cut out is missing for certain"
    doubled = aligned(CASES["30 from 25"](real, real))
    assert set(doubled.fake_of) <= set(range(79))
    assert (doubled.fake_of >= 0).all()


def test_gain_and_level_are_those_that_were_applied(media: Path) -> None:
    real = clip(media / "videos/lp_d18.mp4")
    found = aligned(CASES["paler and brighter"](real, real))
    assert found.gain == pytest.approx(1 / 0.95, abs=0.02)
    assert found.level + 128 - found.gain * 128 == pytest.approx(-12 / 0.95, abs=2.5)


@pytest.mark.parametrize("frames", [1, 2, 5, 40])
@pytest.mark.parametrize("other", ["videos/fsgan_shinzo.mp4", "videos/fsgan_conan.mp4", "videos/moviepy_chaplin.mp4"])
def test_another_video_is_refused_however_short(media: Path, other: str, frames: int) -> None:
    real = clip(media / "videos/lp_d18.mp4")[:frames]
    fake = np.stack([cv2.resize(frame, real.shape[2:0:-1]) for frame in clip(media / other)[:frames]])
    found = align_pair(thumbnails(real), thumbnails(fake))
    assert found.kind == AlignmentKind.REFUSED
    assert "resembles" in found.reason
    assert align_pair(thumbnails(real), thumbnails(real, seed=3)).kind == "in_step"


def test_another_moment_of_the_same_scene_is_refused(moving_clip) -> None:
    """The scene stands still; who moves in it moves otherwise."""
    still = moving_clip(1, 162, 288, seed=1)[0]
    real, fake = np.stack([still] * 40), np.stack([still] * 40)
    for frames, seed in ((real, 2), (fake, 3)):
        frames[:, 20:140, 180:280] = moving_clip(40, 120, 100, seed=seed)
    found = align_pair(thumbnails(real), thumbnails(fake))
    assert found.kind == AlignmentKind.REFUSED


def test_a_still_clip_fits_anywhere_and_a_black_one_tells_nothing(media: Path) -> None:
    still = clip(media / "videos/lp_d18.mp4")[:1].repeat(40, axis=0)
    found = align_pair(thumbnails(still, seed=1), thumbnails(still, seed=2))
    assert (found.kind, found.offsets) == ("in_step", [(0, 0)])
    assert found.alike.mean() > 0.8
    black = thumbnails(np.zeros_like(still))
    found = align_pair(black, black)
    assert (found.kind, found.usable) == ("unknown", False)


def test_a_large_forgery_is_no_other_video(media: Path) -> None:
    real = clip(media / "pairs/ghost_real.mp4")
    box = (0.15, 0.05, 0.85, 0.77)  # two fifths of the frame
    fake = forge(real, clip(media / "videos/tc_nasa_13013.mp4"), box)
    assert align_pair(thumbnails(real), thumbnails(fake[3:])).offsets == [(0, -3)]


def test_the_greatest_offset_is_found(media: Path) -> None:
    real = clip(media / "pairs/ghost_real.mp4")
    assert align_pair(thumbnails(real), thumbnails(real[40:])).offsets == [(0, -40)]


@pytest.mark.parametrize("times_tell", [True, False])
@pytest.mark.parametrize("lacking", ["real", "fake"])
def test_gaps_inside_a_file(media: Path, lacking: str, times_tell: bool) -> None:
    whole = clip(media / "pairs/ghost_real.mp4")
    some = np.setdiff1d(np.arange(66), np.arange(24, 36))
    shown = {"real": np.arange(66), "fake": np.arange(66), lacking: some}
    clips = [
        replace(thumbnails(whole[held], seed=seed), times=(held if times_tell else np.arange(len(held))) / 25)
        for seed, held in enumerate(shown.values())
    ]
    found = align_pair(*clips)
    truth = [
        int(np.flatnonzero(shown["real"] == frame)[0]) if frame in shown["real"] else -1 for frame in shown["fake"]
    ]
    assert found.real_of.tolist() == truth
    assert found.kind == ("in_step" if times_tell else "piecewise")


def test_frames_that_do_not_decode_are_left_out(media: Path) -> None:
    """A damaged stretch among the first frames of both."""
    whole = thumbnails(clip(media / "pairs/ghost_real.mp4"))
    real, fake = (np.setdiff1d(np.arange(66), gone) for gone in (np.arange(2, 9), np.arange(5, 12)))
    found = align_pair(
        Thumbnails(whole.frames[real], real, whole.times),
        Thumbnails(whole.frames[3:][fake[:-3]], fake[:-3], whole.times[3:]),
    )
    assert found.offsets == [(0, -3)] or found.offsets[-1][1] == -3
    assert found.real_of[20:60].tolist() == list(range(23, 63))


def test_a_clip_of_751_frames_takes_little_time() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (751, 54, 96)).astype(np.uint8)
    whole = Thumbnails(frames, np.arange(751), np.arange(751) / 25)
    start = time.process_time()
    align_pair(whole, whole)
    assert time.process_time() - start < 1.5  # 0.1 s on an idle core


def test_what_does_not_fit_is_refused_by_name() -> None:
    good = Thumbnails(np.zeros((3, 54, 96), np.uint8), np.arange(3), np.arange(3) / 25)
    for wrong in (np.zeros((3, 54, 96), np.float32), np.zeros((2, 54, 96), np.uint8), np.zeros((3, 54), np.uint8)):
        with pytest.raises(ValueError, match="pass uint8"):
            align_pair(good, Thumbnails(wrong, np.arange(3), good.times))
    wide = Thumbnails(np.zeros((3, 40, 96), np.uint8), np.arange(3), good.times)
    assert "aspect ratio" in align_pair(good, wide).reason
    none = Thumbnails(np.zeros((0, 54, 96), np.uint8), np.arange(0), good.times)
    assert align_pair(good, none).kind == "unknown"


def clock(steps: list[float]) -> np.ndarray:
    return np.cumsum([3.0, *steps])


@given(st.lists(st.floats(0.005, 0.2), max_size=30), st.lists(st.floats(0.005, 0.2), max_size=30))
def test_any_two_clocks_pair_each_frame_with_the_nearest_in_time(
    real_steps: list[float], fake_steps: list[float]
) -> None:
    """By comparing each moment with each; -1 where none is within half an interval of the slower file."""
    real, fake = clock(real_steps), clock(fake_steps) + 100
    away = np.abs((real - real[0])[:, None] - (fake - fake[0])[None])
    reach = max(np.median(steps) if steps else 0.0 for steps in (real_steps, fake_steps)) / 2
    for index, matched in enumerate(match_by_time(real, fake)):
        if matched < 0:
            assert away[index].min() > reach - 1e-9
        else:
            assert away[index, matched] <= away[index].min() + 1e-8
            assert away[index, matched] <= reach * (1 + 1e-5) + 1e-5
