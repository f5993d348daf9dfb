import unicodedata

import pytest

from facemill import ConfigError, ManifestError
from facemill.manifests import from_globs
from tests.manifests.dataset_trees import touch, write_zip


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


@pytest.fixture
def swaps(tmp_path):
    """Reals 000 to 019 and fakes of neighbours, `000_001` and `001_000`, and so on."""
    touch(tmp_path, [f"real/{n:03d}.mp4" for n in range(20)])
    touch(tmp_path, [f"fake/{a:03d}_{a ^ 1:03d}.mp4" for a in range(20)])
    return str(tmp_path)


@pytest.mark.parametrize("pattern", [r"\d{3}", r"(\d{3})(?:_(\d{3}))?\.mp4$"])
def test_a_pattern_names_subjects_so_that_no_identity_is_in_two_splits(swaps, pattern):
    report = from_globs(swaps, "real/*", "fake/*", split="identity:40/30/30", subject=pattern)
    split_of = {entry.path: entry.split for entry in report.entries}
    assert set(split_of.values()) == {"train", "val", "test"}
    for a in range(20):
        same = {
            split_of[f"real/{a:03d}.mp4"],
            split_of[f"real/{a ^ 1:03d}.mp4"],
            split_of[f"fake/{a:03d}_{a ^ 1:03d}.mp4"],
        }
        assert len(same) == 1
    assert report.notes == []


def test_without_it_identity_is_refused(swaps):
    with pytest.raises(ManifestError, match=r"The subjects of these videos are unknown.*--subject"):
        from_globs(swaps, "real/*", "fake/*", split="identity:80/10/10")


@pytest.mark.parametrize(
    ("pattern", "message"), [("(", "not a regular expression"), ("nobody", "matches no path, such as ")]
)
def test_patterns_for_subjects_that_make_no_sense_are_refused(swaps, pattern, message):
    with pytest.raises(ConfigError, match=message):
        from_globs(swaps, "real/*", "fake/*", split="identity", subject=pattern)


def test_frames_of_a_clip_stay_together(tmp_path):
    touch(
        tmp_path,
        [f"{label}/{clip}/{frame:03d}.jpg" for label in ("real", "fake") for clip in range(8) for frame in range(6)],
    )
    report = from_globs(str(tmp_path), "real/**/*.jpg", "fake/**/*.jpg", split="identity:50/25/25")
    folders = {}
    for entry in report.entries:
        folders.setdefault(entry.path.rpartition("/")[0], set()).add(entry.split)
    assert all(len(splits) == 1 for splits in folders.values())
    assert report.notes


def test_one_name_with_two_suffixes_is_two_videos(tmp_path):
    touch(tmp_path, ["fake/h264.mov", "fake/h264.mkv", "real/a.mp4"])
    entries = from_globs(str(tmp_path), "real/*", "fake/*", split="all-test").entries
    assert len({entry.video_id for entry in entries}) == 3


def test_a_pattern_in_another_unicode_form_matches(tmp_path):
    touch(tmp_path, [unicodedata.normalize("NFD", "réal/1.mp4"), "fake/2.mp4"])
    assert (
        len(from_globs(str(tmp_path), unicodedata.normalize("NFC", "réal/*"), "fake/*", split="all-test").entries) == 2
    )


def test_folders_of_images_that_a_pattern_matches_are_sequences(tmp_path):
    frames = [f"{kind}/{clip}/{n:03d}.png" for kind in ("real", "fake") for clip in ("a", "b.v2") for n in range(3)]
    touch(tmp_path, [*frames, "real/c.mp4", "notes/readme.txt"])
    write_zip(tmp_path / "more.zip", {"real/d/1.jpg": b"", "real/d/2.jpg": b""})
    report = from_globs(str(tmp_path), "**/real/*", "fake/*", split="all-test")
    assert [(entry.path, entry.content) for entry in sorted(report.entries, key=lambda entry: entry.path)] == [
        ("fake/a", "frames"),
        ("fake/b.v2", "frames"),
        ("more.zip/real/d", "frames"),
        ("real/a", "frames"),
        ("real/b.v2", "frames"),
        ("real/c.mp4", None),
    ]
    [note] = [note for note in report.notes if "full frames" in note]
    assert note.startswith("5 folders of images are taken as full frames of videos; if they are face crops already, ")


def test_images_that_a_pattern_matches_are_none_of_a_sequence(tmp_path):
    touch(tmp_path, ["real/a/1.png", "real/a/2.png", "fake/1.png"])
    report = from_globs(str(tmp_path), "real/**", "fake/*", split="all-test", images="crops")
    assert [(entry.path, entry.content) for entry in report.entries] == [
        ("fake/1.png", "crops"),
        ("real/a/1.png", "crops"),
        ("real/a/2.png", "crops"),
    ]


def test_photos_of_a_folder_go_into_all_splits_and_other_files_are_told(tmp_path):
    images = [f"{kind}/{n:03d}.jpg" for kind in ("real", "fake/gan") for n in range(40)]
    touch(tmp_path, [*images, "real/Thumbs.db", "fake/._1.jpg"])
    report = from_globs(str(tmp_path), "real/**", "fake/**", split="identity:50/25/25", photos=True)
    assert sorted(entry.path for entry in report.entries) == sorted(images)
    assert report.unknown == ["fake/._1.jpg", "real/Thumbs.db"]
    counts = {(label, split): 0 for label in (0, 1) for split in ("train", "val", "test")}
    for entry in report.entries:
        counts[entry.label, entry.split] += 1
    assert sorted(counts.values()) == [10, 10, 10, 10, 20, 20]


def test_what_images_show_is_one_of_two(tmp_path):
    touch(tmp_path, ["real/a.png", "fake/a.png"])
    with pytest.raises(ConfigError, match="--images faces is unknown: pass frames or crops"):
        from_globs(str(tmp_path), "real/*", "fake/*", split="all-test", images="faces")
