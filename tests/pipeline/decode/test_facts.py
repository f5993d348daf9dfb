"""Properties that a reader reports, and their effect on frames: square pixels, colour, fields, streams."""

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from facemill import VideoError
from facemill.pipeline.config.sections import DecodeSettings
from facemill.pipeline.decode import Colour, VideoReader, source
from facemill.pipeline.decode.deinterlace import deinterlaced
from tests.conftest import encode_video


def write(
    path: Path, *, aspect: Fraction | None = None, colour: Colour | None = None, small: bool = False, **options: str
) -> Path:
    """Ten frames, 128x96, of a circle; `small`: after a first stream of 64x64."""
    image = np.full((96, 128, 3), (40, 120, 90), np.uint8)
    cv2.circle(image, (64, 48), 30, (220, 90, 60), -1)
    with av.open(str(path), "w") as output:
        sizes = [(64, 64), (128, 96)] if small else [(128, 96)]
        streams = []
        for width, height in sizes:
            stream = output.add_stream("libx264", rate=25, options={"crf": "10", **options})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if colour is not None:
                stream.codec_context.colorspace, stream.codec_context.color_range = colour.matrix, colour.range
                stream.codec_context.color_primaries, stream.codec_context.color_trc = colour.primaries, colour.transfer
            streams.append(stream)
        for stream in streams:
            for _ in range(10):
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                picture = picture.reformat(width=stream.width, height=stream.height, format="yuv420p")
                output.mux(stream.encode(picture))
            output.mux(stream.encode())
    return path


def circle(image: np.ndarray) -> tuple[int, int]:
    """Width and height of the circle."""
    red = image[..., 0].astype(int) > 130
    return int(np.ptp(np.flatnonzero(red.any(axis=0)))) + 1, int(np.ptp(np.flatnonzero(red.any(axis=1)))) + 1


@pytest.mark.parametrize(
    ("aspect", "size"),
    [("4/3", (171, 96)), ("15/16", (128, 102)), ("1279/1280", (128, 96)), ("1/1", (128, 96)), ("2/1", (256, 96))],
)
def test_pixels_become_square(tmp_path: Path, aspect: str, size: tuple[int, int]) -> None:
    with VideoReader(write(tmp_path / "clip.mp4", aspect=Fraction(aspect))) as reader:
        frame = next(reader.read([3]))
        assert (reader.info.width, reader.info.height) == frame.image.shape[1::-1] == size
        assert (reader.info.coded_width, reader.info.coded_height) == (128, 96)
    width, height = circle(frame.image)
    assert width / height == pytest.approx(size[0] / size[1] * 96 / 128, rel=0.04)


def test_decord_is_refused_where_pixels_are_not_square(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="pixel aspect ratio"):
        VideoReader(write(tmp_path / "clip.mp4", aspect=Fraction(4, 3)), DecodeSettings(backend="decord"))


def test_absurd_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="pixel aspect ratio of"):
        VideoReader(write(tmp_path / "clip.mp4", aspect=Fraction(40)))


def test_the_largest_stream_is_read(tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / "two.mp4", small=True)) as reader:
        assert (reader.info.width, reader.info.height, reader.info.other_streams) == (128, 96, 1)
        assert next(reader.read([9])).image.shape == (96, 128, 3)
    with VideoReader(write(tmp_path / "one.mp4")) as reader:
        assert reader.info.other_streams == 0


