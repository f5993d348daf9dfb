"""A manifest full of files that are broken, odd or badly named: the build finishes and reports each."""

import csv
import shutil
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facemill.manifests import FailureRecord, Reason, SampleRecord, from_table, read_videos
from tests.integration.command import build_here, facemill

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(600)]

UNREADABLE = ("empty.mp4", "text_not_video.mp4", "truncated_conan.mp4", "truncated.jpg")
READABLE = ("bitrot_lp_d10.mp4", "rot90_lp_d13.mp4", "odd_477x359_h264_444.mp4", "gray_ffv1.mkv", "lp_d18.mp4")
FACELESS = "tc_av1_video.mkv"
NAMES = (
    "two words.mp4",
    "naïve 名前.mp4",
    'it\'s "quoted".mp4',
    "100% #1 [a]?*.mp4",
    "-rf.mp4",
    "a:b.tar.mp4",
    "line\nbreak.mp4",
)


def test_every_hostile_file_is_sampled_or_reported(media: Path, manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(media / "hostile", folder)
    for name in ("lp_d18.mp4", FACELESS):
        shutil.copy(media / "videos" / name, folder)
    # The last one: MTCNN finds a face within the face of the first, so that it shows two people.
    *_, small = (Path(video.root) / video.path for video in read_videos(manifest) if video.label == 0)
    for name in (*NAMES, "gone.mp4"):
        shutil.copy(small, folder / name)
    files = sorted(path.name for path in folder.iterdir())
    with (folder / "mine.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["path", "label", "split"])
        writer.writerows([name, number % 2, "train"] for number, name in enumerate(files))
    videos, out = tmp_path / "videos.parquet", tmp_path / "out"
    scanned = facemill("scan", "csv", folder / "mine.csv", "--out", videos)
    assert scanned.code == 0, scanned.err
    (folder / "gone.mp4").unlink()

    report = build_here(videos, out, "shards.samples_per_shard=24")
    assert report.videos_without_samples == len(UNREADABLE) + 3
    names = {video.video_id: video.path for video in read_videos(videos)}
    assert sorted(names.values()) == files
    reasons: dict[str, set[Reason]] = defaultdict(set)
    for failure in from_table(pq.read_table(out / "failures.parquet"), FailureRecord):
        reasons[names[failure.video_id]].add(failure.reason)
    samples: list[SampleRecord] = from_table(pq.read_table(out / "samples.parquet"), SampleRecord)
    sampled = {names[sample.video_id] for sample in samples}

    assert sampled == {*READABLE, *NAMES}
    fakes = {names[video.video_id] for video in read_videos(videos) if video.label == 1}
    for name in sampled & fakes:  # nothing in this folder is anybody's original
        reasons[name].remove(Reason.MASK_UNAVAILABLE)
    assert {name: why for name, why in reasons.items() if why} == {
        **{name: {Reason.UNREADABLE} for name in UNREADABLE},
        "audio_only.mp4": {Reason.NO_VIDEO_STREAM},
        "gone.mp4": {Reason.MISSING_FILE},
        "bitrot_lp_d10.mp4": {Reason.TRUNCATED},
        FACELESS: {Reason.NO_FACE},
    }
    assert sampled | reasons.keys() == set(files)
    verified = facemill("verify", out)
    assert verified.code == 0, verified.out
