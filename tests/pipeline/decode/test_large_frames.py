"""Memory of the decoder: each of its threads holds frames."""

from pathlib import Path

import numpy as np
import pytest

from facemill.pipeline.decode import source
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
