"""`scan`, `merge` and `check` as a user gives them."""

from pathlib import Path

import pytest

from facemill.manifests import read_videos
from facemill.registry import DATASETS
from tests.integration.command import facemill
from tests.manifests.dataset_trees import celebdf, touch


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
    for name, adapter in DATASETS.items():
        assert f" {name}: {adapter.summary}" in shown


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
    assert "3 videos: 1 missing or changed" in checked.out


def test_the_options_of_a_table_and_of_subjects(corpus, tmp_path):
    (tmp_path / "lists").mkdir()
    table = (corpus / "mine.csv").rename(tmp_path / "lists/mine.csv")
    how = ("--root", corpus, "--subject", "[a-c](?=[.])", "--split", corpus / "split.csv")
    scanned = facemill("scan", "csv", table, *how, "--hash", "--out", tmp_path / "lists/videos.parquet")
    assert (scanned.code, scanned.err) == (0, "")
    assert [entry.subject_ids for entry in read_videos(tmp_path / "lists/videos.parquet")] == [
        ("mine-b",),
        ("mine-a",),
        ("mine-c",),
    ]
    moved = corpus.rename(tmp_path / "moved")
    gone = facemill("check", tmp_path / "lists/videos.parquet")
    assert gone.code == 2
    assert f"The folder {corpus} of the videos does not exist" in gone.sentence
    assert facemill("check", tmp_path / "lists/videos.parquet", "--root", moved).code == 0


def test_shared_subjects_are_one_loud_line_or_apart(tmp_path):
    root = celebdf(tmp_path / "Celeb-DF")
    touch(tmp_path / "Celeb-DF", ["Celeb-real/id0_0001.mp4"])
    whole = facemill("scan", "celebdf2", root, "--out", tmp_path / "whole.parquet").out.splitlines()
    apart = facemill("scan", "celebdf2", root, "--subjects-apart", "--out", tmp_path / "apart.parquet").out.splitlines()
    assert [line[:32] for line in whole if "SUBJECTS" in line] == ["SUBJECTS IN TWO SPLITS: 4 of 10 "]
    assert not any("SUBJECTS" in line for line in apart)
    assert len(read_videos(tmp_path / "apart.parquet")) < len(read_videos(tmp_path / "whole.parquet"))


def test_a_dry_run_shows_an_example_of_each_kind_and_writes_nothing(tmp_path):
    root = celebdf(tmp_path / "celeb")
    out = tmp_path / "videos.parquet"
    out.write_bytes(b"mine")
    shown = facemill("scan", "celebdf2", root, "--dry-run", "--out", out)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert "celebdf2 real test: Celeb-real/id0_0000.mp4" in lines
    swap = "celebdf2 Celeb-synthesis test: Celeb-synthesis/id0_id1_0000.mp4, made from Celeb-real/id0_0000.mp4"
    assert swap in lines
    assert "unknown video files: 1 (stray.mp4)" in lines
    assert out.read_bytes() == b"mine"
