from pathlib import Path

import pytest

from facemill import ManifestError
from facemill.manifests import REFERENCE, SPLITS, scan, shared_subjects
from tests.manifests.dataset_trees import (
    CELEB_TEST,
    CELEB_TEST_FAKES,
    celebdf2_release,
    celebdf_videos,
    touch,
    write_test_list,
)


@pytest.fixture
def root(tmp_path) -> Path:
    touch(tmp_path, celebdf_videos())
    write_test_list(tmp_path)
    return tmp_path


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_both_versions_read_the_same_layout(root):
    for name in ("celebdf1", "celebdf2"):
        entry = by_path(scan(name, str(root)))["Celeb-synthesis/id1_id0_0000.mp4"]
        assert entry.video_id == f"{name}-Celeb-synthesis-native-id1_id0_0000"
        assert entry.source_id == f"{name}-real-native-id1_0000"
        assert entry.subject_ids == (f"{name}-id1", f"{name}-id0")


def test_who_is_seen_in_youtube_real_nobody_knows(root):
    assert by_path(scan("celebdf2", str(root)))["YouTube-real/00001.mp4"].subject_ids == ()


def test_the_labels_of_the_test_list_are_inverted(root):
    report = scan("celebdf2", str(root))
    tested = {entry.path: entry.label for entry in report.entries if entry.split == "test"}
    assert tested == dict.fromkeys(CELEB_TEST, 0) | dict.fromkeys(CELEB_TEST_FAKES, 1)
    assert report.notes == []


def test_a_test_list_with_labels_turned_round_changes_nothing(root):
    path = root / "List_of_testing_videos.txt"
    path.write_text("".join(f"{1 - int(line[0])}{line[1:]}\n" for line in path.read_text().splitlines()))
    report = scan("celebdf2", str(root))
    assert {entry.label for entry in report.entries if "synthesis" not in entry.path} == {0}
    assert report.notes == ["5 labels of List_of_testing_videos.txt contradict their folder; the folder is used."]


@pytest.mark.parametrize("youtube", ["Youtube-real", "YouTube-real/videos", "Youtube-real/videos"])
def test_other_spellings_of_youtube_real_are_the_same_videos(root, youtube):
    (root / youtube).parent.mkdir(exist_ok=True)
    (root / "YouTube-real").rename(root / "moved")
    (root / youtube).parent.mkdir(exist_ok=True)
    (root / "moved").rename(root / youtube)
    report = scan("celebdf2", str(root))
    assert by_path(report)[f"{youtube}/00170.mp4"].split == "test"
    assert report.unknown == report.missing == []


def test_a_level_of_videos_is_looked_through(tmp_path):
    touch(tmp_path, [path.replace("/", "/videos/") for path in celebdf_videos()])
    write_test_list(tmp_path)
    report = scan("celebdf2", str(tmp_path))
    fake = by_path(report)["Celeb-synthesis/videos/id1_id0_0000.mp4"]
    assert (fake.source_id, fake.split) == ("celebdf2-real-native-id1_0000", "test")
    assert report.unknown == report.missing == report.unpaired == []


def test_the_same_video_on_two_levels_is_a_duplicate(root):
    touch(root, ["Youtube-real/videos/00001.mp4"])
    assert scan("celebdf2", str(root)).duplicate == ["Youtube-real/videos/00001.mp4"]


LEAKING = ["Celeb-real/id0_0001.mp4", "Celeb-synthesis/id0_id4_0001.mp4", "Celeb-synthesis/id4_id0_0000.mp4"]


def test_what_shows_a_subject_of_test_stays_in_train_in_one_loud_line(root):
    touch(root, LEAKING)
    report = scan("celebdf2", str(root))
    assert {by_path(report)[path].split for path in LEAKING} <= {"train", "val"}
    (loud,) = [line for line in report.lines() if line.startswith("SUBJECTS IN TWO SPLITS: ")]
    assert "celebdf2-id0" in loud


def test_and_with_subjects_apart_leaves_train(root):
    touch(root, LEAKING)
    report = scan("celebdf2", str(root), subjects_apart=True)
    assert set(LEAKING) <= set(report.crossing)
    assert len(scan("celebdf2", str(root)).entries) == len(report.entries) + len(report.crossing)


@pytest.mark.parametrize("apart", [False, True])
def test_a_fake_for_test_keeps_its_original_of_train_or_of_no_split(root, apart):
    touch(root, ["Celeb-real/id0_0007.mp4", "Celeb-synthesis/id0_id1_0007.mp4"])
    with (root / "List_of_testing_videos.txt").open("a") as file:
        file.write("0 Celeb-synthesis/id0_id1_0007.mp4\n")
    report = scan("celebdf2", str(root), subjects_apart=apart)
    fake, real = by_path(report)["Celeb-synthesis/id0_id1_0007.mp4"], by_path(report)["Celeb-real/id0_0007.mp4"]
    assert fake.source_id == real.video_id
    assert fake.split == "test"
    assert real.split in ([REFERENCE] if apart else ["train", "val"])
    assert report.unpaired == []
    assert "fakes whose original is in another split, or in none, and is only a reference: 1" in report.lines()


