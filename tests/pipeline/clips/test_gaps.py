"""Pairs with missing frames or a damaged packet: real face swaps, a real detector, matched by time."""

import runpy
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facemill.manifests import (
    FailureRecord,
    MaskKind,
    Reason,
    SampleRecord,
    from_table,
    group_clips,
    read_videos,
    scan,
    write_videos,
)
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.build.shard import build_shard
from facemill.pipeline.config.recipe import load_recipe
from tests.conftest import MEDIA

pytestmark = pytest.mark.heavy

CASES = MEDIA.parent / "cases" / "gaps.py"
OFFSETS = {"f0": {0}, "f1": {0, -12}, "f2": {0, -12}, "f3": {0, 12}, "f4": {-3}, "f5": {-3}}
"""Fake frame minus the real frame of the same moment, as the pairs were composed."""


@pytest.fixture(scope="module")
def built(
    media: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[SampleRecord], tuple[FailureRecord, ...]]:
    if not CASES.is_file():
        pytest.skip(f"there is no {CASES}")
    folder = tmp_path_factory.mktemp("gaps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(CASES), str(folder / "videos")])
        runpy.run_path(str(CASES), run_name="__main__")
    write_videos(scan("csv", str(folder / "videos" / "mine.csv")).entries, folder / "videos.parquet")
    groups = tuple(group_clips(read_videos(folder / "videos.parquet")))
    recipe = load_recipe("default", ["crop.size=64", "sample.frames=16"])
    result = build_shard(ShardSpec("train-000000", "train", groups), BuildJob(folder / "out", recipe))
    records = from_table(pq.read_table(folder / "out" / result.samples.path), SampleRecord)
    return records, result.failures


def test_every_fake_frame_is_compared_with_its_own_moment(
    built: tuple[list[SampleRecord], tuple[FailureRecord, ...]],
) -> None:
    records, _ = built
    for name, offsets in OFFSETS.items():
        fakes = [record for record in records if record.video_id.endswith(name)]
        assert {record.pair_offset for record in fakes} == offsets
        assert {record.mask_kind for record in fakes} == {MaskKind.DIFFERENCE}
        # One face, swapped whole, about as large in every frame.
        coverages = [record.mask_coverage for record in fakes]
        assert 0.25 < min(coverages) < max(coverages) < 0.45


def test_moments_that_a_fake_lacks_are_on_record(
    built: tuple[list[SampleRecord], tuple[FailureRecord, ...]],
) -> None:
    records, failures = built
    for name in OFFSETS:
        sampled = sum(record.video_id.endswith(name) for record in records)
        missing = [f for f in failures if f.video_id.endswith(name)]
        assert {failure.reason for failure in missing} <= {Reason.UNMATCHED, Reason.TRUNCATED}
        assert sampled + sum(failure.frames for failure in missing) == 16
