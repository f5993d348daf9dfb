"""What a reader refuses, how long it waits, and which resources it leaves open."""

import gc
import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from av.container import InputContainer

from facemill import VideoError
from facemill.pipeline.config.sections import DecodeSettings
from facemill.pipeline.decode import VideoReader, decord_backend

BOTH = pytest.mark.parametrize("backend", ["pyav", "decord"])


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), dtype=np.uint8)


@pytest.fixture
def clip(make_video, noise) -> Path:
    return make_video("clip.mp4", noise)


def remux(path: Path, to: Path, title: str = "", **options: str) -> Path:
    """The same packets in another file."""
    with av.open(str(to), "w", options=options) as output, av.open(f"file:{path}") as source:
        output.metadata["title"] = title
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return to


@BOTH
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.mp4", "unreadable"),
        ("text_not_video.mp4", "unreadable"),
        ("truncated_conan.mp4", "unreadable"),
        ("truncated.jpg", "unreadable"),
        ("audio_only.mp4", "no_video_stream"),
        ("not_there.mp4", "missing_file"),
        ("", "unreadable"),
    ],
)
def test_hostile_files_fail_with_their_reason(media: Path, name: str, reason: str, backend: str) -> None:
    with pytest.raises(VideoError) as caught:
        VideoReader(media / "hostile" / name, DecodeSettings(backend=backend))
    assert caught.value.reason == reason
    assert str(media / "hostile" / name) in str(caught.value)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="not a regular file"):
        VideoReader(tmp_path / "pipe.mp4")


def test_a_colon_in_the_name_and_broken_metadata(make_video, noise) -> None:
    path = make_video("concat:a.mkv", noise[:2])
    tagged = remux(path, path.with_name("tagged.mkv"), title="TITLETITLE")
    tagged.write_bytes(tagged.read_bytes().replace(b"TITLETITLE", b"\xff" * 10))
    assert VideoReader(path).info.frame_count == VideoReader(tagged).info.frame_count == 2


def test_a_file_cut_short_yields_what_it_has(clip: Path) -> None:
    clip = remux(clip, clip.with_name("index_first.mp4"), movflags="faststart")
    whole = list(VideoReader(clip).read(range(40)))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 6 // 10])
    for threads in (1, 2):
        with VideoReader(clip, threads=threads) as reader:
            held = reader.info.frame_count
            assert (held < 40, reader.info.declared_frames) == (True, 40)
            frames = list(reader.read(range(held)))
        # The last packet is cut itself.
        assert [frame.image is None for frame in frames] == [False] * (held - 1) + [True]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(frames[:-1], whole, strict=False))


