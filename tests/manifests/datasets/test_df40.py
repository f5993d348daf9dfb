import shutil
from pathlib import Path

import pytest

from facemill import ManifestError
from facemill.manifests import REFERENCE, scan, validate
from facemill.manifests.sequences import is_sequence
from tests.manifests.dataset_trees import DF40_IMAGES, celebdf, df40, ffpp, touch

FF_REALS = "FaceForensics++/original_sequences"


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_folders_of_crops_are_sequences_and_images_that_are_alone_are_videos(tmp_path):
    paths = by_path(scan("df40", df40(tmp_path)))
    assert {path for path in paths if not is_sequence(path)} == set(DF40_IMAGES)
    assert "DF40/simswap/ff/frames/953_974" in paths
    assert not any("masks" in path or "landmarks" in path for path in paths)


def test_methods_and_labels_are_of_the_folders(tmp_path):
    paths = by_path(scan("df40", df40(tmp_path)))
    for path, method in (
        ("DF40/heygen/heygen_new/fake/frames/Ann+Lee_1", "heygen"),
        ("DF40/deepfacelab/real/frames/clip_7", "real"),
        ("DF40/stargan/real/real/000001.jpg", "real"),
        ("DF40/VQGAN/cdf/Fake_from_Celeb-real/id0_0002", "VQGAN"),
        ("DF40/sd2.1/cdf/YouTube-real/00170", "sd2.1"),
        ("DF40/e4e/e4e/cdf/Celeb-real/inversions/id0_0002_003.jpg", "e4e"),
    ):
        assert (paths[path].method, paths[path].label) == (method, int(method != "real"))


def test_spelling_of_a_method_s_folder_may_differ(tmp_path):
    touch(tmp_path, ["PixArt/ff/000/0.png", "rddm/ff/000/0.png"])
    assert {entry.method for entry in scan("df40", str(tmp_path)).entries} == {"pixart", "RDDM"}


def test_subjects_are_the_ids_of_names_and_one_person_s_reals_and_fakes_share_them(tmp_path):
    paths = by_path(scan("df40", df40(tmp_path)))
    assert paths["DF40/simswap/ff/frames/953_974"].subject_ids == ("ffpp-953", "ffpp-974")
    assert paths["DF40/simswap/cdf/frames/id0_id1_0002"].subject_ids == ("celebdf2-id0", "celebdf2-id1")
    youtube = ("DF40/sd2.1/cdf/YouTube-real/00170", "Celeb-DF-v2/YouTube-real/frames/00170")
    assert [paths[path].subject_ids for path in youtube] == [("celebdf2-00170",)] * 2
    assert paths["DF40/CollabDiff/fake/101"].subject_ids == ()  # a number of its own


def test_what_was_trained_on_faceforensics_is_seen_to_know_its_people(tmp_path):
    people = {subject for entry in scan("ffpp", ffpp(tmp_path / "ff")).entries for subject in entry.subject_ids}
    crops = scan("df40", df40(tmp_path / "df40")).entries
    assert people == {subject for entry in crops for subject in entry.subject_ids if subject.startswith("ffpp-")}


def test_without_lists_the_folder_tells_the_split(tmp_path):
    root = df40(tmp_path)
    shutil.rmtree(tmp_path / "FaceForensics++")
    report = scan("df40", root)
    splits = {path: entry.split for path, entry in by_path(report).items()}
    assert {splits[path] for path in splits if path.startswith("DF40_train/")} == {"train"}
    assert {splits[path] for path in splits if not path.startswith("DF40_train/")} == {"test"}


def test_a_root_of_one_part_needs_no_folder_of_its_name(tmp_path):
    touch(tmp_path, ["lia/frames/000_003/0.png", "lia/ff/frames/953_974/0.png", "train/lia/ff/frames/003_000/0.png"])
    splits = {path: entry.split for path, entry in by_path(scan("df40", str(tmp_path))).items()}
    assert splits == {
        "lia/frames/000_003": "train",
        "lia/ff/frames/953_974": "test",
        "train/lia/ff/frames/003_000": "train",
    }


