"""Frames of every kind of file, compared with a full sequential decode written here."""

import random
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facemill import VideoError
from facemill.pipeline.config.sections import DecodeSettings
from facemill.pipeline.decode import Frame, VideoReader

HEALTHY = {  # frames that come out of a full decode
    "videos/fsgan_conan.mp4": 150,
    "videos/fsgan_shinzo.mp4": 600,
    "videos/lp_d13.mp4": 352,
    "videos/lp_d18.mp4": 216,
    "videos/lp_s29.mp4": 160,
    "videos/moviepy_chaplin.mp4": 241,
    "videos/moviepy_no_duration.webm": 74,
    "videos/tc_av1_video.mkv": 125,
    "videos/tc_h264_10bits.mp4": 30,
    "videos/tc_h265_video.mp4": 10,
    "videos/tc_nasa_13013.mp4": 390,
    "hostile/gray_ffv1.mkv": 48,
    "hostile/odd_477x359_h264_444.mp4": 48,
    "hostile/rot90_lp_d13.mp4": 352,
}
REFUSED_BY_DECORD = {"moviepy_no_duration.webm", "tc_av1_video.mkv", "tc_h264_10bits.mp4"}
PYRAMID = "bframes=3:b-adapt=0:b-pyramid=normal:keyint=20"


class Picture(NamedTuple):
    """What a full decode gives: seconds, whether FFmpeg flags it, RGB where it was asked for."""

    time: float | None
    flagged: bool
    image: np.ndarray | None


