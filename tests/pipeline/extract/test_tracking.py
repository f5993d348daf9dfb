from collections import Counter
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import cast as cast_to

import numpy as np
import pytest

from facemill.detectors.face import Face
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import ClipVideo, LeadWindow
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.decode import Frame, VideoReader
from facemill.pipeline.extract.tracking import FaceTracking, match_tracks
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
    clip = SimpleNamespace(lead=SimpleNamespace(is_crops=False))
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


def at(x: float, y: float, side: float = 60) -> Face:
    return Face(np.array([x, y, x + side, y + side], np.float32), 0.9, np.full((5, 2), x, np.float32))


def test_own_faces_of_a_fake_are_those_of_the_tracks_in_whose_boxes_they_lie() -> None:
    """In another order, a little moved; a stranger far away and one beside a track are on none."""
    tracked = [(3, at(100, 100)), (7, at(200, 100)), (9, at(300, 100))]
    own = [at(204, 98), at(500, 100), at(103, 104), at(345, 100)]
    assert match_tracks(tracked, own) == [(3, own[2]), (7, own[0])]
    assert match_tracks(tracked, []) == []
    assert match_tracks([], own) == []


def test_of_two_own_faces_that_overlap_both_tracks_each_has_its_own() -> None:
    """Each for itself, both would take the first; together, one takes the other."""
    tracked = [(0, at(100, 100)), (1, at(124, 100))]
    own = [at(112, 100), at(136, 100)]
    assert match_tracks(tracked, own) == [(0, own[0]), (1, own[1])]


def test_frames_of_two_windows_are_told_by_their_index() -> None:
    """A face that moves by its own width between windows is one person, for 30 frames lie between them."""
    places = {0: 100.0, 10: 104.0, 40: 190.0, 50: 194.0}
    asked: list[int] = []

    def detect(images: list[np.ndarray]) -> list[list[Face]]:
        asked.extend(int(image[0, 0, 0]) for image in images)
        return [[at(places[int(image[0, 0, 0])], 100)] for image in images]

    info = SimpleNamespace(frame_count=60, interlaced=False)
    entry = SimpleNamespace(video_id="v", content_hash=None)
    video = cast_to(ClipVideo, SimpleNamespace(entry=entry, video_id="v", file_bytes=9, is_crops=False,
                                               reader=SimpleNamespace(info=info)))  # fmt: skip
    detector = SimpleNamespace(detect=detect)
    tracking = FaceTracking(Clip(video, [], []), load_recipe("default"), lambda: detector, None, "d", Stopwatch())
    tracks = []
    for indices in ([0, 10], [40, 50]):
        frames = [Frame(index, index / 25, np.full((300, 400, 3), index, np.uint8)) for index in indices]
        tracks += tracking.follow(LeadWindow(indices, frames, {}, [], []))
    assert asked == [0, 10, 40, 50]
    assert [(record.frame_index, record.video_id) for record in tracking.detections] == [(i, "v") for i in places]
    assert [[track for track, _ in faces] for faces in tracks] == [[0]] * 4
    assert list(tracking.tracks[0].faces) == [0, 10, 40, 50]
