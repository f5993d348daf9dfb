import shutil
from pathlib import Path

import pytest

from facemill import ManifestError
from facemill.manifests import group_clips, scan
from tests.manifests.dataset_trees import (
    FFPP_METHODS,
    FFPP_PAIRS,
    MASKED,
    dfd_videos,
    ffpp,
    ffpp_videos,
    touch,
    write_splits,
)


@pytest.fixture
def root(tmp_path) -> Path:
    touch(tmp_path, ffpp_videos())
    write_splits(tmp_path)
    return tmp_path


def by_id(report):
    return {entry.video_id: entry for entry in report.entries}


def test_the_first_id_is_the_target(root):
    fake = by_id(scan("ffpp", str(root)))["ffpp-Deepfakes-c23-000_003"]
    assert fake.source_id == "ffpp-real-c23-000"
    assert fake.subject_ids == ("ffpp-000", "ffpp-003")


def test_one_stem_under_five_methods_is_five_videos_of_one_group(root):
    (group,) = [g for g in group_clips(scan("ffpp", str(root)).entries) if g.group_id == "ffpp-real-c23-003"]
    assert [fake.video_id for fake in group.fakes] == sorted(f"ffpp-{m}-c23-003_000" for m in FFPP_METHODS)


def test_official_splits_follow_the_ids(root):
    report = scan("ffpp", str(root))
    for entry in report.entries:
        expected = next(s for s, pairs in FFPP_PAIRS.items() if entry.path[-7:-4] in pairs[0])
        assert entry.split == expected
    assert report.found == {("ffpp", m, s): 2 for m in ("real", *FFPP_METHODS) for s in ("train", "val", "test")}
    assert report.missing == report.unpaired == report.unsplit == report.duplicate == []


def test_published_counts_stand_beside_the_found_ones(root):
    lines = scan("ffpp", str(root)).lines()
    assert lines[0].split() == ["dataset", "method", "train", "val", "test", "found", "published"]
    assert lines[1].split() == ["ffpp", "real", "2", "2", "2", "6", "1000", "=", "720", "+", "140", "+", "140"]
    assert len(lines) == 7  # no problems, no notes


def test_split_files_may_lie_in_a_folder(tmp_path):
    touch(tmp_path, ffpp_videos())
    write_splits(tmp_path / "splits")
    assert len(scan("ffpp", str(tmp_path)).entries) == 36


def test_without_split_files_it_says_what_to_do(tmp_path):
    touch(tmp_path, ffpp_videos())
    with pytest.raises(ManifestError, match=r"train\.json.*github.*--split identity:80/10/10"):
        scan("ffpp", str(tmp_path))
    assert len(scan("ffpp", str(tmp_path), split="identity:34/33/33").entries) == 36


def test_a_fake_without_its_original_is_kept_and_reported(root):
    (root / "original_sequences/youtube/c23/videos/000.mp4").unlink()
    report = scan("ffpp", str(root))
    assert by_id(report)["ffpp-FaceSwap-c23-000_003"].source_id is None
    assert report.unpaired == sorted(f"manipulated_sequences/{m}/c23/videos/000_003.mp4" for m in FFPP_METHODS)
    assert report.missing == ["original_sequences/youtube/c23/videos/000.mp4"]


def test_an_original_in_another_quality_is_no_original(root):
    real = root / "original_sequences/youtube/c23/videos/000.mp4"
    raw = root / "original_sequences/youtube/raw/videos/000.mp4"
    raw.parent.mkdir(parents=True)
    real.rename(raw)
    report = scan("ffpp", str(root), quality="c23")
    assert len(report.unpaired) == 5


def test_several_qualities_must_be_chosen_from(root):
    touch(root, ffpp_videos("c40"))
    with pytest.raises(ManifestError, match=r"--quality c23\|c40"):
        scan("ffpp", str(root))
    report = scan("ffpp", str(root), quality="c40")
    assert {entry.quality for entry in report.entries} == {"c40"}
    assert report.unknown == []


def test_c0_is_an_old_name_of_raw(tmp_path):
    touch(tmp_path, ffpp_videos("c0"))
    write_splits(tmp_path)
    report = scan("ffpp", str(tmp_path), quality="raw")
    assert by_id(report)["ffpp-Deepfakes-raw-000_003"].source_id == "ffpp-real-raw-000"


def test_c0_beside_raw_is_a_duplicate(root):
    touch(root, ["original_sequences/youtube/c0/videos/000.mp4", "original_sequences/youtube/raw/videos/000.mp4"])
    report = scan("ffpp", str(root), quality="raw")
    assert report.duplicate == ["original_sequences/youtube/raw/videos/000.mp4"]
    assert len(report.entries) == 1


@pytest.mark.parametrize("level", ["", "c23/", "raw/"])
def test_one_set_of_masks_serves_every_quality(root, level):
    touch(root, [f"manipulated_sequences/{method}/masks/{level}videos/000_003.mp4" for method in MASKED])
    report = scan("ffpp", str(root))
    for method in FFPP_METHODS:
        mask = by_id(report)[f"ffpp-{method}-c23-000_003"].mask_path
        assert mask == (f"manipulated_sequences/{method}/masks/{level}videos/000_003.mp4" if method in MASKED else None)
    assert by_id(report)["ffpp-Deepfakes-c23-003_000"].mask_path is None
    assert report.unknown == []


