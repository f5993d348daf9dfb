"""Decoding on a GPU, played by the CPU's decoders, which give NV12 as it does and fail in every way that it may."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from facemill import ConfigError
from facemill.manifests import VideoEntry
from facemill.manifests.shards.dataset import read_dataset
from facemill.manifests.shards.summary import summarise
from facemill.pipeline.build.job import build
from facemill.pipeline.clips import clip
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.config.sections import DecodeSettings
from facemill.pipeline.decode import Frame, VideoReader, nvdec, thumbnail_of
from tests.pipeline.build.test_shard import BIG
from tests.pipeline.conftest import film

LONG = pytest.mark.long
NVDEC = DecodeSettings(backend="nvdec")
BY_CODEC = {
    "h264": "videos/lp_d18.mp4",
    "h264, rotated": "hostile/rot90_lp_d13.mp4",
    "hevc": "videos/tc_h265_video.mp4",
    "vp9": "videos/moviepy_no_duration.webm",
    "av1": "videos/tc_av1_video.mkv",
}
Alter = Callable[[int, Any, str], list[Any]]
"""Gives what the GPU returns instead of the n-th NV12 frame of a file, of which it is told the name."""


class FakeGPU:
    """Decodes with the CPU's decoder; as on a GPU, frames are NV12, and damage to packets is concealed.

    Attributes:
        frames: number of frames that it has returned.
        opened: number of files that it was given.
        own: number of times that FFmpeg opened a file with it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alter: Alter = lambda number, frame, name: [frame]
        self.frames = self.opened = self.own = 0
        monkeypatch.setattr(nvdec, "_accel", self.accel)
        monkeypatch.setattr(nvdec, "_context", self.context)

    def accel(self, device: str) -> None:
        self.own += 1

    def context(self, stream: Any, codec: str, device: str) -> Any:
        self.opened += 1
        gpu, own, numbers, name = self, stream.codec_context, count(), Path(stream.container.name).stem

        class Context:
            def decode(self, packet: Any) -> list[Any]:
                returned = []
                for frame in own.decode(packet):
                    gpu.frames += 1
                    returned += gpu.alter(next(numbers), frame.reformat(format="nv12", threads=1), name)
                return returned

        return Context()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGPU:
    return FakeGPU(monkeypatch)


def read(
    path: Path, device: str = "cuda:0", settings: DecodeSettings = NVDEC, **how: bool
) -> tuple[list[Frame], dict[int, np.ndarray], str]:
    """Up to 24 scattered frames, thumbnails of all that are decoded, and why the CPU decoded them."""
    thumbnails = {}
    with VideoReader(path, settings, device=device) as reader:
        wanted = np.unique(np.linspace(0, reader.info.frame_count - 1, 24).round().astype(int)).tolist()
        frames = list(reader.read(wanted, observer=lambda i, f: thumbnails.update({i: thumbnail_of(f)}), **how))
        return frames, thumbnails, reader.on_cpu


def assert_as_on_cpu(path: Path, found: tuple[list[Frame], dict[int, np.ndarray], str], **how: bool) -> None:
    frames, thumbnails, _ = read(path, "cpu", **how)
    assert [(frame.index, frame.pts_s) for frame in found[0]] == [(frame.index, frame.pts_s) for frame in frames]
    for one, other in zip(found[0], frames, strict=True):
        assert np.array_equal(one.image, other.image), one.index
    assert found[1].keys() == thumbnails.keys()
    assert all(np.array_equal(found[1][index], thumbnails[index]) for index in thumbnails)


@pytest.mark.parametrize("name", BY_CODEC.values(), ids=BY_CODEC)
def test_the_same_frames_and_times_as_on_the_cpu(media: Path, gpu: FakeGPU, name: str) -> None:
    found = read(media / name)
    assert found[2] == ""
    assert gpu.opened == 2  # for the first frames, and to read
    assert gpu.own == (0 if name == BY_CODEC["av1"] else 2)  # FFmpeg's choice for AV1 has no hardware decoder
    before = gpu.frames
    assert_as_on_cpu(media / name, found)
    assert gpu.frames == before > 4


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(
    ("size", "codec", "pix_fmt"),
    [((61, 47), "libvpx-vp9", "yuv420p"), ((64, 48), "libx264", "yuvj420p"), ((90, 122), "libx265", "yuv420p")],
    ids=["odd sides", "full range", "hevc"],
)
def test_sizes_and_ranges(
    gpu: FakeGPU, make_video: Callable[..., Path], size: tuple[int, int], codec: str, pix_fmt: str, every: bool
) -> None:
    path = make_video(f"a.{'webm' if 'vp9' in codec else 'mp4'}", film([BIG], 20)[:, : size[0], : size[1]],
                      codec=codec, pix_fmt=pix_fmt)  # fmt: skip
    found = read(path, every=every)
    assert found[2] == ""
    assert gpu.frames > 0
    assert_as_on_cpu(path, found, every=every)


