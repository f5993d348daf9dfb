from pathlib import Path

import pytest

from facemill import ManifestError
from facemill.manifests import REFERENCE, merge, scan, shared_subjects, validate
from tests.manifests.dataset_trees import celebdf, dfdm


@pytest.fixture
def root(tmp_path: Path) -> str:
    return dfdm(tmp_path / "dfdm")


def test_method_quality_and_persons_are_told_by_folder_and_name(root):
    report = scan("dfdm", root, quality="raw")
    assert report.unknown == ["stray.mp4"]
    assert report.notes == ["dfdm has no official split: all videos are test."]
    fakes = {entry.path: entry for entry in report.entries}
    fake = fakes["DFDM_crf0/B/id0_id1_0000_5dfl-h128.mp4"]
    assert (fake.method, fake.label, fake.quality, fake.split) == ("DFL-H128", 1, "raw", "test")
    assert fake.subject_ids == ("celebdf2-id0", "celebdf2-id1")
    assert {entry.method for entry in report.entries} == {"DFL-H128", "Faceswap"}
    assert len(report.unpaired) == len(report.entries) == 6


def test_a_root_of_several_qualities_needs_a_choice(root):
    with pytest.raises(ManifestError, match=r"--quality c23\|raw"):
        scan("dfdm", root)


@pytest.mark.parametrize("quality", ["raw", "c23"])
@pytest.mark.parametrize("as_manifest", [False, True])
def test_originals_are_celebdf_s_in_every_quality(root, tmp_path, quality, as_manifest):
    celeb = celebdf(tmp_path / "celeb")
    given = scan("celebdf2", celeb, split="all-test").entries if as_manifest else celeb
    report = scan("dfdm", root, quality=quality, originals=given)
    assert validate(report.entries) == []
    assert report.unpaired == []
    entries = {entry.video_id: entry for entry in report.entries}
    fake = entries[f"dfdm-Faceswap-{quality}-id2_id0_0000"]
    real = entries[fake.source_id]
    assert (real.path, real.quality, real.split) == ("Celeb-real/id2_0000.mp4", "native", REFERENCE)
    assert fake.subject_ids == ("celebdf2-id2", "celebdf2-id0")


def test_merged_with_celebdf_no_person_is_in_two_splits(root, tmp_path):
    celeb = scan("celebdf2", celebdf(tmp_path / "celeb"), split="all-test").entries
    merged = merge([celeb, scan("dfdm", root, quality="c23", originals=celeb).entries])
    assert REFERENCE not in {entry.split for entry in merged.entries}
    assert shared_subjects(merged.entries) == []
