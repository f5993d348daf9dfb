"""The main job as a user does it: scan, build, verify, inspect, report."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from facemill import __version__
from facemill.manifests import FailureRecord, MaskKind, SampleRecord, from_table, read_videos, write_videos
from facemill.manifests.shards import format_of
from tests.integration.command import ALONE, LOG, build_args, committed, content, facemill
from tests.integration.conftest import Built, Scanned

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Builds = dict[str, Path]


def test_scan_lists_every_video_and_pairs_the_fakes(scanned: Scanned) -> None:
    assert (scanned.ended.code, scanned.ended.err) == (0, "")
    assert f"12 videos -> {scanned.manifest}" in scanned.ended.out
    videos = read_videos(scanned.manifest)
    reals = {video.video_id for video in videos if video.label == 0}
    assert len(reals) == 6
    assert {video.source_id for video in videos if video.label == 1} == reals


def test_every_video_is_sampled_or_in_failures(built: Built, manifest: Path) -> None:
    assert built.ended.code == 0, built.ended.err
    assert "48 samples of 12 videos in 6 shards" in built.ended.out
    samples = read_samples(built.folder)
    failures: list[FailureRecord] = from_table(pq.read_table(built.folder / "failures.parquet"), FailureRecord)
    accounted = {sample.video_id for sample in samples} | {failure.video_id for failure in failures}
    assert accounted == {video.video_id for video in read_videos(manifest)}
    assert len(samples) == 48
    assert {sample.crop_size for sample in samples} == {96}
    info = json.loads((built.folder / "dataset.json").read_text())
    assert sum(shard["rows"] for shard in info["shards"]) == 48
    assert info["recipe"]["sample"]["frames"] == 4


@pytest.mark.parametrize("shard_format", ["parquet", "webdataset"])
def test_verify_finds_nothing_wrong(builds: Builds, shard_format: str) -> None:
    verified = facemill("verify", builds[shard_format])
    assert (verified.code, verified.err) == (0, "")
    assert verified.out == "48 samples in 6 shards, 12 videos: 0 problems, 0 warnings\n"


def test_the_log_says_what_was_run_and_what_came_of_it(built: Built, manifest: Path) -> None:
    lines = [line.split(" ", 2)[2] for line in (built.folder / LOG).read_text().splitlines()]
    assert lines[0].startswith(f"facemill {__version__}: facemill build {manifest} ")
    assert any(line.startswith("12/12 videos  48 faces") for line in lines)
    assert lines[-1] == built.ended.out.splitlines()[-1]


def test_inspect_shows_counts_and_where_the_time_went(built: Built) -> None:
    inspected = facemill("inspect", built.folder)
    assert inspected.code == 0
    rows = [line.replace("│", " ").split() for line in inspected.out.splitlines()]
    for split in ("train", "val", "test"):
        assert [split, "real", "c23", "8", "2"] in rows
        assert [split, "Deepfakes", "c23", "8", "2"] in rows
    assert {"detect", "decode"} <= {row[0] for row in rows if row}


def test_report_draws_a_contact_sheet(built: Built, tmp_path: Path) -> None:
    drawn = facemill("report", built.folder, "--out", tmp_path / "sheet.png", "--rows", 2)
    assert drawn.code == 0, drawn.err
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape[0] >= 2 * 96
    assert sheet.std() > 20


def test_the_number_of_workers_does_not_show_in_the_bytes(builds: Builds) -> None:
    """None and one; two have the bytes of one where one of them is killed (`test_resume`)."""
    one = content(builds["one"])
    assert content(builds["parquet"]) == one
    tables = {"videos.parquet", "samples.parquet", "faces.parquet", "failures.parquet"}
    assert {"dataset.json", "README.md", "croissant.json", *tables} <= one.keys()
    assert not [name for name in one if name.endswith(".tmp")]


def test_both_formats_hold_the_same_samples(builds: Builds) -> None:
    held = {}
    for shard_format in ("parquet", "webdataset"):
        folder = builds[shard_format]
        shards = sorted({sample.shard for sample in read_samples(folder)})
        held[shard_format] = [
            (sample.image, sample.mask, sample.record.sample_id, sample.record.bbox, sample.record.affine)
            for shard in shards
            for sample in format_of(shard).read(folder / shard)
        ]
    assert len(held["parquet"]) == 48
    assert held["parquet"] == held["webdataset"]


def test_a_build_on_known_faces_runs_no_detector(built: Built, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    changes = ("--set", "crop.size=64", "--set", "mask.threshold=0.15")
    again = facemill(*build_args(manifest, out, "--faces", built.folder, *ALONE, *changes))
    assert again.code == 0, again.err
    coverage = np.mean([s.mask_coverage for s in read_samples(out) if s.mask_kind is MaskKind.DIFFERENCE])
    told = f"Mask coverage at threshold 0.15: Deepfakes {coverage:.1%}. --set mask.threshold=auto finds whole regions."
    assert told in again.out
    assert "Mask coverage at" not in built.ended.out
    assert "detect" in stages(built.folder)
    assert "crop" in stages(out)
    assert "detect" not in stages(out)
    first, second = read_samples(built.folder), read_samples(out)
    assert {sample.crop_size for sample in second} == {64}
    assert [faces(sample) for sample in first] == [faces(sample) for sample in second]
    assert (out / "faces.parquet").read_bytes() == (built.folder / "faces.parquet").read_bytes()


def test_known_faces_that_are_not_there(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = facemill(*build_args(manifest, tmp_path / "out", "--faces", tmp_path / "empty", *ALONE))
    assert ended.code == 2
    assert "faces.parquet" in ended.sentence
    assert ended.sentence.endswith("give --faces the folder of a finished build.")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("what", "told"), [("recipe", " (crop.size 96 instead of 97)"), ("manifest", "")])
def test_a_folder_belongs_to_one_build(built: Built, manifest: Path, tmp_path: Path, what: str, told: str) -> None:
    before = content(built.folder)
    if what == "recipe":
        ended = facemill(*build_args(manifest, built.folder, "--set", "crop.size=97", *ALONE))
    else:
        reals = [video for video in read_videos(manifest) if video.label == 0]
        write_videos(reals, tmp_path / "reals.parquet")
        ended = facemill(*build_args(tmp_path / "reals.parquet", built.folder, *ALONE))
    assert ended.code == 2
    assert ended.sentence.startswith(f"Error: {built.folder} holds a build with another {what}{told}: choose")
    assert content(built.folder) == before


def read_samples(folder: Path) -> list[SampleRecord]:
    return from_table(pq.read_table(folder / "samples.parquet"), SampleRecord)


def faces(sample: SampleRecord) -> tuple[object, ...]:
    return sample.sample_id, sample.bbox, sample.landmarks, sample.score


def stages(folder: Path) -> set[str]:
    """What any shard spent time on."""
    return set().union(*(json.loads(path.read_text())["timings"] for path in committed(folder)))
