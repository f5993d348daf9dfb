"""Degraded copies of a manifest's videos, made of small clips and of real media."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from facemill import ConfigError
from facemill.manifests import VideoEntry, read_videos, write_videos
from facemill.pipeline.commands.cli import app
from facemill.pipeline.decode import VideoReader
from facemill.pipeline.degrade import Degradation, degrade
from tests.conftest import encode_video

FRAMES = 6


def scene(seed: int, size: tuple[int, int] = (96, 128), frames: int = FRAMES) -> np.ndarray:
    """Moving texture, uint8 RGB [N, H, W, 3]."""
    height, width = size
    coarse = np.random.default_rng(seed).integers(30, 226, (height // 8 + 2, width // 8 + 20, 3), np.uint8)
    wide = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    return np.stack([wide[:height, 4 * t : 4 * t + width] for t in range(frames)])


def frames_of(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return np.stack([frame.image for frame in reader.read(range(reader.info.frame_count))]).astype(float)


def times_of(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return reader.times


def entry(name: str, root: Path, label: int = 0, **fields: object) -> VideoEntry:
    video_id = f"toy-{'swap' if label else 'real'}-native-{name}"
    method = "swap" if label else "real"
    return VideoEntry(video_id, "toy", method, label, "native", "train", str(root), f"{name}.mp4", **fields)


@pytest.fixture
def pair(tmp_path: Path) -> list[VideoEntry]:
    root = tmp_path / "videos"
    for name in ("a", "b"):
        encode_video(root / f"{name}.mp4", scene(ord(name)))
    encode_video(root / "masks" / "b.mp4", scene(3))
    real = entry("a", root, subject_ids=("toy-1",))
    return [real, entry("b", root, 1, source_id=real.video_id, mask_path="masks/b.mp4", subject_ids=("toy-1", "toy-2"))]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.mp4")}


def test_pairs_splits_and_masks_carry_over(pair: list[VideoEntry], tmp_path: Path) -> None:
    report = degrade(pair, tmp_path / "out", [Degradation(23), Degradation(40)], workers=1)
    assert report.failures == []
    read = {video.video_id: video for video in read_videos(tmp_path / "out" / "videos.parquet")}
    assert set(read) == {f"toy-{name}" for q in ("c23", "c40") for name in (f"real-{q}-a", f"swap-{q}-b")}
    for quality in ("c23", "c40"):
        real, fake = read[f"toy-real-{quality}-a"], read[f"toy-swap-{quality}-b"]
        assert (real.quality, fake.quality, fake.source_id) == (quality, quality, real.video_id)
        assert (fake.split, fake.label, fake.method) == ("train", 1, "swap")
        assert fake.subject_ids == ("toy-1", "toy-2")
        mask = Path(fake.root) / fake.mask_path
        assert mask.read_bytes() == (tmp_path / "videos" / "masks" / "b.mp4").read_bytes()
        assert np.array_equal(times_of(Path(fake.root) / fake.path), times_of(tmp_path / "videos" / "b.mp4"))
    assert len(pq.read_table(tmp_path / "out" / "failures.parquet")) == 0


def test_a_higher_rate_factor_is_a_worse_and_smaller_video(pair: list[VideoEntry], tmp_path: Path) -> None:
    degrade(pair[:1], tmp_path / "out", [Degradation(10), Degradation(23), Degradation(40)], workers=1)
    original = frames_of(tmp_path / "videos" / "a.mp4")
    paths = [tmp_path / "out" / f"c{crf}" / f"toy-real-c{crf}-a.mp4" for crf in (10, 23, 40)]
    errors = [np.abs(frames_of(path) - original).mean() for path in paths]
    assert errors[0] < 2.5
    assert errors[0] < errors[1] < errors[2]
    assert paths[0].stat().st_size > paths[1].stat().st_size > paths[2].stat().st_size


def test_resized_videos_have_even_sides_and_say_so(tmp_path: Path) -> None:
    encode_video(tmp_path / "odd.mp4", scene(1, (90, 126)))
    report = degrade([entry("odd", tmp_path)], tmp_path / "out", [Degradation(18, 0.5)], workers=1)
    [made] = report.entries
    assert (made.quality, made.video_id) == ("c18-r50", "toy-real-c18-r50-odd")
    found, expected = frames_of(Path(made.root) / made.path), frames_of(tmp_path / "odd.mp4")
    assert found.shape == (FRAMES, 44, 64, 3)  # of 45 x 63
    smooth = [cv2.GaussianBlur(frame, (0, 0), 3) for frame in expected]  # edges of the texture differ by the filter
    small = np.stack([cv2.resize(frame, (64, 44)) for frame in smooth])
    assert np.abs(np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in found]) - small).mean() < 3


def test_equal_sources_give_equal_bytes_with_any_number_of_workers(pair: list[VideoEntry], tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("three", 3)):
        degrade(pair, tmp_path / name, [Degradation(30)], workers=workers)
    assert contents(tmp_path / "one") == contents(tmp_path / "three") != {}


def test_another_call_keeps_what_is_complete(pair: list[VideoEntry], tmp_path: Path) -> None:
    out = tmp_path / "out"
    degrade(pair, out, [Degradation(30)], workers=1)
    before = contents(out)
    kept, lost = out / "c30" / "toy-real-c30-a.mp4", out / "c30" / "toy-swap-c30-b.mp4"
    stamp = kept.stat().st_mtime_ns
    lost.write_bytes(lost.read_bytes()[:500])
    report = degrade(pair, out, [Degradation(30)], workers=1)
    assert report.skipped == 1
    assert kept.stat().st_mtime_ns == stamp
    assert contents(out) == before
    encode_video(tmp_path / "videos" / "a.mp4", scene(77))  # another source
    assert degrade(pair, out, [Degradation(30)], workers=1).skipped == 1
    assert kept.read_bytes() != before[f"c30/{kept.name}"]


def test_uneven_times_and_the_first_one_are_kept(tmp_path: Path) -> None:
    ticks = [900, 1000, 1040, 1200, 1210, 1500]
    with av.open(str(tmp_path / "vfr.mkv"), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, tick in zip(scene(4), ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    video = dataclasses.replace(entry("vfr", tmp_path), path="vfr.mkv")
    [made] = degrade([video], tmp_path / "out", [Degradation(23)], workers=1).entries
    expected = times_of(tmp_path / "vfr.mkv")
    assert expected == pytest.approx(np.array(ticks) / 1000)
    assert times_of(Path(made.root) / made.path) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["hostile/odd_477x359_h264_444.mp4", "videos/tc_h264_10bits.mp4"])
def test_real_media_become_upright_even_8_bit_and_silent(media: Path, tmp_path: Path, name: str) -> None:
    video = dataclasses.replace(entry("x", media), path=name)
    [made] = degrade([video], tmp_path / "out", [Degradation(12)], workers=1).entries
    path = Path(made.root) / made.path
    with VideoReader(media / name) as source, VideoReader(path) as target:
        assert target.info.frame_count == source.info.frame_count
        assert (target.info.rotation, target.info.pix_fmt) == (0, "yuv420p")
        assert (target.info.width, target.info.height) == (source.info.width // 2 * 2, source.info.height // 2 * 2)
        assert target.times == pytest.approx(source.times, abs=1e-4)
        middle = [source.info.frame_count // 2]
        (one,), (other,) = source.read(middle), target.read(middle)
        height, width, _ = other.image.shape
        assert np.abs(one.image[:height, :width].astype(float) - other.image).mean() < 5
    with av.open(str(path)) as container:
        assert not container.streams.audio


def test_a_mirrored_and_turned_video_is_upright(tmp_path: Path) -> None:
    """Each of a frame's corners has a colour of its own."""
    frames = np.zeros((FRAMES, 64, 96, 3), np.uint8)
    frames[:, :32, :48], frames[:, :32, 48:], frames[:, 32:, :48] = (200, 30, 30), (30, 200, 30), (30, 30, 200)
    with av.open(str(tmp_path / "x.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.set_display_matrix((0, 1 << 16, 0, 1 << 16, 0, 0, 0, 0, 1 << 30))  # transposed
        for image in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        file.mux(stream.encode())
    [made] = degrade([entry("x", tmp_path)], tmp_path / "out", [Degradation(10)], workers=1).entries
    found, expected = frames_of(Path(made.root) / made.path), frames_of(tmp_path / "x.mp4")
    assert found.shape == (FRAMES, 96, 64, 3)
    assert np.abs(found - expected).mean() < 3
    assert expected[0, 10, 50].argmax() == 2  # blue was below red, and is now to its right


def test_a_bad_video_costs_one_line(pair: list[VideoEntry], tmp_path: Path) -> None:
    root = tmp_path / "videos"
    (root / "a.mp4").write_bytes(b"text" * 100)
    write_videos([*pair, entry("gone", root)], tmp_path / "videos.parquet")
    ended = call(tmp_path, "--crf", "40")
    assert ended.exit_code == 3
    assert f"{pair[0].video_id}: " in ended.output
    assert "There is no file" in ended.output
    [made] = read_videos(tmp_path / "out" / "videos.parquet")
    assert (made.video_id, made.source_id) == ("toy-swap-c40-b", None)
    failures = pq.read_table(tmp_path / "out" / "failures.parquet")["video_id"].to_pylist()
    assert failures == [pair[0].video_id, "toy-real-native-gone"]
    assert not [*(tmp_path / "out").rglob("*.tmp")]


def test_a_damaged_frame_is_a_failure(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "cut.mp4", scene(1, frames=40), g="10")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(bytes(data))
    report = degrade([entry("cut", tmp_path)], tmp_path / "out", [Degradation(40)], workers=1)
    assert report.entries == []
    assert "frames of" in report.failures[0].message
    assert not contents(tmp_path / "out")


def call(folder: Path, *args: object) -> Result:
    words = ["degrade", folder / "videos.parquet", "--out", folder / "out", "--workers", 1, *args, "--quiet"]
    return CliRunner().invoke(app, list(map(str, words)))


def test_the_command_continues_its_own_folder_only(pair: list[VideoEntry], tmp_path: Path) -> None:
    write_videos(pair, tmp_path / "videos.parquet")
    ended = call(tmp_path, "--crf", "23,40", "--resize", "0.5")
    assert ended.exit_code == 0, ended.output
    assert "4 videos -> " in ended.output
    assert "(4 files of an earlier run)" in call(tmp_path, "--crf", "23,40", "--resize", "0.5").output
    (tmp_path / "out" / ".facemill-degrade").unlink()
    assert isinstance(call(tmp_path).exception, ConfigError)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--crf", "52"), "from 0 .* to 51, not 52"),
        (("--crf", "a"), "no list of whole numbers"),
        (("--crf", "40,40"), "given twice"),
        (("--resize", "1.5"), "not by 1.5"),
        (("--resize", "0.333"), "whole percent"),
        (("--codec", "vp9"), "not as vp9"),
    ],
)
def test_bad_arguments_are_refused(pair: list[VideoEntry], tmp_path: Path, args: tuple[str, str], message: str) -> None:
    write_videos(pair, tmp_path / "videos.parquet")
    with pytest.raises(ConfigError, match=message):
        raise call(tmp_path, *args).exception
    assert not (tmp_path / "out").exists()


def test_two_qualities_of_a_video_are_refused(pair: list[VideoEntry], tmp_path: Path) -> None:
    other = dataclasses.replace(pair[0], video_id="toy-real-c23-a", quality="c23")
    with pytest.raises(ConfigError, match="several qualities"):
        degrade([*pair, other], tmp_path / "out", [Degradation(40)])
    assert not (tmp_path / "out").exists()


def test_what_is_no_local_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for root, path in ((str(tmp_path), "folder"), ("s3://bucket", "a.mp4"), (str(tmp_path), "part.zip/a.mp4")):
        video = dataclasses.replace(entry("x", tmp_path), root=root, path=path)
        with pytest.raises(ConfigError, match="no local video file"):
            degrade([video], tmp_path / "out", [Degradation(40)])
