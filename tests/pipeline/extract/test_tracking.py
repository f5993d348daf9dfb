from collections import Counter
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import cast as cast_to

import pytest

from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import ClipVideo, LeadWindow
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.decode import Frame, VideoReader
from facemill.pipeline.extract.tracking import FaceTracking
from tests.composed.people import Scene, backdrop, cast, stand, walk
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
            video = ClipVideo(SimpleNamespace(video_id="clip", content_hash=None), reader, 1000)
            tracking = FaceTracking(Clip(video, [], []), recipe, lambda: detector, None, "", Stopwatch())
            tracking.detect(video, list(reader.read([0])))
            keys.add(tracking.detections[0].key)
    assert len(keys) == 1 + interlaced


def test_samples_of_one_window_have_the_ids_of_joined_tracks(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody leaves at the left and comes back at the right; each face's small image goes with its track."""
    host, guest = cast(media)[1:3]
    paths = [
        stand(320, 200, 80),
        walk((200, 180, 70), (-40, 180, 70), 0, 40),
        walk((680, 150, 65), (400, 150, 65), 150, 190),
    ]
    scene = Scene([host, guest, guest], paths, 200, backdrop(media, (360, 640)))
    indices = list(range(0, 190, 6))
    found = [[*scene.faces(index).values()] for index in indices]
    clip = SimpleNamespace(lead=SimpleNamespace(is_sequence=False))
    tracking = FaceTracking(
        cast_to(Clip, clip), load_recipe("default"), lambda: pytest.fail("known"), None, "", Stopwatch()
    )
    monkeypatch.setattr(tracking, "detect", lambda video, frames: found)
    frames = [Frame(index, index / 25, scene.frame(index)) for index in indices]
    followed = tracking.follow(LeadWindow(indices, frames, {}, [], []))
    ids = [[track_id for track_id, _ in tracked] for tracked in followed]
    assert {track_id for row in ids for track_id in row} == {0, 1}
    assert [row for row in ids if len(row) == 2][-1] == [0, 1]
    assert {track_id: len(patches) for track_id, patches in tracking.patches.items()} == Counter(chain(*ids))
    assert [track.track_id for track in tracking.tracks] == [0, 1]
