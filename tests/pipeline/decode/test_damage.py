"""Damaged files compared with the intact originals: every frame is either right or withheld."""

import errno
import os
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facemill import VideoError
from facemill.manifests import blame
from facemill.manifests.codes import Reason
from facemill.pipeline.decode import VideoReader
from facemill.pipeline.decode.nal import FrameNumbers, is_disposable, length_size
from facemill.pipeline.decode.source import blamed_on
from facemill.pipeline.decode.timeline import skipped_times

VISIBLE = 2.0
"""Mean difference in gray levels from which a frame counts as another picture."""
PYRAMID = "keyint=24:bframes=3:b-pyramid=normal:scenecut=0"
KINDS = {
    "h264.mp4": ("libx264", {"x264-params": PYRAMID}),
    "h264.ts": ("libx264", {"x264-params": PYRAMID}),
    "h264.avi": ("libx264", {"x264-params": PYRAMID}),
    "open.mkv": ("libx264", {"x264-params": PYRAMID + ":open-gop=1"}),
    "hevc.mp4": ("libx265", {"x265-params": "keyint=24:log-level=none:pools=1"}),
    "vp8.webm": ("libvpx", {"g": "24", "b": "400k", "deadline": "realtime", "cpu-used": "8", "threads": "1"}),
    "vp9.webm": ("libvpx-vp9", {"g": "24", "b": "400k", "deadline": "realtime", "cpu-used": "8", "threads": "1"}),
    "mpeg4.mp4": ("mpeg4", {"g": "24", "b": "600k", "bf": "2"}),
    "mpeg4.avi": ("mpeg4", {"g": "24", "b": "600k"}),
}


def write(path: Path, frames: np.ndarray, codec: str, **options: str) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    return path


def remux(path: Path, to: Path, change: Callable[[list[av.Packet]], list[av.Packet]]) -> Path:
    """The packets, changed, in another file."""
    with av.open(str(path)) as source, av.open(str(to), "w") as output:
        template = source.streams.video[0]
        stream = output.add_stream_from_template(template, opaque=template.codec_context.name == "libdav1d")
        for packet in change([packet for packet in source.demux(video=0) if packet.size]):
            packet.stream = stream
            output.mux(packet)
    return to


def without(*gone: int) -> Callable[[list[av.Packet]], list[av.Packet]]:
    return lambda packets: [packet for number, packet in enumerate(packets) if number not in gone]


