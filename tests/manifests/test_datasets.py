"""The contract of dataset adapters: every registered one goes through these."""

from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from facemill import ConfigError, ManifestError
from manifests import SPLITS, locate, scan, validate
from manifests.datasets import available, get, register
from manifests.datasets.base import choose_quality, make_video_id
from tests.manifests.dataset_trees import TREES


@pytest.fixture(params=available())
def name(request) -> str:
    return request.param


@pytest.fixture
def root(name, tmp_path) -> str:
    return TREES[name](tmp_path / "a root é")


def test_says_what_it_reads(name):
    adapter = get(name)
    assert adapter.name == name
    for topic in ("Layout", "Pairs", "Splits", "Published"):
        assert f"{topic}:" in type(adapter).__doc__
    for _, method, split in adapter.published:
        assert method
        assert split in SPLITS


def test_finds_valid_videos_that_are_there(name, root):
    report = scan(name, root)
    assert validate(report.entries) == []
    assert {entry.split for entry in report.entries} == set(SPLITS)
    assert {entry.label for entry in report.entries} == {0, 1}
    assert [entry.video_id for entry in report.entries] == sorted(entry.video_id for entry in report.entries)
    for entry in report.entries:
        assert entry.video_id.startswith(f"{entry.dataset}-{entry.method}-{entry.quality}-")
        assert all(subject.startswith(f"{entry.dataset}-") for subject in entry.subject_ids)
        assert Path(locate(entry.root, entry.path)).is_file()
        assert entry.mask_path is None or Path(locate(entry.root, entry.mask_path)).is_file()
    assert sum(report.found.values()) == len(report.entries)


def test_a_fake_is_paired_or_reported(name, root):
    report = scan(name, root)
    fakes = [entry for entry in report.entries if entry.label == 1]
    assert all((fake.source_id is None) == (fake.path in report.unpaired) for fake in fakes)


def test_reports_a_video_that_follows_no_rule(name, root):
    report = scan(name, root)
    assert report.unknown == ["stray.mp4"]
    assert any(line.startswith("unknown video files: 1 (stray.mp4)") for line in report.lines())


def test_splits_by_identity_and_into_one(name, root):
    entries = scan(name, root, split="identity:40/30/30").entries
    assert {entry.split for entry in entries} == set(SPLITS)
    assert {entry.split for entry in scan(name, root, split="all-test").entries} == {"test"}
    assert entries == scan(name, root, split="identity:40/30/30").entries


def test_reads_a_remote_root_alike(name, root, tmp_path):
    remote = f"memory://{tmp_path.name}"
    folder = tmp_path / "a root é"
    memory = fsspec.filesystem("memory")
    memory.put(f"{folder}/", remote, recursive=True)
    try:
        there = scan(name, root.replace(str(folder), remote))
    finally:
        memory.rm(remote, recursive=True)
    assert {entry.root for entry in there.entries} == {remote}
    here = scan(name, root)
    assert [replace(entry, root="") for entry in there.entries] == [replace(entry, root="") for entry in here.entries]
    assert there.unknown == here.unknown


def test_names_the_quality_that_is_not_there(name, root):
    with pytest.raises(ManifestError, match="c99"):
        scan(name, root, quality="c99")


def test_refuses_a_root_that_is_not_there(name, tmp_path):
    with pytest.raises(ManifestError, match="nowhere"):
        scan(name, str(tmp_path / "nowhere"))


def test_registry_refuses_a_second_adapter_of_a_name():
    with pytest.raises(ConfigError, match="'ffpp' already"):
        register(get("ffpp"))


def test_registry_names_the_nearest_dataset():
    with pytest.raises(ConfigError, match="did you mean 'ffpp'"):
        get("ffp")


def test_video_id_of_a_plain_name_is_readable():
    assert make_video_id("ffpp", "Deepfakes", "c23", "x/000_003.mp4") == "ffpp-Deepfakes-c23-000_003"


def test_video_ids_of_names_that_would_coincide_differ():
    one, other = (make_video_id("d", "real", "native", f"{name}.mp4") for name in ("a b", "a.b"))
    assert one == "d-real-native-a_b-" + one[-8:]
    assert one != other
    assert one == make_video_id("d", "real", "native", "a b.mp4")


def test_a_single_quality_needs_no_choice():
    assert choose_quality(["c23", "c23"], None) == "c23"
    with pytest.raises(ManifestError, match=r"--quality c23\|c40"):
        choose_quality(["c40", "c23"], None)
