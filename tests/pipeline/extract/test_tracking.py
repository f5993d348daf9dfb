from pathlib import Path
from types import SimpleNamespace

import pytest

from facemill.pipeline.clips.clip import Clip, ClipVideo
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.decode import VideoReader
from facemill.pipeline.extract.tracking import FaceTracking
from tests.pipeline.decode.test_facts import interlaced_clip, write


@pytest.mark.parametrize("interlaced", [True, False])
def test_faces_found_in_woven_fields_are_not_reused_for_deinterlaced_frames(tmp_path: Path, interlaced: bool) -> None:
    if interlaced:
        interlaced_clip(tmp_path / "clip.mp4")
    else:
        write(tmp_path / "clip.mp4")
    keys = set()
    detector = SimpleNamespace(detect=lambda images: [[] for _ in images])
    for choice in ("false", "true"):
        recipe = load_recipe("default", [f"decode.deinterlace={choice}"])
        with VideoReader(tmp_path / "clip.mp4", recipe.decode) as reader:
            video = ClipVideo(SimpleNamespace(video_id="clip"), reader, 1000)
            tracking = FaceTracking(Clip(video, [], []), recipe, lambda: detector, {}, Stopwatch())
            tracking.detect(video, list(reader.read([0])))
            keys.add(tracking.detections[0].key)
    assert len(keys) == 1 + interlaced
