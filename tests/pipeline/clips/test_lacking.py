"""Fakes that lack moments of their original: the other frames are matched, and missing ones are recorded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from facemill.manifests import ClipGroup, Reason, SampleRecord, VideoEntry, from_table
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.build.shard import build_shard
from facemill.pipeline.build.state import ShardResult
from facemill.pipeline.config.recipe import load_recipe
from tests.composed.timing import CASES, forge, read_clip
from tests.masks.test_alignment import FACES, encoded
from tests.pipeline.conftest import Actor, film

pytestmark = pytest.mark.usefixtures("mark_detector")


def build(out: Path, real: VideoEntry, fake: VideoEntry) -> ShardResult:
    recipe = load_recipe("default", ["crop.size=64", "sample.frames=32"])
    group = ClipGroup(real, (fake,))
    return build_shard(ShardSpec("train-000000", "train", (group,)), BuildJob(out, recipe))


def test_moments_after_a_gap_are_found_beyond_the_length_of_the_fake(
    add_video: Callable[..., VideoEntry], tmp_path: Path
) -> None:
    actors = [Actor(60, 60, side=100, dx=1)]
    shown = np.setdiff1d(np.arange(80), np.arange(30, 50))
    real = add_video("real", film(actors, 80))
    fake = add_video("fake", film(actors, 80, forged=0)[shown], 1, source_id="real")
    result = build(tmp_path / "out", real, fake)
    fakes = [
        record
        for record in from_table(pq.read_table(tmp_path / "out" / result.samples.path), SampleRecord)
        if record.label == 1
    ]
    assert {record.pair_offset for record in fakes} == {0, -20}
    assert all(shown[r.frame_index] == r.frame_index - r.pair_offset for r in fakes)
    (lacking,) = result.failures
    assert (lacking.video_id, lacking.reason) == ("fake", Reason.UNMATCHED)
    assert len(fakes) + lacking.frames == 32


def test_moments_that_cannot_be_told_for_certain_are_on_record(
    media: Path, add_video: Callable[..., VideoEntry], tmp_path: Path
) -> None:
    """Slow motion under strong compression, about two dropped frames; nobody is sought, so that no face is found."""
    name, other = "videos/lp_d18.mp4", "videos/fsgan_shinzo.mp4"
    clip = read_clip(media / name, 80, side=320)
    pair = CASES["one dropped at two places"](clip, forge(clip, read_clip(media / other, 80, side=320), FACES[name]))
    entries = []
    for label, (name, frames, crf) in enumerate((("real", pair.real, "15"), ("fake", pair.fake, "40"))):
        entry = add_video(name, b"", label, source_id="real" if label else None)
        encoded(frames, Path(entry.root) / entry.path, {"crf": crf})
        entries.append(entry)
    result = build(tmp_path / "out", *entries)
    counts = {failure.reason: failure for failure in result.failures if failure.video_id == "fake"}
    assert counts.keys() <= {Reason.UNMATCHED, Reason.UNCERTAIN_TIME, Reason.NO_FACE}
    assert sum(failure.frames for failure in counts.values()) == 32
    assert 2 < counts[Reason.UNCERTAIN_TIME].frames < 20  # two frames are gone at most; beside them all look the same
    assert "certain" in counts[Reason.UNCERTAIN_TIME].message
