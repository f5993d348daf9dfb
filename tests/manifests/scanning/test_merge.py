import sys
from dataclasses import replace

import pytest

from facemill import ManifestError
from facemill.manifests import REFERENCE, VideoEntry, add_contents, merge, scan


@pytest.fixture
def corpus(tmp_path):
    """`corpus(name, split, **files)` writes videos of those bytes, and returns their manifest."""

    def make(name, split, **files):
        folder = tmp_path / name
        folder.mkdir()
        rows = ["path,label,source,subject"]
        for stem, content in files.items():
            (folder / f"{stem}.mp4").write_bytes(content)
            source = stem.removeprefix("fake_") if stem.startswith("fake_") else ""
            rows.append(f"{stem}.mp4,{int(bool(source))},{source},{name}-{source or stem}")
        (folder / "corpus.csv").write_text("\n".join(rows))
        return scan("csv", str(folder / "corpus.csv"), split=f"all-{split}")

    return make


def test_two_manifests_become_one(corpus):
    one = corpus("one", "train", a=b"1", fake_a=b"22")
    other = corpus("other", "test", b=b"3", fake_b=b"44")
    merged = merge([one.entries, other.entries])
    assert merged.entries == sorted(one.entries + other.entries, key=lambda entry: entry.video_id)
    assert merged.duplicates == []
    assert merged.renamed == {}
    assert merged.lines() == []


def test_ids_stay_unique_and_pairs_whole(corpus):
    one = corpus("one", "train", a=b"1", fake_a=b"22")
    other = corpus("other", "test", a=b"3", fake_a=b"44")
    merged = merge([one.entries, other.entries])
    assert len({entry.video_id for entry in merged.entries}) == 4
    by_place = {(entry.root.rsplit("/")[-1], entry.path): entry for entry in merged.entries}
    for name in ("one", "other"):
        assert by_place[name, "fake_a.mp4"].source_id == by_place[name, "a.mp4"].video_id
    assert by_place["one", "a.mp4"].video_id == "corpus-real-native-a"
    assert sorted(merged.renamed.values()) == sorted(e.video_id for (n, _), e in by_place.items() if n == "other")
    assert merged.lines()[0].startswith("given another id: 2 (")


def test_the_same_video_by_two_roads_is_refused(corpus):
    one, other = corpus("one", "train", a=b"same", b=b"1"), corpus("other", "train", c=b"same", d=b"diff")
    with pytest.raises(ManifestError, match=r"1 videos are in two manifests \(.*other/c\.mp4 = .*one/a\.mp4\).*--drop"):
        merge([one.entries, other.entries])


def test_or_kept_once_and_its_fakes_follow(corpus):
    one, other = corpus("one", "train", a=b"same"), corpus("other", "train", c=b"same", fake_c=b"fake")
    merged = merge([one.entries, other.entries], drop_duplicates=True)
    assert [entry.path for entry in merged.entries] == ["fake_c.mp4", "a.mp4"]
    assert merged.entries[0].source_id == merged.entries[1].video_id
    ((left, kept),) = merged.duplicates
    assert left.endswith("other/c.mp4")
    assert kept.endswith("one/a.mp4")
    assert merged.lines()[0].startswith("left out as duplicates: 1 (")


def test_the_same_manifest_twice_is_the_same_videos(corpus):
    one = corpus("one", "train", a=b"1", fake_a=b"22").entries
    assert merge([one, one], drop_duplicates=True).entries == one


def test_a_video_kept_in_one_split_is_a_reference_for_its_fakes_in_another(corpus):
    one, other = corpus("one", "train", a=b"same"), corpus("other", "test", c=b"same", fake_c=b"fake")
    merged = merge([one.entries, other.entries], drop_duplicates=True)
    assert [(entry.path, entry.split) for entry in merged.entries] == [("fake_c.mp4", "test"), ("a.mp4", "train")]


def test_a_video_is_kept_in_its_split_rather_than_as_a_reference(corpus):
    one, other = corpus("one", "test", a=b"same", fake_a=b"22"), corpus("other", "train", c=b"same")
    aside = [replace(entry, split=REFERENCE) if entry.label == 0 else entry for entry in one.entries]
    merged = merge([aside, other.entries], drop_duplicates=True)
    assert [(entry.path, entry.split) for entry in merged.entries] == [("fake_a.mp4", "test"), ("c.mp4", "train")]
    assert merged.entries[0].source_id == merged.entries[1].video_id


def test_a_subject_in_two_splits_is_told_in_one_loud_line(corpus):
    one, other = corpus("one", "train", a=b"1"), corpus("other", "test", a=b"2")
    leaking = [replace(entry, subject_ids=one.entries[0].subject_ids) for entry in other.entries]
    assert merge([one.entries, leaking]).lines()[-1] == "SUBJECTS IN TWO SPLITS: 1 (corpus-one-a)"


def test_real_here_and_fake_there_is_a_contradiction(corpus):
    one, other = corpus("one", "train", a=b"same"), corpus("other", "train", b=b"2", fake_b=b"same")
    with pytest.raises(ManifestError, match="as real and as fake"):
        merge([one.entries, other.entries], drop_duplicates=True)


def test_equal_videos_within_a_manifest_are_its_own_affair(corpus):
    one, other = corpus("one", "train", a=b"same", b=b"same"), corpus("other", "train", c=b"1")
    assert len(merge([one.entries, other.entries]).entries) == 3
    third = corpus("third", "train", d=b"same")  # now they are compared
    merged = merge([one.entries, other.entries, third.entries], drop_duplicates=True)
    assert sorted(entry.path for entry in merged.entries) == ["a.mp4", "b.mp4", "c.mp4"]
    assert len(merged.duplicates) == 1


def test_only_videos_of_equal_size_are_read_and_empty_ones_not_at_all(corpus, monkeypatch):
    one, other = corpus("one", "train", a=b"same", e=b""), corpus("other", "train", c=b"diff", d=b"123", f=b"")
    read = []
    monkeypatch.setattr(
        sys.modules["facemill.manifests.scanning.merge"],
        "read_contents",
        lambda entries: read.extend(entries) or [None] * len(entries),
    )
    merge([one.entries, other.entries])
    assert sorted(entry.path for entry in read) == ["a.mp4", "c.mp4"]


def test_hashed_manifests_merge_without_their_videos(corpus):
    one, other = corpus("one", "train", a=b"same"), corpus("other", "train", c=b"same")
    for report in (one, other):
        add_contents(report)
        report.entries = [replace(entry, root="/gone") for entry in report.entries]
    assert len(merge([one.entries, other.entries], drop_duplicates=True).entries) == 1


def test_videos_that_are_not_there_cannot_be_compared():
    entry = VideoEntry("a", "d", "real", 0, "c23", "train", "/gone", "a.mp4")
    with pytest.raises(ManifestError, match=r"/gone/a\.mp4 cannot be compared.*--hash"):
        merge([[entry], [replace(entry, root="/gone too")]])