def test_where_test_shows_everybody_apart_train_and_val_are_what_is_left(tmp_path):
    touch(tmp_path, CELEB_TEST + CELEB_TEST_FAKES + ["Celeb-real/id1_0001.mp4", "YouTube-real/00003.mp4"])
    write_test_list(tmp_path)
    report = scan("celebdf2", str(tmp_path), subjects_apart=True)
    assert report.found["celebdf2", "real", "train"] == 1
    assert report.crossing == ["Celeb-real/id1_0001.mp4"]
    assert report.notes == ["Train has too few subjects to carve val from: val is empty."]


def test_a_listed_video_that_is_not_there_is_missing(root):
    (root / CELEB_TEST[0]).unlink()
    report = scan("celebdf2", str(root))
    assert report.missing == [CELEB_TEST[0]]
    assert report.unpaired == ["Celeb-synthesis/id0_id1_0000.mp4"]


def test_without_the_test_list_it_says_what_to_do(root):
    (root / "List_of_testing_videos.txt").unlink()
    with pytest.raises(ManifestError, match=r"lacks List_of_testing_videos\.txt.*--split identity"):
        scan("celebdf2", str(root))
    assert len(scan("celebdf2", str(root), split="identity:50/25/25").entries) > 0


@pytest.mark.parametrize("line", ["2 Celeb-real/id0_0000.mp4", "Celeb-real/id0_0000.mp4", "1 elsewhere/1.mp4"])
def test_a_malformed_test_list_is_refused(root, line):
    (root / "List_of_testing_videos.txt").write_text(f"\n{line}\n")
    with pytest.raises(ManifestError, match=r"Line 2 of List_of_testing_videos\.txt"):
        scan("celebdf2", str(root))


def test_by_identity_only_fakes_between_splits_are_left_out(root):
    report = scan("celebdf2", str(root), split="identity:50/25/25")
    split_of = {subject: entry.split for entry in report.entries for subject in entry.subject_ids}
    assert report.crossing
    for path in report.crossing:
        target, source = path.rpartition("/")[2].split("_")[:2]
        assert split_of[f"celebdf2-{target}"] != split_of[f"celebdf2-{source}"]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return celebdf2_release(tmp_path_factory.mktemp("Celeb-DF-v2"))


def test_the_release_is_kept_whole_with_its_published_counts(release):
    report = scan("celebdf2", str(release))
    found = report.found
    assert found["celebdf2", "real", "test"] == 178
    assert found["celebdf2", "Celeb-synthesis", "test"] == 340
    assert found["celebdf2", "real", "train"] + found["celebdf2", "real", "val"] == 712
    assert found["celebdf2", "Celeb-synthesis", "train"] + found["celebdf2", "Celeb-synthesis", "val"] == 5299
    assert len(report.entries) == 890 + 5639
    assert report.unpaired == report.missing == report.crossing == report.unsplit == []
    for method, total in (("real", 712), ("Celeb-synthesis", 5299)):
        assert 0.05 < found["celebdf2", method, "val"] / total < 0.15
    (loud,) = [line for line in report.lines() if "TWO SPLITS" in line]
    assert loud.startswith(f"SUBJECTS IN TWO SPLITS: {len(shared_subjects(report.entries))} of 59 (")


def test_nobody_is_seen_in_train_and_in_val_of_the_release(release):
    """Who was swapped in may be: swaps tie all celebrities together."""
    entries = scan("celebdf2", str(release)).entries
    seen = {split: {e.subject_ids[0] for e in entries if e.split == split and e.subject_ids} for split in SPLITS}
    assert len(seen["test"]) == 56
    assert seen["val"]
    assert seen["train"].isdisjoint(seen["val"])
    split_of = {entry.video_id: entry.split for entry in entries}
    away = [entry for entry in entries if entry.source_id and split_of[entry.source_id] != entry.split]
    assert sum(entry.split == "test" for entry in away) == 234
    assert {split_of[entry.source_id] for entry in away if entry.split != "test"} == {"test"}


def test_apart_hardly_a_fake_of_the_release_is_left(release):
    report = scan("celebdf2", str(release), subjects_apart=True)
    fakes = [entry for entry in report.entries if entry.label == 1 and entry.split != "test"]
    assert len(fakes) < 100
    assert shared_subjects(report.entries) == []