def test_a_rotten_picture_takes_along_what_leans_on_it(make_video, noise) -> None:
    """Groups of ten: damage in frame 13 costs 13 to 19, and nothing else."""
    path = make_video("clip.mkv", noise, **{"x264-params": "keyint=10:scenecut=0:bframes=0"})
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][13]
        rotten = bytes(packet)
    start = path.read_bytes().index(rotten)
    with path.open("r+b") as file:
        file.seek(start + len(rotten) // 4)
        file.write(b"\xa5" * (len(rotten) // 2))
    for threads in (1, 2):
        with VideoReader(path, threads=threads) as reader:
            missing = [frame.index for frame in reader.read(range(40)) if frame.image is None]
            assert missing == list(range(13, 20))
            assert [frame.image is None for frame in reader.read([12, 19, 20])] == [False, True, False]


def test_a_cover_picture_is_no_video(tmp_path: Path, noise) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        audio = output.add_stream("aac", rate=16000)
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 96, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        output.mux(cover.encode(av.VideoFrame.from_ndarray(noise[0], format="rgb24")))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        sound.rate = 16000
        output.mux(audio.encode(sound))
        output.mux(audio.encode())
    with pytest.raises(VideoError) as caught:
        VideoReader(path)
    assert caught.value.reason == "no_video_stream"


def test_a_size_that_changes_midway_is_refused(tmp_path: Path, noise) -> None:
    path = tmp_path / "two_sizes.ts"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        small = av.CodecContext.create("libx264", "w")
        small.height, small.width, small.pix_fmt, small.time_base = 32, 48, "yuv420p", Fraction(1, 25)
        small.framerate = 25
        packets = []
        for encoder, start in ((stream.codec_context, 0), (small, 10)):
            for index in range(start, start + 10):
                image = noise[index, : encoder.height, : encoder.width].copy()
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                picture.pts, picture.time_base = index, small.time_base
                packets += encoder.encode(picture)
            packets += encoder.encode(None)
        for packet in packets:
            packet.stream = stream
            output.mux(packet)
    with VideoReader(path) as reader:
        assert [frame.image.shape for frame in reader.read([0, 9])] == [(64, 96, 3)] * 2
        with pytest.raises(VideoError, match="48x32 after others of 96x64"):
            list(reader.read([0, 15]))


def test_indices_are_checked_at_once(clip: Path) -> None:
    with VideoReader(clip) as reader:
        for wrong in ([3, 3], [4, 2], [-1], [40]):
            with pytest.raises(ValueError, match="Frame indices must"):
                reader.read(wrong)
        assert list(reader.read([])) == []
    with pytest.raises(ValueError, match="closed"):
        reader.read([0])


@BOTH
def test_reads_interleave(clip: Path, backend: str) -> None:
    settings = DecodeSettings(backend=backend)
    with VideoReader(clip, settings) as one, VideoReader(clip, settings) as two:
        first, second, again = one.read([1, 5, 9]), two.read([2, 5, 39]), one.read([5])
        indices = [next(reading).index for reading in (first, second, again, first, second)]
        assert indices == [1, 2, 5, 5, 5]
        one.close()
        assert list(first) == []
        assert next(second).index == 39


@BOTH
def test_waiting_is_bounded(clip: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VideoError) as caught:
        VideoReader(clip, DecodeSettings(backend=backend, timeout_s=1e-6))
    assert caught.value.reason == "decode_timeout"

    def hanging(*_: object):
        yield 40
        time.sleep(60)

    if backend == "decord":
        monkeypatch.setattr(decord_backend, "_images", hanging)
        reader = VideoReader(clip, DecodeSettings(backend="decord", timeout_s=0.3))
        with pytest.raises(VideoError) as caught:
            next(reader.read([0]))
        assert caught.value.reason == "decode_timeout"


def test_ffmpeg_is_told_how_long_it_may_wait(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever blocks inside FFmpeg, such as a disk that does not answer, ends only if FFmpeg itself gives up."""
    opened: list[dict[str, object]] = []
    open_file = av.open

    def note(file: str, **options: object) -> object:
        opened.append(options)
        return open_file(file, **options)

    monkeypatch.setattr(av, "open", note)
    with VideoReader(clip, DecodeSettings(timeout_s=7)) as reader:
        next(reader.read([0]))
    assert len(opened) >= 2
    assert {options.get("timeout") for options in opened} == {7}


def test_a_slow_caller_does_not_time_out(clip: Path) -> None:
    with VideoReader(clip, DecodeSettings(timeout_s=0.5)) as reader:
        frames = reader.read([0, 1, 39])
        time.sleep(0.6)
        next(frames)
        time.sleep(0.6)
        assert [frame.index for frame in frames] == [1, 39]


@pytest.mark.heavy
@BOTH
def test_nothing_is_left_open(clip: Path, backend: str) -> None:
    process = psutil.Process()

    def cycle() -> None:
        with VideoReader(clip, DecodeSettings(backend=backend), threads=2) as reader:
            next(reader.read([0, 20]))
            list(reader.read([3]))

    def rest() -> tuple[int, int]:
        time.sleep(0.2)  # decord's threads end a moment after the reader
        return process.num_fds(), process.num_threads()

    for _ in range(30):
        cycle()
    files, threads = rest()
    memory = process.memory_info().rss
    for _ in range(120):
        cycle()
    assert rest() == (files, threads)
    assert process.memory_info().rss - memory < 24 << 20


def test_pictures_go_without_the_collector_of_cycles(clip: Path) -> None:
    """It comes seldom, and each picture of full HD takes 3 MB."""

    def held() -> int:
        return sum(type(each) in (av.VideoFrame, InputContainer) for each in gc.get_objects())

    gc.collect()
    before = held()  # by other tests
    gc.disable()
    try:
        with VideoReader(clip) as reader:
            seen: list[int] = []
            frames = reader.read([0, 20], observer=lambda index, picture: seen.append(index), every=True)
            assert len([*frames]) == 2
            after = held()
    finally:
        gc.enable()
    assert len(seen) > 20
    assert after - before <= 1  # the first picture, whose side data the probe has looked at


@BOTH
def test_ffmpeg_is_silent(media: Path, backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("text_not_video.mp4", "bitrot_lp_d10.mp4", "truncated_conan.mp4"):
        try:
            with VideoReader(media / "hostile" / name, DecodeSettings(backend=backend)) as reader:
                list(reader.read([240]))
        except VideoError:
            continue
    assert capfd.readouterr() == ("", "")


def test_import_is_light() -> None:
    code = "import sys, facemill.pipeline.decode; print([name for name in ('torch', 'decord') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


READ_WITH_A_LOG = """
import sys
import av.logging
from facemill.pipeline.decode import VideoReader
for _ in range(5):
    av.logging.set_level(av.logging.ERROR)
    with VideoReader(sys.argv[1], threads=2) as reader:
        print(sum(frame.image is not None for frame in reader.read(range(reader.info.frame_count))))
"""


@pytest.mark.heavy
def test_a_log_that_somebody_else_turned_on_hangs_no_damaged_file(media: Path) -> None:
    """Importing torchvision 0.23 turns it on; without care, two of three readings never end."""
    command = [sys.executable, "-c", READ_WITH_A_LOG, str(media / "hostile/bitrot_lp_d10.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["235"] * 5


def test_what_decord_fails_with_is_told_of_the_file(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object):
        raise OverflowError
        yield

    monkeypatch.setattr(decord_backend, "_images", failing)
    with pytest.raises(VideoError) as caught:
        VideoReader(clip, DecodeSettings(backend="decord"))
    assert caught.value.reason == "unreadable"
    assert f"decord cannot be used on {clip} (it fails with OverflowError)" in caught.value.message