def brightened(frame: Any, levels: int) -> Any:
    """The same NV12 frame with a brighter luma."""
    luma = np.frombuffer(frame.planes[0], np.uint8)
    frame.planes[0].update(np.minimum(luma.astype(int) + levels, 255).astype(np.uint8).tobytes())
    return frame


@pytest.mark.parametrize(("levels", "alike"), [(1, True), (3, False)])
def test_a_video_whose_first_frames_differ_is_left_to_the_cpu(
    media: Path, gpu: FakeGPU, levels: int, alike: bool
) -> None:
    gpu.alter = lambda number, frame, name: [brightened(frame, levels if number == 3 else 0)]
    found = read(media / BY_CODEC["h264"])
    assert found[2] == ("" if alike else "its first frames differ from the CPU's by more than 2 of 255")
    assert gpu.opened == (2 if alike else 1)
    if not alike:
        assert_as_on_cpu(media / BY_CODEC["h264"], found)


def raises(frame: Any) -> Any:
    raise av.error.ExternalError(-1, "CUDA_ERROR_OUT_OF_MEMORY")


def later(frame: Any) -> Any:
    frame.pts += 1
    return frame


FAULTS: dict[str, tuple[Callable[[Any], list[Any]], str]] = {
    "error": (raises, "CUDA_ERROR_OUT_OF_MEMORY"),
    "lost": (lambda frame: [], "a frame is missing or damaged"),
    "another time": (lambda frame: [later(frame)], "a frame is missing or damaged"),
    "layout": (lambda frame: [frame.reformat(format="yuv420p")], "it returns yuv420p of 320x240 instead of nv12 of"),
    "size": (lambda frame: [frame.reformat(width=322)], "it returns nv12 of 322x240 instead of nv12 of 320x240"),
}


@pytest.mark.parametrize("at", [0, 20, 39], ids=["first", "middle", "last"])
@pytest.mark.parametrize("fault", FAULTS)
def test_at_a_fault_the_cpu_takes_over(gpu: FakeGPU, make_video: Callable[..., Path], fault: str, at: int) -> None:
    change, why = FAULTS[fault]
    gpu.alter = lambda number, frame, name: change(frame) if number == at else [frame]
    path = make_video("a.mp4", film([BIG], 40))
    found = read(path, every=True)
    assert why in found[2]
    assert gpu.opened == (1 if at == 0 else 2)
    assert_as_on_cpu(path, found, every=True)


