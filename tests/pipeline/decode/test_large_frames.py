"""Memory of the decoder: each of its threads holds frames."""

from pathlib import Path

import numpy as np
import pytest

from facemill import VideoError
from facemill.manifests.codes import Reason
from facemill.pipeline.decode import VideoReader, source
from facemill.pipeline.decode.source import Deadline, open_video
from tests.pipeline.decode.test_damage import write


@pytest.mark.parametrize(("large_pixels", "threads"), [(96 * 128, 3), (96 * 128 - 1, 1)])
def test_large_frames_are_decoded_by_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large_pixels: int, threads: int
) -> None:
    path = write(tmp_path / "a.avi", np.zeros((2, 96, 128, 3), np.uint8), "mpeg4")
    monkeypatch.setattr(source, "LARGE_PIXELS", large_pixels)
    with open_video(path, Deadline(path, 10.0), threads=3) as (_, stream):
        assert stream.codec_context.thread_count == threads


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "mpeg4"), ("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libsvtav1")]
)
def test_frames_beyond_any_size_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str
) -> None:
    path = write(tmp_path / name, np.zeros((3, 96, 128, 3), np.uint8), codec)
    monkeypatch.setattr(source, "MOST_PIXELS", 8 * 96 * 128)  # decoders add edges
    with VideoReader(path) as reader:
        assert all(frame.image is not None for frame in reader.read(range(3)))
    monkeypatch.setattr(source, "MOST_PIXELS", 96 * 128 - 1)
    with pytest.raises(VideoError, match="damaged or too large") as caught:
        VideoReader(path)
    assert caught.value.reason == Reason.UNREADABLE
