"""What an observer sees of a read: every intact frame once, in display order, as a small upright image."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facemill.pipeline.config.sections import DecodeSettings
from facemill.pipeline.decode import DecodedFrame, SequenceReader, SmallFrames, VideoReader, small_rgb, thumbnail_of

PYRAMID = "bframes=3:b-adapt=0:b-pyramid=normal:keyint=20"


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """uint8 [60, 90, 160, 3]: a smooth picture that drifts."""
    noise = np.random.default_rng(2).integers(0, 255, (6, 20, 3), np.uint8)
    wide = cv2.resize(noise, (320, 90), interpolation=cv2.INTER_CUBIC)
    return np.stack([wide[:, 2 * step : 2 * step + 160] for step in range(60)])


def luma(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Limited-range BT.601 luma of RGB, averaged to `size`."""
    coded = image @ np.array([0.299, 0.587, 0.114]) * 219 / 255 + 16
    return cv2.resize(coded.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def seen_by(reader, indices, **options) -> tuple[list[int], list[np.ndarray], list[int]]:
    seen, thumbnails = [], []

    def observe(index: int, picture: DecodedFrame) -> None:
        seen.append(index)
        thumbnails.append(thumbnail_of(picture))

    given = [frame.index for frame in reader.read(indices, observer=observe, **options)]
    return seen, thumbnails, given


@pytest.mark.parametrize("threads", [1, 2])
def test_every_picture_is_seen_once_in_order(make_video, frames, threads: int) -> None:
    path = make_video("clip.mp4", frames, **{"x264-params": PYRAMID})
    with VideoReader(path, threads=threads) as reader:
        seen, thumbnails, given = seen_by(reader, [3, 20, 41], every=True)
    assert (seen, given) == (list(range(60)), [3, 20, 41])
    for thumbnail, frame in zip(thumbnails, frames, strict=True):
        assert np.abs(thumbnail - luma(frame, (96, 54))).mean() < 1.5


def test_pictures_that_nobody_needs_are_left_out(make_video, frames) -> None:
    path = make_video("clip.mp4", frames, **{"x264-params": PYRAMID})
    with VideoReader(path) as reader:
        plain = {frame.index: frame.image for frame in reader.read([3, 20, 41])}
        seen, _, given = seen_by(reader, [3, 20, 41])
    assert given == [3, 20, 41]
    assert {3, 20, 41} < set(seen)
    assert seen == sorted(set(seen))
    assert len(seen) < 30  # of 42
    assert all(np.array_equal(frame.image, plain[frame.index]) for frame in VideoReader(path).read([3, 20, 41]))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_damaged_file_is_seen_once_and_without_its_damage(make_video, frames, threads: int) -> None:
    path = make_video("clip.mkv", frames, **{"x264-params": "keyint=10:scenecut=0:bframes=0"})
    with av.open(str(path)) as container:
        packet = bytes([packet for packet in container.demux(video=0) if packet.size][13])
    start = path.read_bytes().index(packet)
    with path.open("r+b") as file:
        file.seek(start + len(packet) // 4)
        file.write(b"\xa5" * (len(packet) // 2))
    with VideoReader(path, threads=threads) as reader:
        seen, _, given = seen_by(reader, [12, 15, 50], every=True)
    assert given == [12, 15, 50]
    assert seen == [*range(13), *range(20, 60)]


@pytest.mark.parametrize("name", ["clip.avi", "clip.webm"])
def test_files_that_are_counted_are_seen_too(make_video, frames, name: str) -> None:
    codec = {"clip.avi": "mpeg4", "clip.webm": "libvpx"}[name]
    with VideoReader(make_video(name, frames, codec=codec)) as reader:
        assert seen_by(reader, [3, 20])[::2] == (list(range(21)), [3, 20])
        assert seen_by(reader, [3, 20], every=True)[::2] == (list(range(60)), [3, 20])


def test_decord_shows_its_frames(make_video, frames) -> None:
    path = make_video("clip.mp4", frames)
    with VideoReader(path, DecodeSettings(backend="decord")) as reader:
        seen, thumbnails, given = seen_by(reader, [3, 20])
        assert (seen, given) == (list(range(21)), [3, 20])
        assert seen_by(reader, [3], every=True)[0] == list(range(60))
    gray = cv2.resize(cv2.cvtColor(frames[3], cv2.COLOR_RGB2GRAY), (96, 54), interpolation=cv2.INTER_AREA)
    assert np.abs(thumbnails[3] - gray.astype(float)).mean() < 2


def test_pictures_of_a_sequence_are_seen(tmp_path: Path, frames) -> None:
    for index in range(5):
        cv2.imwrite(str(tmp_path / f"{index}.png"), frames[index][..., ::-1])
    with SequenceReader(str(tmp_path.parent), tmp_path.name) as reader:
        assert seen_by(reader, [1, 3], every=True)[::2] == (list(range(5)), [1, 3])
        assert seen_by(reader, [1, 3])[::2] == ([1, 3], [1, 3])
        assert np.diff(reader.times) == pytest.approx(1)


@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p10le", "nv12", "gray", "rgb24", "pal8", "yuyv422", "gbrp"])
def test_thumbnails_of_every_layout_are_the_mean_luma(frames, layout: str) -> None:
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[0]), format="rgb24")
    picture = DecodedFrame(rgb.reformat(format="rgb8" if layout == "pal8" else layout))
    thumbnail = thumbnail_of(picture)
    assert (thumbnail.shape, thumbnail.dtype) == ((54, 96), np.uint8)
    expected = luma(frames[0], (96, 54))
    # Planes of bytes are taken as they are coded; what FFmpeg converts comes in full range.
    expected = np.polyval(np.polyfit(expected.ravel(), thumbnail.ravel().astype(float), 1), expected)
    assert np.abs(thumbnail - expected).mean() < (9 if layout == "pal8" else 1.5)


def test_small_pictures_are_upright_and_square(media: Path) -> None:
    shapes = []
    with VideoReader(media / "hostile/rot90_lp_d13.mp4") as reader:
        list(
            reader.read(
                [0], observer=lambda _, picture: shapes.append((thumbnail_of(picture), small_rgb(picture, 320)))
            )
        )
        whole = next(reader.read([0])).image
    small, rgb = shapes[0]
    assert (small.shape, rgb.shape) == ((54, 96), (180, 320, 3))
    assert np.abs(cv2.resize(whole, (320, 180), interpolation=cv2.INTER_AREA) - rgb.astype(float)).mean() < 2
    square = DecodedFrame(av.VideoFrame.from_ndarray(np.zeros((480, 512, 3), np.uint8)), Fraction(15, 16))
    assert (thumbnail_of(square).shape, small_rgb(square, 64).shape) == ((96, 96), (64, 64, 3))
    assert small_rgb(square, 9999).shape == (512, 512, 3)


def test_a_thumbnail_is_cheap(media: Path) -> None:
    import time

    with av.open(str(media / "videos/fsgan_shinzo.mp4")) as container:
        picture = DecodedFrame(next(container.decode(video=0)))
    lasted = []
    for _ in range(300):
        start = time.perf_counter()
        thumbnail_of(picture)
        lasted.append(time.perf_counter() - start)
    assert min(lasted) < 200e-6  # 50 microseconds where the machine is idle


@pytest.mark.parametrize("side", [48, 1000])
def test_small_frames_are_the_same_whether_kept_or_shrunk_at_once(media: Path, side: int) -> None:
    small, shrunk = SmallFrames(side), {}

    def observe(index: int, decoded: DecodedFrame) -> None:
        small.add(index, decoded)
        shrunk[index] = small_rgb(decoded, side)

    with VideoReader(media / "hostile/rot90_lp_d13.mp4") as reader:
        next(reader.read([9], observer=observe, every=True))
    assert list(small) == list(shrunk)
    assert len(shrunk) > 9
    assert all(np.array_equal(small[index], shrunk[index]) for index in shrunk)