@pytest.mark.parametrize("first", [True, False])
def test_without_a_decoder_the_cpu_takes_over(
    media: Path, gpu: FakeGPU, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    tries = count()

    def accel(device: str) -> None:
        if first or next(tries):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(nvdec, "_accel", accel)
    found = read(media / BY_CODEC["h264"])
    assert found[2] == "CUDA out of memory."
    assert_as_on_cpu(media / BY_CODEC["h264"], found)


def test_pyav_without_a_gpu_says_so_and_the_cpu_takes_over(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    accel = nvdec.HWAccel("cuda", "0", allow_software_fallback=False, options={"current_ctx": "1"})
    monkeypatch.setattr(nvdec, "_accel", lambda device: accel)
    for name in ("h264", "av1"):
        found = read(media / BY_CODEC[name])
        assert found[2]
        assert_as_on_cpu(media / BY_CODEC[name], found)


def test_av1_gets_the_decoder_that_can_use_a_gpu(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(nvdec, "_accel", given.append)
    with av.open(str(media / BY_CODEC["av1"])) as container:
        usual = container.streams.video[0].codec_context
        context = nvdec._context(container.streams.video[0], "av1", "cuda:0")
        assert (usual.codec.name, context.codec.name) == ("libdav1d", "av1")
        assert context.extradata == usual.extradata
        assert given == ["cuda:0"]


@pytest.mark.parametrize(
    ("name", "why"),
    {
        "videos/tc_h264_10bits.mp4": "h264 in yuv420p10le is left to the CPU",
        "hostile/odd_477x359_h264_444.mp4": "h264 in yuv444p is left to the CPU",
        "hostile/gray_ffv1.mkv": "ffv1 in gray",
    }.items(),
)
def test_what_the_gpu_is_not_given(media: Path, gpu: FakeGPU, name: str, why: str) -> None:
    frames, _, on_cpu = read(media / name)
    assert why in on_cpu
    assert gpu.opened == 0
    assert any(frame.image is not None for frame in frames)


def test_a_file_that_is_not_whole_is_not_given_to_the_gpu(gpu: FakeGPU, make_video: Callable[..., Path]) -> None:
    path = make_video("a.mkv", film([BIG], 40), g="10")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    assert read(path)[2] == "the file is not whole, or its frames have no times"
    assert gpu.opened == 0


def test_interlaced_video_is_not_given_to_the_gpu(gpu: FakeGPU, make_video: Callable[..., Path]) -> None:
    path = make_video("a.mp4", film([BIG], 20), **{"x264-params": "interlaced=1"})
    assert "interlaced" in read(path)[2]
    assert gpu.opened == 0


def test_av1_that_is_shown_rotated_is_not_given_to_the_gpu(media: Path, gpu: FakeGPU, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(media / BY_CODEC["av1"])) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.set_display_matrix((0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    assert read(path)[2] == "AV1 that is shown rotated is left to the CPU"
    assert gpu.opened == 0


def test_auto_and_the_cpu_device_leave_everything_to_the_cpu(
    media: Path, gpu: FakeGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, auto = media / BY_CODEC["h264"], DecodeSettings()
    assert not nvdec.FASTER_FROM  # nothing has been measured
    for device, settings in (("cuda:0", auto), ("cpu", NVDEC), ("cuda:0", DecodeSettings(backend="pyav"))):
        assert read(path, device, settings)[2] == ""
        assert gpu.opened == 0
    monkeypatch.setattr(nvdec, "FASTER_FROM", {"h264": 480 * 480 + 1})
    read(path, "cuda:0", auto)
    assert gpu.opened == 0
    monkeypatch.setattr(nvdec, "FASTER_FROM", {"h264": 480 * 480})
    read(path, "cuda:0", auto)
    assert gpu.opened == 2


def test_the_workers_gpu_decodes_in_torchs_context(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: used.append(device))
    monkeypatch.setattr(torch, "zeros", lambda *size, device: used.append(device))
    accel = nvdec._accel("cuda:1")
    assert used == [1, "cuda:1"]
    assert (accel.device_id, accel.options, accel.is_hw_owned) == (1, {"current_ctx": "1"}, False)


# In a build ------------------------------------------------------------------------------------------------


@pytest.fixture
def in_build(monkeypatch: pytest.MonkeyPatch, mark_detector: object) -> None:
    monkeypatch.setattr("facemill.pipeline.build.groups.device_of_worker", lambda device, number: "cuda:0")
    monkeypatch.setattr("facemill.pipeline.build.identity.device_kind", lambda device: "Card, with CPU")


@pytest.fixture
def videos(add_video: Callable[..., VideoEntry]) -> list[VideoEntry]:
    real = add_video("real", film([BIG], 60))
    return [real, add_video("fake", film([BIG], 60, forged=0), 1, source_id="real")]


def built(videos: list[VideoEntry], out: Path, backend: str, *sets: str) -> tuple[Any, int]:
    """A dataset's tables and images, and how many videos the CPU decoded in the GPU's place."""
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=12", f"decode.backend={backend}", *sets])
    assert build(videos, recipe, out, executor="sequential").failures == 0
    [use] = summarise(out).devices
    files = {path.name: path.read_bytes() for path in sorted([*out.glob("*.parquet"), *out.glob("shards/*.parquet")])}
    return files, use.on_cpu


@pytest.mark.heavy
@pytest.mark.parametrize("window", [64, pytest.param(5, marks=LONG)], ids=["one window", "three windows"])
@pytest.mark.parametrize("bad", ["", "real", "fake"])
def test_a_build_with_a_gpu_is_that_of_the_cpu_also_where_it_fails(
    videos: list[VideoEntry], tmp_path: Path, gpu: FakeGPU, in_build: None, bad: str, window: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Frames 23 to 29 are damaged in silence before the GPU fails at 30; with three windows, all are in the second."""
    monkeypatch.setattr(clip, "LONGEST_WINDOW", window)
    expected, _ = built(videos, tmp_path / "cpu", "pyav")
    assert gpu.opened == 0

    def alter(number: int, frame: Any, name: str) -> list[Any]:
        if name == bad and number == 30:
            return []
        return [brightened(frame, 30 if name == bad and number >= 23 else 0)]

    gpu.alter = alter
    found, on_cpu = built(videos, tmp_path / "gpu", "nvdec")
    assert gpu.opened == 4  # each for its first frames, and to read
    assert on_cpu == bool(bad)
    assert len(found) == len(expected) > 4
    assert [name for name in expected if found[name] != expected[name]] == []


def test_a_build_without_a_gpu_is_refused_at_its_start(
    videos: list[VideoEntry], tmp_path: Path, mark_detector: object
) -> None:
    recipe = load_recipe("default", ["decode.backend=nvdec"])
    with pytest.raises(
        ConfigError, match=r"'decode\.backend: nvdec' needs an NVIDIA GPU, and the work would be on CPU"
    ):
        build(videos, recipe, tmp_path / "out", executor="sequential", device="cpu")
    built(videos, tmp_path / "out", "auto")  # the folder is free for another recipe
    assert read_dataset(tmp_path / "out").counts