@lru_cache(maxsize=2)
def reference(path: Path, wanted: tuple[int, ...] | None = None) -> list[Picture]:
    """Every picture that comes out when the whole file is decoded, in that order; with RGB, or only where wanted."""
    pictures: list[Picture] = []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                continue
            for picture in decoded:
                image = None
                if wanted is None or len(pictures) in wanted:
                    image = np.rot90(picture.to_ndarray(format="rgb24"), picture.rotation // 90)
                pictures.append(Picture(picture.time, picture.is_corrupt, image))
    return pictures


def assert_equal(frames: list[Frame], expected: list[Picture], indices: list[int]) -> None:
    assert [frame.index for frame in frames] == indices
    for frame in frames:
        assert frame.image is not None, frame.index
        assert frame.image.flags.c_contiguous
        assert np.array_equal(frame.image, expected[frame.index].image), frame.index


def scattered(count: int) -> list[int]:
    if count < 100:
        return list(range(count))
    return sorted({0, 1, count // 2, count - 1, *random.Random(count).sample(range(count), 6)})


APART = {
    **dict.fromkeys(("videos/fsgan_shinzo.mp4", "videos/lp_d13.mp4", "hostile/rot90_lp_d13.mp4"), pytest.mark.long),
    **dict.fromkeys(("videos/fsgan_conan.mp4", "videos/moviepy_no_duration.webm"), pytest.mark.heavy),
}
"""Of the kind of the others, in more frames; that the third is upright is tested below."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[APART[name]] if name in APART else []) for name in HEALTHY])
def test_media_equal_a_full_sequential_decode(media: Path, name: str) -> None:
    path = media / name
    indices = scattered(HEALTHY[name])
    expected = reference(path, tuple(indices))
    for threads in (1, 2):
        with VideoReader(path, threads=threads) as reader:
            assert reader.info.frame_count == len(expected) == HEALTHY[name]
            assert (reader.info.height, reader.info.width, 3) == expected[0].image.shape
            frames = list(reader.read(indices))
        assert_equal(frames, expected, indices)
        assert [frame.pts_s for frame in frames] == pytest.approx([expected[index].time for index in indices])
    decord_gives_the_same_or_is_refused(path, indices, expected)


def decord_gives_the_same_or_is_refused(path: Path, indices: list[int], expected: list[Picture]) -> None:
    settings = DecodeSettings(backend="decord")
    if path.name in REFUSED_BY_DECORD:
        with pytest.raises(VideoError, match=r"set decode\.backend to pyav") as caught:
            VideoReader(path, settings)
        assert caught.value.reason == "unreadable"
        return
    with VideoReader(path, settings, threads=2) as reader:
        assert_equal(list(reader.read(indices)), expected, indices)


def test_bit_rot_gives_what_is_intact(media: Path) -> None:
    """FFmpeg hands out 431 of 448 pictures: 235 as they were, then smeared ones, some flagged and some not."""
    path = media / "hostile/bitrot_lp_d10.mp4"
    some = [3, 100, 180, 234, 235, 300, 400, 447]
    expected = reference(path, (0, *some[:4]))
    assert len(expected) == 431
    assert [picture.flagged for picture in expected].index(True) == 235
    for threads in (1, 2):
        with VideoReader(path, threads=threads) as reader:
            assert (reader.info.frame_count, reader.info.declared_frames) == (448, 448)
            present = [frame.image is not None for frame in reader.read(range(448))]
            alone = list(reader.read(some))
        assert present == [index < 235 for index in range(448)]
        assert_equal(alone[:4], expected, some[:4])
        # What a frame is does not depend on which others were asked for.
        assert [frame.image is None for frame in alone] == [False] * 4 + [True] * 4


def test_rotated_video_is_upright(media: Path) -> None:
    """A clip that was told to be turned clockwise: every frame is that of the clip, turned; its face is found."""
    mtcnn = pytest.importorskip("facenet_pytorch").MTCNN(keep_all=True)
    with VideoReader(media / "hostile/rot90_lp_d13.mp4") as turned, VideoReader(media / "videos/lp_d13.mp4") as plain:
        assert (turned.info.rotation, turned.info.width, turned.info.height) == (90, 1280, 720)
        pairs = list(zip(turned.read([0, 120]), plain.read([0, 120]), strict=True))
    for frame, original in pairs:
        height = original.image.shape[0]
        for y, x in ((0, 0), (10, 500), (1279, 719)):
            assert np.array_equal(frame.image[x, height - 1 - y], original.image[y, x])
    boxes, scores = mtcnn.detect(pairs[0][0].image)
    assert len(boxes) == 1
    assert scores[0] > 0.9


def moving(count: int, height: int = 96, width: int = 128) -> np.ndarray:
    """uint8 [count, height, width, 3]: coarse random tiles that drift, so that every frame differs."""
    tiles = np.random.default_rng(7).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    still = tiles.repeat(8, 0).repeat(8, 1)[:height, :width]
    return np.stack([np.roll(still, (step, 2 * step), (0, 1)) for step in range(count)])


def encode(path: Path, *, codec: str = "libx264", pix_fmt: str = "yuv420p", size: tuple[int, int] = (96, 128),
           times_ms: list[int] | None = None, shift_s: Fraction = Fraction(0), container: dict[str, str] | None = None,
           matrix: list[int] | None = None, frames: np.ndarray | None = None, sound: bool = False,
           **options: str) -> Path:  # fmt: skip
    """A short clip at 25 frames/s, or with its frames at `times_ms`; packets are moved by `shift_s` in time."""
    frames = moving(60, *size) if frames is None else frames
    with av.open(str(path), "w", options=container or {}) as output:
        if sound:
            audio = output.add_stream("aac", rate=16000)
        stream = output.add_stream(
            codec, rate=25, options={key.replace("_", "-"): text for key, text in options.items()}
        )
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        clock = stream.codec_context.time_base = Fraction(1, 25 if times_ms is None else 1000)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        packets = []
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index if times_ms is None else times_ms[index], clock
            packets += stream.encode(picture)
        packets += stream.encode()
        for packet in packets:
            move = int(shift_s / packet.time_base)
            packet.pts, packet.dts = packet.pts + move, packet.dts + move
            output.mux(packet)
        if sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.float32), format="fltp", layout="mono")
            silence.rate = 16000
            output.mux(audio.encode(silence))
            output.mux(audio.encode())
    return path


UNEVEN = np.random.default_rng(3).integers(20, 90, 60).cumsum().tolist()
KINDS = {
    "b_frames.mp4": {"x264_params": PYRAMID},
    "open_gop.mkv": {"x264_params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"},
    "open_gop.ts": {"x264_params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"},
    "uneven.mp4": {"x264_params": PYRAMID, "times_ms": UNEVEN},
    "uneven.mkv": {"x264_params": PYRAMID, "times_ms": UNEVEN},
    "hevc.mp4": {"codec": "libx265", "x265_params": "bframes=4:b-pyramid=1:keyint=20:log-level=none"},
    "divx.avi": {"codec": "mpeg4", "bf": "2"},
    "divx.mp4": {"codec": "mpeg4", "bf": "2"},
    "h264.avi": {"x264_params": PYRAMID},
    "bare.h264": {"x264_params": PYRAMID},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "hidden_pictures.webm": {"codec": "libvpx", "auto_alt_ref": "1", "lag_in_frames": "16", "b": "100k"},
    "odd_size.mp4": {"size": (101, 117), "pix_fmt": "yuv444p"},
    "ten_bits.mp4": {"pix_fmt": "yuv420p10le"},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
    "late_start.mkv": {"shift_s": Fraction(7, 25), "x264_params": PYRAMID},
    "sound.mp4": {"sound": True},
    "edit_list.mp4": {
        "shift_s": Fraction(-10, 25),
        "x264_params": PYRAMID,
        "container": {"avoid_negative_ts": "disabled", "use_editlist": "1"},
    },
}


@pytest.mark.parametrize("name", KINDS)
def test_generated_clips_equal_a_full_sequential_decode(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, **KINDS[name])
    count = len(reference(path))
    assert count == (50 if name == "edit_list.mp4" else 60)
    for backend in ("pyav", "decord"):
        try:
            reader = VideoReader(path, DecodeSettings(backend=backend), threads=2)
        except VideoError as error:
            assert (backend, error.reason) == ("decord", "unreadable")  # noqa: PT017
            continue
        assert reader.info.frame_count == count
        assert reader.info.variable_rate == name.startswith("uneven")
        for indices in (list(range(count)), [0, 17, 18, 41, count - 1], [count - 2]):
            assert_equal(list(reader.read(indices)), reference(path), indices)


def test_a_clip_in_uneven_steps_keeps_its_times(tmp_path: Path) -> None:
    path = encode(tmp_path / "uneven.mkv", **KINDS["uneven.mkv"])
    with VideoReader(path) as reader:
        times = [frame.pts_s for frame in reader.read(range(60))]
        assert reader.info.fps == pytest.approx(59 / (times[-1] - times[0]))
    assert np.diff(times) == pytest.approx(np.diff(UNEVEN) / 1000, abs=1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.integers(0, 59)), threads=st.sampled_from([1, 2]))
def test_any_choice_of_frames(tmp_path: Path, chosen: set[int], threads: int) -> None:
    path = tmp_path / "clip.mp4"
    if not path.exists():
        encode(path, x264_params=PYRAMID)
    indices = sorted(chosen)
    with VideoReader(path, threads=threads) as reader:
        assert_equal(list(reader.read(indices)), reference(path), indices)


def test_pictures_that_nobody_needs_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "clip.mp4", x264_params=PYRAMID)
    reader = VideoReader(path)
    sent = []

    def counting(stream: object, packet: object, decode: Callable[..., object]) -> object:
        sent.append(packet)
        return decode(stream, packet)

    from facemill.pipeline.decode import pyav

    original = pyav.decode
    monkeypatch.setattr(pyav, "decode", lambda stream, packet: counting(stream, packet, original))
    assert_equal(list(reader.read([59])), reference(path), [59])
    assert len(sent) < 45  # of 60: half of the pictures are B-frames that no other leans on


def coded_picture(path: Path, index: int) -> np.ndarray:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))[index].to_ndarray(format="rgb24")


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1),
                                    (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0), (0, -1, -1, 0)])  # fmt: skip
def test_every_orientation(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """A coded point (x, y) is shown at (a x + c y, b x + d y), moved to where coordinates start at 0."""
    a, b, c, d = matrix
    one = 1 << 16
    raw = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]
    path = encode(tmp_path / "clip.mp4", matrix=raw, frames=moving(3), x264_params="qp=0")
    coded = coded_picture(path, 2)
    y, x = np.indices(coded.shape[:2])
    shown_x, shown_y = a * x + c * y, b * x + d * y
    shown_x, shown_y = shown_x - shown_x.min(), shown_y - shown_y.min()
    expected = np.zeros((shown_y.max() + 1, shown_x.max() + 1, 3), np.uint8)
    expected[shown_y, shown_x] = coded
    with VideoReader(path) as reader:
        assert (reader.info.height, reader.info.width) == expected.shape[:2]
        frame = next(reader.read([2]))
    assert np.array_equal(frame.image, expected)