def pictures_of(path: Path) -> dict[int, np.ndarray]:
    """Every picture of an intact file, gray, by its number at 25 frames/s."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    by_time = path.suffix != ".avi"
    return {
        round(picture.time * 25) if by_time else number: gray(picture.to_ndarray(format="rgb24"))
        for number, picture in enumerate(pictures)
    }


def gray(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)


def differing(path: Path, truth: dict[int, np.ndarray]) -> tuple[int, list[int]]:
    """How many frames are handed out, and which of them show nothing that the intact file shows then."""
    wrong, given = [], 0
    with VideoReader(path) as reader:
        for frame in reader.read(range(reader.info.frame_count)):
            if frame.image is not None:
                given += 1
                shown = list(truth) if path.suffix == ".avi" else [round(frame.pts_s * 25)]  # AVI has no clock
                image = gray(frame.image)
                if (
                    min((np.abs(image - truth[number]).mean() for number in shown if number in truth), default=255)
                    > VISIBLE
                ):
                    wrong.append(frame.index)
    return given, wrong


@pytest.mark.parametrize("name", KINDS)
def test_frames_that_lean_on_a_lost_packet_are_withheld(tmp_path: Path, scene: np.ndarray, name: str) -> None:
    codec, options = KINDS[name]
    intact = write(tmp_path / name, scene, codec, **options)
    truth = pictures_of(intact)
    assert differing(intact, truth) == (len(truth), [])
    for seed in range(2):
        rng = random.Random(seed)
        first = rng.randrange(2, 40)
        damaged = remux(intact, tmp_path / f"lost{seed}{intact.suffix}", without(first, first + 1, first + 2))
        given, wrong = differing(damaged, truth)
        assert wrong == []
        assert given >= 12


def test_a_picture_whose_packet_fails_is_withheld_though_it_comes_out(tmp_path: Path, scene: np.ndarray) -> None:
    """The NAL header of an HEVC keyframe is damaged: FFmpeg skips it and shows what was in memory."""
    path = write(tmp_path / "clip.mp4", scene, "libx265", **{"x265-params": "keyint=24:log-level=none:pools=1"})

    def break_second_key(packets: list[av.Packet]) -> list[av.Packet]:
        number = [n for n, packet in enumerate(packets) if packet.is_keyframe][1]
        old = packets[number]
        new = av.Packet(bytes(old)[:4] + bytes(200) + bytes(old)[204:])
        new.pts, new.dts, new.time_base, new.is_keyframe = old.pts, old.dts, old.time_base, True
        return [*packets[:number], new, *packets[number + 1 :]]

    damaged = remux(path, tmp_path / "damaged.mp4", break_second_key)
    given, wrong = differing(damaged, pictures_of(path))
    assert wrong == []
    assert 20 <= given <= 40


@pytest.mark.parametrize("name", ["h264.mp4", "open.mkv", "h264.ts", "hevc.mp4", "mpeg4.mp4"])
def test_what_a_damaged_frame_is_depends_on_nothing_but_the_file(tmp_path: Path, scene: np.ndarray, name: str) -> None:
    codec, options = KINDS[name]
    intact = write(tmp_path / name, scene, codec, **options)
    for seed in range(2):
        rng = random.Random(seed)
        data = bytearray(intact.read_bytes())
        for _ in range(4):
            data[rng.randrange(4000, len(data) * 9 // 10)] ^= 1 << rng.randrange(8)
        damaged = tmp_path / f"rotten{seed}{intact.suffix}"
        damaged.write_bytes(bytes(data))
        some = sorted(rng.sample(range(50), 5))
        with VideoReader(damaged) as one, VideoReader(damaged, threads=2) as two:
            every = [frame.image for frame in one.read(range(one.info.frame_count), every=True)]
            for reader in (one, two):
                for frame in [*reader.read(some), *reader.read(range(len(every)))]:
                    assert np.array_equal(frame.image, every[frame.index]), (seed, frame.index)


def lost(stream: tuple[bytes | None, list[bytes]], *gone: int) -> list[int]:
    """Before which packets others are told to be missing, once some are gone."""
    numbers = FrameNumbers(stream[0])
    return [number for number, packet in enumerate(stream[1]) if number not in gone and numbers.lost_before(packet)]


@pytest.mark.parametrize(("suffix", "profile"), [(".mp4", "high"), (".ts", "main"), (".mkv", "main")])
def test_numbers_of_h264_pictures(tmp_path: Path, scene: np.ndarray, suffix: str, profile: str) -> None:
    """A missing picture that others lean on is missed where it was, one that no other needs is not."""
    path = write(tmp_path / f"clip{suffix}", scene[:30], "libx264", profile=profile, **{"x264-params": PYRAMID})
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        data = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        stream = (codec.extradata, data)
    unneeded = [number for number, packet in enumerate(data) if is_disposable(packet, length_size(stream[0]))]
    assert len(unneeded) > 3
    assert lost(stream) == []
    for number in range(2, 20):
        expected = [] if number in unneeded else [number + 1]
        assert lost(stream, number)[:1] == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([40] * 30, []),
        ([40] * 20 + [120] + [40] * 10, [21]),
        ([33, 34] * 20 + [133] + [33, 34] * 5, [41]),
        ([40, 80] * 20, []),  # made like this
        (np.random.default_rng(0).integers(20, 90, 40).tolist(), []),  # a camera's own pace
        ([40, 120, 40], []),  # too short to tell
    ],
)
def test_packets_missing_from_an_even_grid(steps: list[int], expected: list[int]) -> None:
    times = [0, *np.cumsum(steps).tolist()]
    assert skipped_times(times, Fraction(1, 1000)) == expected


def test_whatever_fails_is_the_files_failure() -> None:
    for error, reason in (
        (IndexError("list index out of range"), Reason.UNREADABLE),
        (av.error.InvalidDataError(1, "no picture"), Reason.UNREADABLE),
        (OSError(5, "Input/output error"), Reason.SYSTEM_ERROR),
        (MemoryError(), Reason.OUT_OF_MEMORY),
        (TypeError("open() got an unexpected keyword argument"), Reason.INTERNAL_ERROR),
        (AttributeError("'Type' object has no attribute 'type'"), Reason.INTERNAL_ERROR),
        (VideoError(Reason.DECODE_TIMEOUT, "late"), Reason.DECODE_TIMEOUT),
    ):
        with pytest.raises(VideoError) as caught, blamed_on(Path("clip.mp4")):
            raise error
        assert caught.value.reason == reason


def test_a_table_that_cannot_be_allocated_is_the_files_failure_unless_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg calls a second table of sample durations (`stts`) a lack of memory."""
    path = write(tmp_path / "clip.mp4", np.zeros((3, 64, 64, 3), np.uint8), "libx264")
    content = path.read_bytes()
    start = content.index(b"stts") - 4
    end = start + int.from_bytes(content[start : start + 4], "big")
    path.write_bytes(content[:end] + content[start:end] + content[end:])
    for room, reason in ((blame.ROOM_BYTES, Reason.UNREADABLE), (1 << 60, Reason.OUT_OF_MEMORY)):
        monkeypatch.setattr(blame, "ROOM_BYTES", room)
        with pytest.raises(VideoError) as caught:
            VideoReader(path)
        assert caught.value.reason == reason


