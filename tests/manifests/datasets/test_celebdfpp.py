import pytest

from facemill import ManifestError
from facemill.manifests import scan
from tests.manifests.dataset_trees import CELEBPP_TEST, celebdfpp, touch


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_a_swap_is_paired_by_each_method_alike(tmp_path):
    entries = by_path(scan("celebdfpp", celebdfpp(tmp_path)))
    real = entries["Celeb-real/id2_0000.mp4"].video_id
    for method in ("Celeb-DF", "GHOST"):
        fake = entries[f"Celeb-synthesis/FaceSwap/{method}/id2_id3_0000.mp4"]
        assert (fake.method, fake.source_id) == (method, real)
        assert fake.subject_ids == ("celebdfpp-id2", "celebdfpp-id3")


def test_driven_faces_have_subjects_and_no_original(tmp_path):
    entries = by_path(scan("celebdfpp", celebdfpp(tmp_path)))
    talking = entries["Celeb-synthesis/TalkingFace/FLOAT/id4_00004.mp4"]
    driven = entries["Celeb-synthesis/FaceReenact/LIA/id4_id5_0000.mp4"]
    assert (talking.source_id, talking.subject_ids) == (None, ("celebdfpp-id4",))
    assert (driven.source_id, driven.subject_ids) == (None, ("celebdfpp-id4", "celebdfpp-id5"))


def test_the_list_is_test_and_nothing_of_it_is_trained_on(tmp_path):
    report = scan("celebdfpp", celebdfpp(tmp_path))
    assert sorted(entry.path for entry in report.entries if entry.split == "test") == sorted(CELEBPP_TEST)


def test_a_listed_video_that_is_not_there_and_a_copy_are_told(tmp_path):
    root = celebdfpp(tmp_path)
    (tmp_path / CELEBPP_TEST[-1]).unlink()
    touch(tmp_path, ["Celeb-synthesis/FaceSwap/GHOST/videos/id2_id3_0000.mp4"])
    report = scan("celebdfpp", root)
    assert CELEBPP_TEST[-1] in report.missing
    assert len(report.duplicate) == 1


def test_a_list_of_another_kind_is_refused(tmp_path):
    root = celebdfpp(tmp_path)
    (tmp_path / "List_of_testing_videos.txt").write_text("1 Celeb-real/id0_0000.mp4\n0 somewhere.mp4\n")
    with pytest.raises(ManifestError, match=r"Line 2 of List_of_testing_videos\.txt is not a label and a video path"):
        scan("celebdfpp", root)
