import pytest

from facemill import ManifestError
from facemill.manifests import from_globs
from tests.manifests.dataset_trees import touch


@pytest.fixture
def root(tmp_path):
    touch(
        tmp_path / "my corpus", ["real/1.mp4", "real/deep/2.mp4", "fake/1.mp4", "fake/3.avi", "other.mp4", "fake/x.txt"]
    )
    return str(tmp_path / "my corpus")


def test_two_patterns_make_a_manifest_without_pairs(root):
    report = from_globs(root, "real/**/*.mp4", "fake/*.*i", split="all-val")
    assert [(entry.path, entry.label, entry.source_id) for entry in report.entries] == [
        ("fake/3.avi", 1, None),
        ("real/1.mp4", 0, None),
        ("real/deep/2.mp4", 0, None),
    ]
    assert {(entry.dataset, entry.split) for entry in report.entries} == {("my_corpus", "val")}
    assert report.unknown == ["fake/1.mp4", "other.mp4"]


def test_a_star_stays_within_a_folder(root):
    assert [entry.path for entry in from_globs(root, "real/*.mp4", "fake/*.mp4", split="all-val").entries] == [
        "fake/1.mp4",
        "real/1.mp4",
    ]


@pytest.mark.parametrize(
    ("real", "fake", "split", "message"),
    [
        ("real/*", "fake/*", "official", "no official split"),
        ("nothing/*", "fake/*", "all-test", "matches 'nothing/"),
        ("real/*", "*/*", "all-test", "matches both patterns"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(root, real, fake, split, message):
    with pytest.raises(ManifestError, match=message):
        from_globs(root, real, fake, split=split)
