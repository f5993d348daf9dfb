"""The cost of a probe, and that its shortcuts do not change the result."""

from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from facemill.pipeline.config.sections import DecodeSettings
from facemill.pipeline.decode import VideoReader
from facemill.pipeline.decode import probe as module
from facemill.pipeline.decode.timeline import Timeline
from tests.pipeline.decode.test_decode import encode

FRAMES = 30
EMPTY_VOP = bytes.fromhex("000001b6 56 40 00")
CLUSTER = bytes.fromhex("1f43b675")
"""Element ID of a Matroska cluster."""


def decoded(path: Path) -> int:
    """Pictures that PyAV alone gets out of a file; packets that do not decode give none."""
    found = 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            with suppress(av.error.InvalidDataError):
                found += len(packet.decode())
    return found


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pictures that each packet gave while files were probed."""
    counts: list[int] = []
    decode = module.decode

    def counting(context: object, packet: object) -> tuple[list[object], bool]:
        found = decode(context, packet)
        counts.append(len(found[0]))
        return found

    monkeypatch.setattr(module, "decode", counting)
    return counts


@pytest.mark.parametrize(("name", "between"), [("a.avi", "0"), ("a.avi", "2"), ("a.mp4", "2"), ("a.mkv", "2")])
def test_mpeg4_part_2_is_counted_without_decoding_it(
    make_video: Callable[..., Path], rng: np.random.Generator, pictures: list[int], name: str, between: str
) -> None:
    path = make_video(name, rng.integers(0, 255, (FRAMES, 64, 96, 3), np.uint8), codec="mpeg4", bf=between)
    with VideoReader(path) as reader:
        assert sum(pictures) == 1
        assert reader.info.frame_count == FRAMES == decoded(path)
        frames = list(reader.read(range(FRAMES)))
    assert all(frame.image is not None for frame in frames)
    assert [frame.pts_s for frame in frames] == pytest.approx(np.arange(FRAMES) / 25, abs=1e-3)


def test_where_packets_hold_two_pictures_or_none_they_are_decoded(
    make_video: Callable[..., Path], tmp_path: Path, rng: np.random.Generator, pictures: list[int]
) -> None:
    """As DivX packs a picture with the next one, and follows that by a packet that shows nothing."""
    plain = make_video("plain.avi", rng.integers(0, 255, (FRAMES, 64, 96, 3), np.uint8), codec="mpeg4")
    packed = tmp_path / "packed.avi"
    with av.open(str(plain)) as source, av.open(str(packed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        data = [bytes(packet) for packet in packets]
        data[10], data[11] = data[10] + data[11], EMPTY_VOP
        for packet, content in zip(packets, data, strict=True):
            new = av.Packet(content)
            new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
            new.is_keyframe, new.stream = packet.is_keyframe, stream
            target.mux(new)
    with VideoReader(packed) as reader:
        assert sum(pictures) > 1
        assert reader.info.frame_count == decoded(packed)


def test_av1_is_looked_at_once_for_how_well_it_keeps_to_the_standard(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    is_conforming = module.is_conforming
    monkeypatch.setattr(module, "is_conforming", lambda *given: asked.append(is_conforming(*given)) or asked[-1])
    opened = []
    open_file = av.open
    with VideoReader(media / "videos" / "tc_av1_video.mkv") as reader:
        monkeypatch.setattr(av, "open", lambda *given, **options: opened.append(1) or open_file(*given, **options))
        for _ in range(3):
            assert next(reader.read([0])).image is not None
    assert (len(asked), len(opened)) == (1, 3)


def test_times_are_rounded_as_their_fractions_are() -> None:
    pts = tuple(range(10_007, 10_007 * 400, 10_007))
    for base in (Fraction(1, 90_000), Fraction(1001, 30_000), Fraction(1, 10**9 + 7)):
        timeline = Timeline(pts, base, by_pts=True)
        assert [timeline.seconds(index, 0) for index in range(len(pts))] == [float(time * base) for time in pts]


GROUPS = {"x264_params": "keyint=12:min-keyint=12:scenecut=0:bframes=0"}


def test_a_damaged_first_frame_is_still_the_first(tmp_path: Path) -> None:
    """Nothing is decoded before the second one; all keep their numbers."""
    path = encode(tmp_path / "clip.avi", codec="mjpeg", pix_fmt="yuvj420p")
    whole = frame_count(path)
    with av.open(str(path)) as container:
        packet = next(container.demux(video=0))
        place, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[place : place + size] = bytes(size)
    path.write_bytes(data)
    assert (whole, frame_count(path), decoded(path)) == (60, 60, 59)


def test_frames_before_the_first_keyframe_of_a_cut_recording_do_not_count(tmp_path: Path) -> None:
    whole, part = encode(tmp_path / "whole.mkv", **GROUPS), tmp_path / "part.mkv"
    with av.open(str(whole)) as source, av.open(str(part), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if number >= 5 and packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert frame_count(part) == decoded(part) == 48


def frame_count(path: Path) -> int:
    with VideoReader(path, DecodeSettings()) as reader:
        return reader.info.frame_count


def test_times_that_go_back_are_no_clock(make_video: Callable[..., Path], rng: np.random.Generator) -> None:
    """As in a Matroska file in which a cluster appears twice: all frames decode, and are numbered as they come."""
    path = make_video("a.mkv", rng.integers(0, 255, (12, 64, 96, 3), np.uint8), codec="ffv1", g="4")
    head, *clusters = path.read_bytes().split(CLUSTER)
    path.write_bytes(CLUSTER.join([head, *clusters[:2], clusters[0]]))
    with VideoReader(path) as reader:
        assert reader.info.frame_count == 12
        assert reader.times == pytest.approx(np.arange(12) / 25)
        assert [frame.pts_s for frame in reader.read([3, 4, 8])] == pytest.approx([0.12, 0.16, 0.32])
