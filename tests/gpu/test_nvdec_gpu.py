"""Decoding on a GPU gives the CPU's pixels and masks."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facemill.manifests import VideoEntry
from facemill.manifests.shards import format_of
from facemill.manifests.shards.summary import summarise
from facemill.pipeline.build.job import build
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.config.sections import DecodeSettings
from facemill.pipeline.decode import VideoReader
from facemill.pipeline.decode.nvdec import MOST_OFF
from tests.pipeline.decode.test_nvdec import BY_CODEC

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

LEAST_IOU = 0.99


@pytest.mark.parametrize("name", BY_CODEC.values(), ids=BY_CODEC)
def test_each_codec_within_two_levels(media: Path, name: str) -> None:
    with VideoReader(media / name, DecodeSettings(backend="nvdec"), device="cuda:0") as gpu:
        wanted = range(gpu.info.frame_count)
        for one, other in zip(gpu.read(wanted), VideoReader(media / name).read(wanted), strict=True):
            assert (one.index, one.pts_s) == (other.index, other.pts_s)
            assert one.image is not None
            assert other.image is not None
            assert cv2.norm(one.image, other.image, cv2.NORM_INF) <= MOST_OFF
        assert gpu.on_cpu == ""


def test_a_file_of_ten_bits_is_read_by_the_cpu(media: Path) -> None:
    with VideoReader(media / "videos/tc_h264_10bits.mp4", DecodeSettings(backend="nvdec"), device="cuda:0") as reader:
        assert all(frame.image is not None for frame in reader.read(range(5)))
        assert "yuv420p10le" in reader.on_cpu


def entry(media: Path, name: str, source: str | None = None) -> VideoEntry:
    return VideoEntry(
        video_id=name,
        dataset="ghost",
        method="real" if source is None else "ghost",
        label=int(source is not None),
        quality="raw",
        split="train",
        root=str(media / "pairs"),
        path=f"{name}.mp4",
        source_id=source,
    )


def test_masks_of_a_build(media: Path, tmp_path: Path) -> None:
    names = ("ghost_fake_elon", "ghost_fake_mark")
    videos = [entry(media, "ghost_real"), *(entry(media, name, "ghost_real") for name in names)]
    masks = {}
    for backend in ("pyav", "nvdec"):
        recipe = load_recipe("default", ["sample.frames=8", f"decode.backend={backend}"])
        out = tmp_path / backend
        assert build(videos, recipe, out, executor="sequential", device="cuda").videos_without_samples == 0
        [use] = summarise(out).devices
        assert use.on_cpu == 0
        samples = [sample for path in sorted(out.glob("train/*")) for sample in format_of(path.name).read(path)]
        masks[backend] = {
            sample.record.sample_id: cv2.imdecode(np.frombuffer(sample.mask, np.uint8), cv2.IMREAD_GRAYSCALE) > 0
            for sample in samples
            if sample.record.label == 1
        }
    assert masks["pyav"].keys() == masks["nvdec"].keys()
    assert masks["pyav"]
    for sample_id, cpu in masks["pyav"].items():
        gpu = masks["nvdec"][sample_id]
        assert (cpu & gpu).sum() >= LEAST_IOU * (cpu | gpu).sum(), sample_id
