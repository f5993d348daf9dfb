"""`scan`, `merge` and `check` as a user gives them."""

from pathlib import Path

import pytest

from facemill.manifests import read_videos
from facemill.manifests.datasets import available, get
from tests.integration.command import facemill


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "my corpus é"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.mp4").write_bytes(name.encode())
    (folder / "mine.csv").write_text("path,label\na.mp4,0\nb.mp4,1\nc.mp4,0\n")
    (folder / "split.csv").write_text("path,split\na.mp4,train\nb.mp4,val\nc.mp4,test\n")
    return folder


def test_help_lists_every_dataset():
    shown = " ".join(facemill("scan", "--help").out.split())
    for name in available():
        assert f" {name}: {get(name).summary}" in shown


def test_a_hashed_manifest_finds_what_changed_and_merges_once(corpus):
    table, videos, merged = corpus / "mine.csv", corpus / "videos.parquet", corpus / "all.parquet"
    scanned = facemill("scan", "csv", table, "--split", corpus / "split.csv", "--hash", "--out", videos)
    assert (scanned.code, scanned.err) == (0, "")
    assert [(entry.split, entry.size_bytes) for entry in read_videos(videos)] == [("val", 1), ("train", 1), ("test", 1)]

    refused = facemill("merge", videos, videos, "--out", merged)
    assert refused.code == 2
    assert "3 videos are in two manifests" in refused.err
    assert facemill("merge", videos, videos, "--drop-duplicates", "--out", merged).code == 0
    assert read_videos(merged) == read_videos(videos)

    assert facemill("check", merged).code == 0
    (corpus / "b.mp4").write_bytes(b"B")
    checked = facemill("check", merged)
    assert checked.code == 3
    assert "b.mp4: it hashes to xxh3:" in checked.out
    assert "3 videos: 1 gone or changed" in checked.out
