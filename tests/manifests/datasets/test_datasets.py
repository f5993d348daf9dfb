"""The contract of dataset adapters: every registered one goes through these."""

import shlex
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

from facemill import ManifestError
from facemill.manifests import (
    REFERENCE,
    SPLITS,
    check_roots,
    group_clips,
    locate,
    read_videos,
    scan,
    shared_subjects,
    validate,
)
from facemill.manifests.archives import split_archive
from facemill.manifests.datasets.base import choose_quality, make_video_id, plain_name
from facemill.manifests.scanning.scan_report import ALL_SPLITS
from facemill.pipeline.commands.cli import app
from facemill.registry import DATASETS
from tests.manifests.dataset_trees import FAKES_ONLY, OFFICIAL_SPLITS, TELLS_NO_PAIRS, TREES, write_zip


@pytest.fixture(params=[name for name in DATASETS if name not in FAKES_ONLY])
def name(request) -> str:
    return request.param


@pytest.fixture
def root(name, tmp_path) -> str:
    return TREES[name](tmp_path / "a root é")


@pytest.mark.parametrize("name", list(DATASETS))
def test_says_what_it_reads(name):
    adapter = DATASETS[name]
    assert adapter.name == name
    for topic in ("Layout", "Pairs", "Splits", "Published"):
        assert f"{topic}:" in type(adapter).__doc__
    assert not adapter.link or adapter.link.startswith("https://")
    assert adapter.summary == type(adapter).__doc__.splitlines()[0]
    for dataset, method, split in adapter.published:
        assert dataset == name
        assert method
        assert split in (*SPLITS, ALL_SPLITS)


UNKNOWN = {
    "terms": {"csv", "uadfv", "kodf", "talkingheadbench"},
    "methods": {"csv"},
    "size": {
        *("csv", "uadfv", "celebdf1", "celebdf2", "celebdfpp", "dfdcp", "wild", "fakeavceleb", "ffiw", "lavdf"),
        *("avdeepfake1m", "df40", "forgerynet", "deepspeak", "kodf", "dfdm", "talkingheadbench", "idforge"),
    },
}
"""Datasets of which nobody has found the authors' word: one of another name must say it."""


@pytest.mark.parametrize("fact", list(UNKNOWN))
def test_says_its_terms_size_and_methods_or_is_known_not_to(fact):
    silent = {name for name, adapter in DATASETS.items() if getattr(adapter, fact) is None}
    assert silent == UNKNOWN[fact] & DATASETS.keys()


def test_its_command_is_the_one_that_lists_it(name, root, tmp_path):
    command = DATASETS[name].command.replace(" --originals ORIGINALS", "")  # which its own videos do without
    words = shlex.split(command.replace("ROOT", shlex.quote(root)))
    words[words.index("videos.parquet")] = str(tmp_path / "videos.parquet")
    assert words[0] == "facemill"
    found = CliRunner().invoke(app, words[1:])
    assert found.exit_code == 0, found.output
    assert len(read_videos(tmp_path / "videos.parquet")) == len(
        scan(name, root, quality="c23" if DATASETS[name].options else None).entries
    )


def test_topics_are_first_sentences_of_the_description():
    ffpp = DATASETS["ffpp"]
    assert ffpp.topic("Pairs") == "a fake's original is its target, the first id, in the same quality"
    assert ffpp.topic("Splits") == "`{train,val,test}.json` in the root or in `splits/`, lists of pairs of ids"
    assert ffpp.topic("Published") == "1000 reals (720/140/140) and as many fakes per method"
    assert DATASETS["dfdc"].topic("Published").endswith("2500 of each in the test set")
    assert DATASETS["uadfv"].topic("Masks") is None
    assert DATASETS["celebdfpp"].topic("Published").endswith("300 of each talking face")
    assert "--originals ORIGINALS" in DATASETS["deeperforensics"].command
    assert all("--quality c23" in DATASETS[name].command for name in ("ffpp", "dfd"))  # a root has several