@pytest.mark.parametrize("kept", [0.9, 0.02])
def test_a_file_that_ends_early_since_the_disk_fails_is_not_damaged(
    tmp_path: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch, kept: float
) -> None:
    """FFmpeg makes an end of file of a read error; the index is at the front, as in files for the web."""

    class Failing:
        def __enter__(self) -> "Failing":
            return self

        def __exit__(self, *_: object) -> None: ...

        def close(self) -> None: ...

        def read(self, size: int) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "clip.mp4"
    source = write(tmp_path / "whole.mp4", scene, "libx264")
    with av.open(str(source)) as whole, av.open(str(path), "w", options={"movflags": "faststart"}) as output:
        stream = output.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    content = path.read_bytes()
    first = content.index(b"mdat")
    path.write_bytes(content[: first + int(kept * (len(content) - first))])
    if kept > 0.5:
        info = VideoReader(path).info
        assert info.frame_count < (info.declared_frames or 0) == len(scene)
    monkeypatch.setattr(Path, "open", lambda *_, **__: Failing())
    with pytest.raises(VideoError, match=r"clip\.mp4 cannot be read \(Input/output error\)") as caught:
        VideoReader(path)
    assert caught.value.reason == Reason.SYSTEM_ERROR


def test_an_observer_that_cannot_convert_a_picture_does_not_break_the_group(tmp_path: Path, scene: np.ndarray) -> None:
    path = write(tmp_path / "clip.mp4", scene[:5], "libx264")

    def fails(index: int, picture: object) -> None:
        raise OSError(22, "Invalid argument")

    with VideoReader(path) as reader, pytest.raises(VideoError, match=r"clip\.mp4"):
        list(reader.read([3], observer=fails))


@pytest.mark.parametrize("kept", [1, 6, 1000])
def test_a_slice_without_a_header_costs_its_own_group_of_pictures(tmp_path: Path, scene: np.ndarray, kept: int) -> None:
    """Zeros from the first byte of a slice on: the number of its picture cannot be told."""
    whole = write(tmp_path / "whole.mp4", scene, "libx264", **{"x264-params": PYRAMID})

    def blank(packets: list[av.Packet]) -> list[av.Packet]:
        number, units = 30, 4
        data = bytes(packets[number])
        assert data[units] & 31 == 1  # a slice, and nothing before it
        data = data[: units + 1] + bytes(len(data) - units - 1)
        short = (kept).to_bytes(units, "big") + data[units : units + kept]
        changed = av.Packet(short if kept < len(data) else data)
        changed.pts, changed.dts, changed.time_base = (getattr(packets[number], n) for n in ("pts", "dts", "time_base"))
        return [*packets[:number], changed, *packets[number + 1 :]]

    path = remux(whole, tmp_path / "blank.mp4", blank)
    with VideoReader(path) as reader:
        frames = list(reader.read(range(reader.info.frame_count)))
    intact = [frame.index for frame in frames if frame.image is not None]
    assert set(range(24)) <= set(intact)
    assert set(range(48, len(scene))) <= set(intact)
    truth = pictures_of(whole)
    shown = [frame for frame in frames if frame.image is not None]
    assert all(np.abs(gray(frame.image) - truth[frame.index]).mean() < VISIBLE for frame in shown)
