import pytest

from facemill.manifests import scan, shared_subjects, validate
from facemill.registry import DATASETS
from tests.manifests.dataset_trees import talkingheadbench


@pytest.fixture
def root(tmp_path) -> str:
    return talkingheadbench(tmp_path)


def test_all_are_fakes_of_their_folder_s_method_and_split(root):
    report = scan("talkingheadbench", root)
    assert validate(report.entries) == []
    assert report.unknown == ["stray.mp4"]
    assert report.unpaired == report.unsplit == report.duplicate == []
    videos = {entry.path: entry for entry in report.entries}
    assert len(videos) == 2 * 4 * 2 + 2
    assert {entry.label for entry in videos.values()} == {1}
    assert {entry.split for path, entry in videos.items() if "/val/" in path} == {"val"}
    added = videos["fake/additional_dataset/MAGI-1/7.mp4"]
    assert (added.method, added.split, added.subject_ids) == ("MAGI-1", "test", ())


def test_its_page_is_named_as_the_site_does():
    """Names of repositories there have capitals."""
    assert DATASETS["talkingheadbench"].link == "https://huggingface.co/datasets/luchaoqi/TalkingHeadBench"


def test_the_subject_is_the_image_and_not_who_drives(root):
    videos = {entry.path: entry for entry in scan("talkingheadbench", root).entries}
    video = videos["fake/Hallo/train/00012---3kq_9xT_1--Hallo.mp4"]
    assert video.subject_ids == ("talkingheadbench-00012",)
    report = scan("talkingheadbench", root, split="identity:40/30/30")
    assert {entry.split for entry in report.entries} == {"train", "val", "test"}
    assert shared_subjects(report.entries) == []