def test_finds_valid_videos_that_are_there(name, root):
    report = scan(name, root)
    assert validate(report.entries) == []
    assert {entry.split for entry in report.entries} == OFFICIAL_SPLITS.get(name, set(SPLITS))
    assert {entry.label for entry in report.entries} == {0, 1}
    assert [entry.video_id for entry in report.entries] == sorted(entry.video_id for entry in report.entries)
    for entry in report.entries:
        assert entry.video_id.startswith(plain_name(f"{entry.dataset}-{entry.method}-{entry.quality}-"))
        homes = tuple(f"{home}-" for home in (entry.dataset, *DATASETS[name].originals))
        assert all(subject.startswith(homes) for subject in entry.subject_ids)
        archive = split_archive(entry.path)
        assert Path(locate(entry.root, entry.path if archive is None else archive[0])).exists()
        assert entry.mask_path is None or Path(locate(entry.root, entry.mask_path)).is_file()
    assert sum(report.found.values()) == len(report.entries)


def test_a_fake_is_paired_or_reported(name, root):
    report = scan(name, root)
    fakes = [entry for entry in report.entries if entry.label == 1]
    unpaired = {fake.path for fake in fakes if fake.source_id is None}
    assert set(report.unpaired) == {path for path in unpaired if not path.startswith(TELLS_NO_PAIRS.get(name, ()))}


def test_reports_a_video_that_follows_no_rule(name, root):
    report = scan(name, root)
    (stray,) = report.unknown
    assert Path(stray).name == "stray.mp4"
    assert any(line.startswith(f"unknown video files: 1 ({stray})") for line in report.lines())


def test_splits_by_identity(name, root):
    report = scan(name, root, split="identity:40/30/30")
    assert {entry.split for entry in report.entries} == set(SPLITS)
    assert validate(report.entries) == []
    assert shared_subjects(report.entries) == []
    assert report.entries == scan(name, root, split="identity:40/30/30").entries
    assert any(report.entries != scan(name, root, split="identity:40/30/30", seed=seed).entries for seed in range(1, 9))


def test_the_official_split_is_kept_whole(name, root):
    everything = scan(name, root, split="all-test").entries
    report = scan(name, root)
    assert [entry.video_id for entry in report.entries] == [entry.video_id for entry in everything]
    assert report.crossing == []


def test_subjects_apart_leaves_out_what_shows_them_and_no_mask(name, root):
    report = scan(name, root, subjects_apart=True)
    assert validate(report.entries) == []
    assert shared_subjects(report.entries) == []
    whole = {entry.video_id: entry for entry in scan(name, root).entries}
    assert {entry.source_id for entry in report.entries} - {None} <= {entry.video_id for entry in report.entries}
    assert all(entry.source_id == whole[entry.video_id].source_id for entry in report.entries)


def test_every_fake_is_read_beside_its_original(name, root):
    for split in ("official", "identity:40/30/30"):
        groups = group_clips(scan(name, root, split=split).entries)
        sampled = [video.video_id for group in groups for video in group.sampled()]
        assert len(sampled) == len(set(sampled))
        for group in groups:
            assert all(fake.source_id is None or group.real is not None for fake in group.fakes)
            assert {video.split for video in group.sampled()} == {group.split}


def test_goes_into_one_split_as_a_whole(name, root):
    report = scan(name, root, split="all-test")
    assert {entry.split for entry in report.entries} == {"test"}
    assert report.crossing == report.unsplit == []


@pytest.mark.parametrize("split", ["official", "identity:40/30/30", "identity"])
def test_no_video_is_lost_in_silence(name, root, split):
    everything = {entry.path for entry in scan(name, root, split="all-test").entries}
    if name in ("csv", "dfdcp", "dfdc", "ffpp") and split == "identity":
        split = "identity:34/33/33"  # few families
    report = scan(name, root, split=split)
    kept = [entry.path for entry in report.entries if entry.split != REFERENCE]
    assert sorted([*kept, *report.crossing, *report.unsplit]) == sorted(everything)


