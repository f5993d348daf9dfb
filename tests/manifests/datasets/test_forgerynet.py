from pathlib import Path

import pytest

from facemill import ManifestError
from facemill.manifests import scan
from tests.manifests.dataset_trees import forgerynet, touch

IMAGES = "Training/image/images/train_release"
VIDEOS = "Training/video/train_video_release"


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_the_folder_tells_the_method_and_whose_videos_reals_are(tmp_path):
    paths = by_path(scan("forgerynet", forgerynet(tmp_path)))
    fake, real = paths[f"{IMAGES}/7/aa/b0/frame00038.jpg"], paths[f"{IMAGES}/16/aa/frame00001.jpg"]
    assert (fake.method, fake.label) == ("Talking-Head-Video", 1)  # the list says 15
    assert (real.method, real.label, real.attributes) == ("real", 0, ("source=RAVDESS",))
    assert paths["Validation/val_perturb_release/18/bb/frame00014.jpg"].attributes == ("source=AVSpeech",)


def test_masks_are_the_authors_for_fake_images_that_have_one(tmp_path):
    masks = {path: entry.mask_path for path, entry in by_path(scan("forgerynet", forgerynet(tmp_path))).items()}
    masks = {path: mask for path, mask in masks.items() if mask}
    assert masks == {
        f"{IMAGES}/7/aa/b0/frame00038.jpg": "Training/spatial_localize/train_mask_release/7/aa/b0/frame00038.jpg",
        f"{IMAGES}/7/aa/b1/frame00002.jpg": "Training/spatial_localize/train_mask_release/7/aa/b1/frame00002.jpg",
        "Validation/val_perturb_release/7/ba/b0/frame00038.jpg": (
            "Validation/spatial_localize/val_perturb_release/7/ba/b0/frame00038.jpg"
        ),
    }


def test_fakes_with_a_real_segment_and_test_are_left_out_and_told(tmp_path):
    report = scan("forgerynet", forgerynet(tmp_path))
    paths = by_path(report)
    assert "Validation/video/val_video_release/1/da/00/video.mp4" not in paths
    assert paths[f"{VIDEOS}/1/ca/00/video.mp4"].label == 1
    assert paths[f"{VIDEOS}/17/cb/00.mp4"].label == 0
    assert report.unknown == ["stray.mp4"]
    assert report.notes == [
        "1 fake videos have segments that are real, and are left out.",
        "2 files of test have no published labels, and are left out.",
    ]


def test_videos_in_no_list_are_unknown_but_of_the_two_methods_that_forge_all(tmp_path):
    root = forgerynet(tmp_path)
    touch(tmp_path / VIDEOS, ["3/ff/00.mp4"])
    report = scan("forgerynet", root)
    assert f"{VIDEOS}/3/ff/00.mp4" in report.unknown
    assert {entry.method for entry in report.entries} >= {"FS-GAN", "ATVG-Net"}


def test_listed_files_that_are_not_there_are_missing(tmp_path):
    root = forgerynet(tmp_path)
    for path in (f"{IMAGES}/19/ac/1.jpg", f"{VIDEOS}/1/ca/00/video.mp4"):
        (tmp_path / path).unlink()
    missing = scan("forgerynet", root).missing
    assert missing == ["train_release/19/ac/1.jpg", "train_video_release/1/ca/00/video.mp4"]


def test_by_identity_an_image_stays_with_others_of_its_source(tmp_path):
    for seed in range(5):
        paths = by_path(scan("forgerynet", forgerynet(tmp_path / str(seed)), split="identity:40/30/30", seed=seed))
        assert len({entry.split for path, entry in paths.items() if "/aa/" in path}) == 1


@pytest.mark.parametrize(
    "line", ["2 train_video_release/1/ca/00/video.mp4 0 30 1 1 1 1", "x y", "1 elsewhere/1/ca/00.mp4 0 30 1 1 1 1"]
)
def test_a_damaged_list_is_refused(tmp_path, line):
    root = forgerynet(tmp_path)
    (tmp_path / "list/Training/video_list.txt").write_text(f"\n{line}\n")
    with pytest.raises(ManifestError, match=r"Line 2 of list/Training/video_list\.txt does not describe a file"):
        scan("forgerynet", root)


def test_videos_need_their_list(tmp_path):
    root = forgerynet(tmp_path)
    for path in Path(root).rglob("video_list.txt"):
        path.unlink()
    with pytest.raises(ManifestError, match=r"lacks video_list\.txt"):
        scan("forgerynet", root)