def test_untagged_files_take_the_colour_that_they_are_told(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.mp4")
    tagged = write(tmp_path / "tagged.mp4", colour=Colour(1, 1, 1, 1))
    with VideoReader(tagged) as reader, VideoReader(plain) as untagged:
        colour = reader.info.colour
        expected = next(reader.read([0])).image
        alone = next(untagged.read([0])).image
        assert (colour, untagged.info.colour) == (Colour(1, 1, 1, 1), Colour())
    with VideoReader(plain, colour=colour) as reader:
        assert reader.info.colour == colour
        assert np.array_equal(next(reader.read([0])).image, expected)
    assert np.abs(alone.astype(int) - expected).mean() > 2
    with VideoReader(tagged, colour=Colour(5, 2, 5, 6)) as reader:  # what the file says itself comes first
        assert np.array_equal(next(reader.read([0])).image, expected)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(tmp_path: Path, transfer: int, name: str) -> None:
    with pytest.raises(VideoError, match=rf"HDR \({name}\)") as caught:
        VideoReader(write(tmp_path / "clip.mp4", colour=Colour(9, 1, 9, transfer)))
    assert caught.value.reason == "unreadable"


def test_interlaced_files_are_recorded_and_counted_once(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.ts", **{"x264-params": "tff=1"})
    with VideoReader(path) as reader, VideoReader(write(tmp_path / "plain.mp4")) as plain:
        assert (reader.info.interlaced, plain.info.interlaced) == (True, False)
        assert reader.info.frame_count == 10
        assert all(frame.image is not None for frame in reader.read(range(10)))


@pytest.mark.parametrize("matrix", [8, 10, 11, 12, 13, 14])  # YCgCo, ..., SMPTE 2085, ..., ICtCp
def test_a_matrix_that_ffmpeg_cannot_convert_is_refused_when_the_file_is_opened(tmp_path: Path, matrix: int) -> None:
    with pytest.raises(VideoError, match=f"number {matrix} of ITU-T H.273") as caught:
        VideoReader(write(tmp_path / "clip.mp4", colour=Colour(matrix, 1, 1, 1)))
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize("matrix", [1, 2, 4, 5, 6, 7, 9])
def test_every_other_matrix_is_read(tmp_path: Path, matrix: int) -> None:
    path = write(tmp_path / "clip.mp4", colour=Colour(matrix, 1, 1, 1))
    with VideoReader(path) as reader:
        assert np.abs(next(reader.read([3])).image[5, 5].astype(int) - (40, 120, 90)).max() < 30


def test_tagged_gray_is_read(make_video: Callable[..., Path]) -> None:
    path = make_video(
        "clip.mp4", np.full((3, 64, 64, 3), 90, np.uint8), pix_fmt="gray", **{"x264-params": "colormatrix=YCgCo"}
    )
    with VideoReader(path) as reader:
        assert np.abs(next(reader.read([1])).image.astype(int) - 90).max() < 5


def test_a_demuxer_that_breaks_ends_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaking:
        def __init__(self, container: object) -> None:
            self.container = container

        def demux(self, stream: object):
            for number, packet in enumerate(self.container.demux(stream)):
                if number == 6:
                    raise IndexError("list index out of range")
                yield packet

    demux = source.demux
    for module in ("probe", "pyav"):
        monkeypatch.setattr(
            f"facemill.pipeline.decode.{module}.demux",
            lambda container, stream, deadline: demux(Breaking(container), stream, deadline),
        )
    with VideoReader(write(tmp_path / "clip.mkv", **{"bf": "0"})) as reader:
        assert [frame.image is None for frame in reader.read(range(reader.info.frame_count))] == [False] * 6


def test_the_deadline_bounds_the_wait_for_a_packet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that runs 0.4 s between any two looks at it: the file takes longer than a second, no packet does."""
    now = iter(np.arange(0, 1000, 0.4))
    monkeypatch.setattr(source, "time", SimpleNamespace(monotonic=lambda: float(next(now))))
    with VideoReader(write(tmp_path / "clip.mp4"), DecodeSettings(timeout_s=1)) as reader:
        assert len(list(reader.read(range(10)))) == 10
    with pytest.raises(VideoError) as caught:
        VideoReader(tmp_path / "clip.mp4", DecodeSettings(timeout_s=0.3))
    assert caught.value.reason == "decode_timeout"


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
@pytest.mark.parametrize("part", [1.0, 0.5])
def test_a_matroska_file_whose_end_is_missing_says_how_many_frames_it_should_hold(
    tmp_path: Path, rng: np.random.Generator, suffix: str, part: float
) -> None:
    frames = rng.integers(0, 255, (60, 96, 128, 3), np.uint8)
    options = {"codec": "libvpx", "b:v": "2M", "crf": "10"} if suffix == "webm" else {}
    whole = encode_video(tmp_path / f"whole.{suffix}", frames, **options).read_bytes()
    path = tmp_path / f"part.{suffix}"
    path.write_bytes(whole[: int(len(whole) * part)])
    info = VideoReader(path).info
    if part == 1:
        assert (info.frame_count, info.declared_frames) == (60, None)
    else:
        assert info.frame_count < 50
        assert info.declared_frames == pytest.approx(60, abs=1)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photograph_is_turned_as_its_exif_says(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(np.add.outer(np.arange(96) * 2, np.arange(128)).astype(np.uint8)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    [frame] = VideoReader(tmp_path / "photo.jpg").read([0])
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "photo.jpg")))
    assert frame.image is not None
    assert frame.image.shape == expected.shape
    assert np.abs(frame.image.astype(int) - expected).max() <= 3


def test_a_png_with_a_colour_profile_does_not_crash_the_process(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (32, 24), (9, 99, 199)).save(tmp_path / "profile.png", icc_profile=profile)
    read = "[frame] = VideoReader(sys.argv[1]).read([0]); print(frame.image[0, 0]); del frame; gc.collect()"
    code = f"import gc, sys; from facemill.pipeline.decode import VideoReader; {read}"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "profile.png"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[  9  99 199]\n")


FIELDS = {"x264-params": "bff=1", "flags": "+ildct+ilme", "bf": "2"}


def moving_bar(at: float) -> np.ndarray:
    """Gray [96, 128], a bar of 24 pixels."""
    return np.where(np.abs(np.arange(128) - at) < 12, 220, 40).astype(np.uint8)[None].repeat(96, axis=0)


def interlaced_clip(path: Path, frames: int = 24) -> list[np.ndarray]:
    """Write a bar that moves by 2 pixels a field; returns what the first fields show, as full images.

    The lower lines come first: libx264 takes the order of the fields from the frames, which PyAV marks so.
    """
    shown = [moving_bar(20 + 4 * i) for i in range(frames)]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "4", **FIELDS})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for i, image in enumerate(shown):
            woven = image.copy()
            woven[::2] = moving_bar(22 + 4 * i)[::2]
            picture = av.VideoFrame.from_ndarray(np.stack([woven] * 3, axis=-1), format="rgb24")
            output.mux(stream.encode(picture.reformat(format="yuv420p", interpolation="AREA")))
        output.mux(stream.encode())
    return shown


def combing(images: list[np.ndarray]) -> float:
    """Gray levels by which lines differ from the mean of the two beside them."""
    stack = np.stack(images)[..., 1].astype(float)
    return float(np.abs(stack[:, 1:-1] - (stack[:, :-2] + stack[:, 2:]) / 2).mean())


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
def test_fields_are_taken_apart_on_demand(tmp_path: Path, name: str) -> None:
    shown = interlaced_clip(path := tmp_path / name)
    with VideoReader(path) as woven, VideoReader(path, DecodeSettings(deinterlace=True)) as reader:
        before = [frame.image for frame in woven.read(range(24))]
        after = [frame.image for frame in reader.read(range(24))]
        assert reader.info.interlaced
        assert (len(before), len(after), reader.info.frame_count) == (24, 24, 24)
        assert combing(before) > 3
        assert combing(after) < 0.5
        error = [np.abs(a[..., 1].astype(float) - b).mean() for a, b in zip(after, shown, strict=True)]
        assert max(error) < 3, "each shows the moment of its first field"


def test_a_deinterlaced_frame_does_not_depend_on_which_others_are_read(tmp_path: Path) -> None:
    interlaced_clip(path := tmp_path / "clip.mp4")
    with VideoReader(path, DecodeSettings(deinterlace=True)) as reader:
        full = [frame.image for frame in reader.read(range(24))]
        seen: list[int] = []
        chosen = list(reader.read([0, 7, 8, 20], observer=lambda index, _: seen.append(index)))
        assert [frame.index for frame in chosen] == [0, 7, 8, 20]
        assert all(np.array_equal(frame.image, full[frame.index]) for frame in chosen)
        assert seen == list(range(21))
        assert np.array_equal(next(reader.read([23])).image, full[23])
        assert list(reader.read([])) == []


def test_files_without_fields_stay_as_they_are(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "clip.mp4", np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3), np.uint8))
    with VideoReader(path) as plain, VideoReader(path, DecodeSettings(deinterlace=True)) as reader:
        for a, b in zip(plain.read(range(6)), reader.read(range(6)), strict=True):
            assert np.array_equal(a.image, b.image)


def test_decord_does_not_deinterlace() -> None:
    with pytest.raises(ValueError, match="needs another 'backend' than 'decord'"):
        DecodeSettings(backend="decord", deinterlace=True)


def test_damage_between_fields_costs_no_other_frame(tmp_path: Path) -> None:
    interlaced_clip(path := tmp_path / "clip.mp4")
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    pictures[5] = None
    result = list(deinterlaced(iter(enumerate(pictures))))
    assert [index for index, picture in result if picture is None] == [5]
    assert [index for index, _ in result] == list(range(24))
    images = [picture.to_ndarray(format="rgb24") for _, picture in result if picture is not None]
    assert combing(images[:4] + images[6:]) < 0.5