def test_lists_decide_about_videos_of_one_split(tmp_path):
    root = df40(tmp_path)
    touch(tmp_path, ["DF40_train/e4s/frames/000_003/000.png", "DF40_train/inswap/frames/953_000/000.png"])
    report = scan("df40", root)
    paths = by_path(report)
    assert paths["DF40/e4s/ff/frames/000_003"].split == "train"
    assert report.duplicate == ["DF40_train/e4s/frames/000_003"]  # the same video, once in test
    assert paths["DF40_train/inswap/frames/953_000"].split == "train"  # ids of two splits: as the folder says
    assert "1 fakes are in another split by FaceForensics++'s lists than by their folder." in report.notes


def test_reals_of_faceforensics_need_its_lists(tmp_path):
    root = df40(tmp_path)
    shutil.rmtree(tmp_path / "FaceForensics++/splits")
    with pytest.raises(ManifestError, match=r"lacks train\.json, val\.json and test\.json"):
        scan("df40", root)
    assert scan("df40", root, split="all-test").entries


def test_val_is_carved_from_train(tmp_path):
    touch(tmp_path, [f"lia/frames/{n:03d}_{n + 1:03d}/0.png" for n in range(0, 40, 2)])
    assert {entry.split for entry in scan("df40", str(tmp_path)).entries} == {"train", "val"}


def test_reals_of_another_quality_than_fakes_are_unknown(tmp_path):
    root = df40(tmp_path)
    other = f"{FF_REALS}/youtube/c40/frames/000"
    touch(tmp_path, [f"{other}/0.png"])
    assert other in scan("df40", root).unknown


def test_images_of_a_folder_stay_together_where_no_subject_is_known(tmp_path):
    root = df40(tmp_path)
    touch(tmp_path, [f"DF40/MidJourney/fake/{letter}.{kind}" for letter in "bcdef" for kind in ("gif", "png")])
    for seed in range(3):
        report = scan("df40", root, split="identity:40/30/30", seed=seed)
        assert len({entry.split for entry in report.entries if entry.method == "MidJourney"}) == 1


@pytest.fixture
def videos(tmp_path: Path) -> str:
    """Whole videos, as the authors offer them beside crops."""
    touch(
        tmp_path / "videos",
        [
            *("train/simswap/000_003.mp4", "test/simswap/ff/953_974.mp4", "test/simswap/cdf/id0_id1_0000.mp4"),
            *("test/lia/ff/953_974.mp4", "test/heygen/fake/a+b.mp4", "test/heygen/real_mp4/a+b.mp4"),
        ],
    )
    return str(tmp_path / "videos")


def test_whole_videos_of_swaps_get_their_originals_of_two_datasets(videos, tmp_path):
    given = [
        *scan("ffpp", ffpp(tmp_path / "ff")).entries,
        *scan("celebdf2", celebdf(tmp_path / "celeb")).entries,
    ]
    report = scan("df40", videos, originals=given)
    assert validate(report.entries) == []
    assert report.unpaired == []
    paths = by_path(report)
    pairs = {path: entry.source_id for path, entry in paths.items() if entry.source_id}
    assert pairs == {
        "train/simswap/000_003.mp4": "ffpp-real-c23-000",
        "test/simswap/ff/953_974.mp4": "ffpp-real-c23-953",
        "test/simswap/cdf/id0_id1_0000.mp4": "celebdf2-real-native-id0_0000",
    }
    assert paths["test/heygen/real_mp4/a+b.mp4"].label == 0
    assert sum(entry.split == REFERENCE for entry in report.entries) == 3


def test_one_folder_of_originals_serves_its_part(videos, tmp_path):
    report = scan("df40", videos, originals=celebdf(tmp_path / "celeb"))
    assert sorted(report.unpaired) == ["test/simswap/ff/953_974.mp4", "train/simswap/000_003.mp4"]
    assert len(scan("df40", videos).unpaired) == 3