def test_masks_of_the_own_quality_come_first(root):
    touch(root, [f"manipulated_sequences/Deepfakes/masks/{level}videos/000_003.mp4" for level in ("c0/", "c23/", "")])
    mask = by_id(scan("ffpp", str(root)))["ffpp-Deepfakes-c23-000_003"].mask_path
    assert mask == "manipulated_sequences/Deepfakes/masks/c23/videos/000_003.mp4"


def test_ids_of_the_split_files_that_are_not_there_are_missing(root):
    write_splits(root, {**FFPP_PAIRS, "train": [["000", "003"], ["001", "870"]]})
    missing = scan("ffpp", str(root)).missing
    assert len(missing) == 2 + 2 * len(FFPP_METHODS)
    assert "manipulated_sequences/FaceShifter/c23/videos/870_001.mp4" in missing
    assert "original_sequences/youtube/c23/videos/001.mp4" in missing


def test_a_pair_across_splits_is_left_out_and_reported(root):
    crossing = "manipulated_sequences/Deepfakes/c23/videos/000_720.mp4"
    nowhere = "original_sequences/youtube/c23/videos/555.mp4"
    touch(root, [crossing, nowhere])
    report = scan("ffpp", str(root))
    assert report.unsplit == sorted([crossing, nowhere])
    assert len(report.entries) == 36


def test_an_id_in_two_split_files_is_refused(root):
    write_splits(root, {**FFPP_PAIRS, "test": [["000", "974"]]})
    with pytest.raises(ManifestError, match=r"Id 000 is in train\.json and in test\.json"):
        scan("ffpp", str(root))


@pytest.mark.parametrize("text", ['["071", "054"]', '{"a": 1}', "[[1, 2, 3]]", "not json", "[1]", "3"])
def test_a_malformed_split_file_is_refused(root, text):
    (root / "val.json").write_text(text)
    with pytest.raises(ManifestError, match=r"val\.json is not a list of pairs"):
        scan("ffpp", str(root))


def test_dfd_in_the_same_root_is_another_dataset(root):
    touch(root, dfd_videos())
    report = scan("ffpp", str(root))
    assert {entry.dataset for entry in report.entries} == {"ffpp"}
    assert report.notes == ["14 video files of DeepFakeDetection are in this root too: scan dfd for them."]
    assert report.unknown == []


def test_names_that_nearly_fit_are_unknown(root):
    odd = [
        "manipulated_sequences/Deepfakes/c23/videos/000_003 (1).mp4",
        "manipulated_sequences/Deepfakes/c23/videos/000.mp4",
        "manipulated_sequences/NewMethod/c23/videos/000_003.mp4",
        "original_sequences/youtube/c23/videos/0000.mp4",
        "original_sequences/youtube/c23/videos/é.MP4",
    ]
    touch(root, [*odd, "notes.txt", "original_sequences/youtube/c23/frames/000/0001.png"])
    report = scan("ffpp", str(root))
    assert report.unknown == sorted(odd)
    assert len(report.entries) == 36


def test_linked_folders_are_followed_but_not_in_circles(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("disk two") / "Deepfakes"
    shutil.move(root / "manipulated_sequences/Deepfakes", elsewhere)
    (root / "manipulated_sequences/Deepfakes").symlink_to(elsewhere)
    (root / "manipulated_sequences/again").symlink_to(root)
    report = scan("ffpp", str(root))
    assert len(report.entries) == 36
    assert report.unknown == []


def test_an_empty_root_is_refused(tmp_path):
    touch(tmp_path, ["holiday.mp4"])
    with pytest.raises(ManifestError, match=r"There are no ffpp videos below .*1 unknown"):
        scan("ffpp", str(tmp_path), split="all-test")


def test_frames_as_the_authors_script_extracts_them_are_found(tmp_path):
    """In `images` in place of `videos`, of masks too; where there are both, the videos are used and that is told."""
    ffpp(tmp_path)
    videos = scan("ffpp", str(tmp_path))
    for folder in [*tmp_path.rglob("videos")]:
        for video in folder.iterdir():
            touch(folder.parent / "images" / video.stem, ["0000.png", "0001.png"])
    both = scan("ffpp", str(tmp_path))
    assert both.entries == videos.entries
    assert len(both.duplicate) == len(videos.entries)
    for folder in [*tmp_path.rglob("videos")]:
        shutil.rmtree(folder)
    frames = scan("ffpp", str(tmp_path))
    assert [entry.video_id for entry in frames.entries] == [entry.video_id for entry in videos.entries]
    for entry, video in zip(frames.entries, videos.entries, strict=True):
        assert f"{entry.path}.mp4" == video.path.replace("videos", "images")
        assert (entry.source_id, entry.split, entry.content) == (video.source_id, video.split, "frames")
        assert (entry.mask_path and f"{entry.mask_path}.mp4") == (
            video.mask_path and video.mask_path.replace("videos", "images")
        )
    assert (frames.missing, frames.unknown) == (videos.missing, videos.unknown)