def test_takes_a_split_from_a_table(name, root, tmp_path):
    entries = scan(name, root, split="all-test").entries
    reals = [entry for entry in entries if entry.label == 0]
    rows = [f"{entry.path},val" for entry in reals] + ["nobody.mp4,train"]
    (tmp_path / "mine.csv").write_text("\n".join(["path,split", *rows]))
    report = scan(name, root, split=str(tmp_path / "mine.csv"))
    assert [entry.video_id for entry in report.entries] == [entry.video_id for entry in reals]
    assert {entry.split for entry in report.entries} == {"val"}
    assert "nobody.mp4" in report.missing
    assert sorted(report.unsplit) == sorted(entry.path for entry in entries if entry.label == 1)
    assert report.unpaired == []


def test_counts_found_stand_beside_the_published_ones(name, root):
    report = scan(name, root)
    header, *rows = (line.split() for line in report.lines()[: 1 + len({entry.method for entry in report.entries})])
    assert header[-2:] == ["found", "published"]
    assert {row[1] for row in rows} >= {"real"}
    published = sum(count for (_, method, _), count in report.published.items() if method == "real")
    (real,) = [row for row in rows if row[1] == "real"]
    assert real[6] == (str(published) if published else "-")


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


def values_of(report):
    """Of each entry all but its place and what its images show; of odd names, ids have a digest of the path."""
    nowhere = {"root": "", "path": "", "mask_path": None, "content": None}
    ids = [{"video_id": entry.video_id[:-8], "source_id": entry.source_id is not None} for entry in report.entries]
    return sorted(repr(replace(entry, **nowhere, **id)) for entry, id in zip(report.entries, ids, strict=True))


def test_finds_folders_of_frames_in_place_of_videos(name, root, tmp_path):
    """And of the frames of masks."""
    if name in ("csv", "df40", "forgerynet", "wild"):
        pytest.skip("its table names the folders, its sequences are crops, or its images are videos of a frame")
    videos = scan(name, root)
    for path in sorted(Path(root).rglob("*.mp4")):
        if path.name != "stray.mp4":
            path.unlink()
            path.with_suffix("").mkdir()
            (path.with_suffix("") / "0001.png").write_bytes(path.name.encode())
    frames = scan(name, root)
    assert values_of(frames) == values_of(videos)
    of_video = {entry.path: entry for entry in videos.entries}
    for entry in frames.entries:
        video = of_video[f"{entry.path}.mp4"]
        assert entry.content == "frames"
        assert video.content is None
        assert (entry.mask_path and f"{entry.mask_path}.mp4") == video.mask_path
    assert frames.unknown == videos.unknown
    assert frames.missing == videos.missing
    assert any("are taken as full frames of videos" in note for note in frames.notes)
    timed = any(entry.fake_periods for entry in frames.entries)
    assert any("forged at times only" in note for note in frames.notes) == timed
    crops = scan(name, root, images="crops")
    assert {entry.content for entry in crops.entries} == {"crops"}
    assert values_of(crops) == values_of(videos)
    assert not any("full frames" in note for note in crops.notes)


def test_reads_a_root_that_is_an_archive_alike(name, root, tmp_path):
    if name in ("wild", "csv"):
        pytest.skip("its root has archives inside, or is a table")
    whole = tmp_path / "whole.zip"
    files = [path for path in Path(root).rglob("*.*") if path.is_file()]
    write_zip(whole, {str(path.relative_to(root)): path.read_bytes() for path in files})
    folder, packed = scan(name, root), scan(name, str(whole))
    assert packed.entries == [replace(entry, root=str(whole)) for entry in folder.entries]
    check_roots(packed.entries)
    assert packed.unknown == folder.unknown


def test_names_the_quality_that_is_not_there(name, root):
    with pytest.raises(ManifestError, match="c99"):
        scan(name, root, quality="c99")


def test_refuses_a_root_that_is_not_there(name, tmp_path):
    with pytest.raises(ManifestError, match="nowhere"):
        scan(name, str(tmp_path / "nowhere"))


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
