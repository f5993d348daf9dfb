"""Sequences of face crops, as WildDeepfake has them, through scan, build and verify."""

import re
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from facemill.manifests import FailureRecord, MaskKind, Reason, SampleRecord, VideoEntry, from_table, read_videos
from facemill.manifests.shards import format_of
from tests.integration.command import ALONE, build_args, facemill
from tests.manifests.dataset_trees import write_archive

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(600)]

SIZE, FRAMES = 64, (3, 20, 100, 7)
DAMAGED = "fake_train/2.tar.gz"


def picture(sequence: str, frame: int) -> np.ndarray:
    """What stands in a frame (BGR) of a sequence such as `real_test/1/real/0`."""
    return np.random.default_rng(zlib.crc32(f"{sequence}/{frame}".encode())).integers(0, 255, (SIZE, SIZE, 3), np.uint8)


def members(folder: str, shard: int, number: int) -> dict[str, bytes]:
    """The pictures of a sequence by their names in the archive."""
    path = f"{shard}/{folder.partition('_')[0]}/{number}"
    return {f"{path}/{n}.png": cv2.imencode(".png", picture(f"{folder}/{path}", n))[1].tobytes() for n in FRAMES}


def make_tree(root: Path) -> None:
    """Two packed shards in each of three folders, and an unpacked one in the fourth."""
    for folder in ("real_train", "fake_train", "real_test"):
        for shard in (1, 2):
            write_archive(root / folder / f"{shard}.tar.gz", members(folder, shard, 0) | members(folder, shard, 1))
    for name, data in members("fake_test", 1, 0).items():
        path = root / "fake_test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_sequences_are_built_into_the_same_shards_as_videos(tmp_path: Path) -> None:
    tree, manifest = tmp_path / "wild ü", tmp_path / "videos.parquet"
    make_tree(tree)
    scanned = facemill("scan", "wild", tree, "--out", manifest)
    assert scanned.code == 0, scanned.err
    entries = {entry.video_id: entry for entry in read_videos(manifest)}
    assert len(entries) == 13
    # After the scan, which would have left out what is in it.
    (tree / DAMAGED).write_bytes((tree / DAMAGED).read_bytes()[:-9000])

    parquet, webdataset = (tmp_path / name for name in ("parquet", "webdataset"))
    for out in (parquet, webdataset):
        options = ("--set", f"crop.size={SIZE}", "--set", f"shards.format={out.name}", "--max-failure-rate", 0.2)
        built = facemill(*build_args(manifest, out, *options, *ALONE))
        assert built.code == 0, built.err
    assert check_samples(parquet, entries) == check_samples(webdataset, entries)
    for out in (parquet, webdataset):
        verified = facemill("verify", out)
        assert (verified.code, verified.out) == (0, "44 samples in 5 shards, 13 videos: 0 problems, 0 warnings\n")


def check_samples(out: Path, entries: dict[str, VideoEntry]) -> dict[str, bytes]:
    """Every sequence gave each of its pictures as it is, or is on record; returns the samples' pictures."""
    samples: list[SampleRecord] = from_table(pq.read_table(out / "samples.parquet"), SampleRecord)
    failures: list[FailureRecord] = from_table(pq.read_table(out / "failures.parquet"), FailureRecord)
    lost = {video_id for video_id, entry in entries.items() if entry.path.startswith(DAMAGED)}
    assert Counter((f.video_id, f.reason) for f in failures) == {(video_id, Reason.UNREADABLE): 1 for video_id in lost}
    assert Counter(sample.video_id for sample in samples) == dict.fromkeys(entries.keys() - lost, len(FRAMES))
    assert {(sample.label, sample.mask_kind) for sample in samples} == {(0, MaskKind.ZEROS), (1, MaskKind.NONE)}
    assert pq.read_metadata(out / "faces.parquet").num_rows == 0
    pictures = {}
    for shard in {sample.shard for sample in samples}:
        for sample in format_of(shard).read(out / shard):
            sequence = re.sub(r"/\d+\.tar\.gz", "", entries[sample.record.video_id].path)
            crop = cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_COLOR)
            assert np.array_equal(crop, picture(sequence, sorted(FRAMES)[sample.record.frame_index]))
            pictures[sample.record.sample_id] = sample.image
    return pictures
