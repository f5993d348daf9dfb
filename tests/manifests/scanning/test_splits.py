from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemill import ConfigError, ManifestError
from facemill.manifests import REFERENCE, SPLITS, ScanReport, VideoEntry, scan, shared_subjects, validate
from facemill.manifests.scanning.identity_splits import assign, assign_subjects, keep_subjects_apart
from facemill.manifests.scanning.splits import add_references, assign_from_table, parse_split
from tests.manifests.dataset_trees import touch


def entry(video_id: str, source_id: str | None = None, *subjects: str, label: int | None = None) -> VideoEntry:
    label = int(source_id is not None) if label is None else label
    method = ("real", "swap")[label]
    return VideoEntry(video_id, "d", method, label, "c23", "", "/r", f"{video_id}.mp4", source_id, subjects)


@st.composite
def manifests(draw) -> list[VideoEntry]:
    people = st.lists(st.sampled_from([f"d-{n}" for n in range(12)]), max_size=2)
    reals = [entry(f"r{n}", None, *draw(people)) for n in range(draw(st.integers(3, 12)))]
    sources = st.sampled_from([None, *(real.video_id for real in reals)])
    fakes = [entry(f"f{n}", draw(sources), *draw(people), label=1) for n in range(draw(st.integers(0, 20)))]
    return draw(st.permutations(reals + fakes))


@given(manifests(), st.sampled_from([(80, 10, 10), (50, 25, 25), (34, 33, 33), (60, 0, 40)]), st.integers(0, 99))
def test_no_subject_and_no_pair_is_ever_in_two_splits(entries, shares, seed):
    try:
        done = assign(entries, shares, seed)
    except ManifestError as error:
        assert "too few" in str(error)  # noqa: PT017, hypothesis also draws manifests that cannot be split
        return
    assert validate(done) == []
    assert {e.split for e in done} == {split for split, share in zip(SPLITS, shares, strict=True) if share}
    again = assign(entries[::-1], shares, seed)
    assert {e.video_id: e.split for e in again} == {e.video_id: e.split for e in done}


@given(manifests(), st.sampled_from([(80, 10, 10), (50, 25, 25), (60, 0, 40), (0, 0, 100)]), st.integers(0, 99))
def test_subjects_are_dealt_and_what_joins_two_splits_is_left_out(entries, shares, seed):
    entries = [replace(e, source_id=None) for e in entries]
    try:
        kept, left_out = assign_subjects(entries, shares, seed)
    except ManifestError as error:
        assert "too few" in str(error)  # noqa: PT017, as above
        return
    assert validate(kept) == []
    assert {e.split for e in kept} == {split for split, share in zip(SPLITS, shares, strict=True) if share}
    assert sorted(e.video_id for e in kept + left_out) == sorted(e.video_id for e in entries)
    split_of = {subject: e.split for e in kept for subject in e.subject_ids}
    for e in left_out:
        assert len(e.subject_ids) == 2
        assert len({split_of.get(subject, subject) for subject in e.subject_ids}) == 2
    again, _ = assign_subjects(entries[::-1], shares, seed)
    assert {e.video_id: e.split for e in again} == {e.video_id: e.split for e in kept}


def test_equal_families_are_dealt_in_proportion():
    entries = [entry(f"v{n}", None, f"d-{n}") for n in range(1000)]
    counts = Counter(e.split for e in assign(entries, (80, 10, 10), seed=3))
    assert counts == {"train": 800, "val": 100, "test": 100}


def test_every_method_is_dealt_in_proportion():
    """Families of one real and one or two fakes, of which a tenth is of a rare method."""
    entries = []
    for n in range(400):
        entries += [entry(f"r{n}", None, f"d-{n}"), entry(f"f{n}", f"r{n}", f"d-{n}")]
        if n % 10 == 0:
            entries.append(replace(entry(f"g{n}", f"r{n}", f"d-{n}"), method="rare"))
    for seed in range(3):
        counts = Counter((e.method, e.split) for e in assign(entries, (80, 10, 10), seed))
        for method, total in (("real", 400), ("swap", 400), ("rare", 40)):
            for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
                assert abs(counts[method, split] - total * share) <= 2


def test_what_else_ties_videos_keeps_them_together():
    entries = [entry(f"v{n}") for n in range(60)]
    done = assign(entries, (50, 25, 25), family_of=lambda e: e.video_id[-1])
    split_of = {e.video_id[-1]: e.split for e in done}
    assert all(split_of[e.video_id[-1]] == e.split for e in done)
    assert len(set(split_of.values())) == 3


def swaps(groups: list[list[int]]) -> list[VideoEntry]:
    """A real video of everybody, and each pair of a group swapped both ways."""
    reals = [entry(f"r{a}", None, f"d-{a}") for group in groups for a in group]
    pairs = [(a, b) for group in groups for a in group for b in group if a != b]
    return reals + [entry(f"f{a}-{b}", f"r{a}", f"d-{a}", f"d-{b}") for a, b in pairs]


def test_dealing_subjects_keeps_those_who_were_swapped_together():
    """Groups of ten, as in Celeb-DF: dealt blindly, a third of the fakes would join two splits."""
    entries = swaps([list(range(first, first + 10)) for first in range(0, 60, 10)])
    for seed in range(5):
        kept, left_out = assign_subjects(entries, (80, 10, 10), seed)
        assert len(left_out) < 0.2 * 540
        counts = Counter((e.method, e.split) for e in kept)
        assert counts["swap", "val"] >= 15
        assert counts["swap", "test"] >= 15


def test_videos_of_nobody_known_go_where_their_method_lacks():
    entries = [*swaps([list(range(20))]), *(entry(f"s{n}") for n in range(80))]
    kept, _ = assign_subjects(entries, (80, 10, 10))
    counts = Counter((e.method, e.split) for e in kept)
    assert [counts["real", split] for split in SPLITS] == [80, 10, 10]


def test_too_few_subjects_are_refused():
    with pytest.raises(ManifestError, match=r"too few subjects in 4 videos to fill"):
        assign_subjects(swaps([[1, 2]]), (80, 10, 10))


def test_apart_train_and_val_lose_what_shows_a_subject_of_test_and_train_what_shows_one_of_val():
    entries = [
        replace(entry("a", None, "d-1"), split="test"),
        replace(entry("b", None, "d-1"), split="train"),
        replace(entry("c", None, "d-2", "d-1", label=1), split="val"),
        replace(entry("e", None, "d-2"), split="val"),
        replace(entry("f", None), split="train"),
        replace(entry("g", None, "d-2"), split="train"),
        replace(entry("h", None, "d-1"), split=REFERENCE),
    ]
    kept, left_out = keep_subjects_apart(entries)
    assert sorted(e.video_id for e in kept) == ["a", "e", "f", "h"]
    assert sorted(e.video_id for e in left_out) == ["b", "c", "g"]
    assert shared_subjects(kept) == []


def test_the_seed_draws_who_goes_where():
    entries = [entry(f"v{n}", None, f"d-{n}") for n in range(100)]
    assert assign(entries, (50, 25, 25), seed=1) != assign(entries, (50, 25, 25), seed=2)


def test_the_same_people_land_in_the_same_split_in_every_quality():
    c23 = [entry(f"c23-{n}", None, f"d-{n}") for n in range(50)]
    c40 = [replace(e, video_id=f"c40-{n}") for n, e in enumerate(c23)]
    assert [e.split for e in assign(c23, (50, 25, 25))] == [e.split for e in assign(c40, (50, 25, 25))]


def test_too_few_families_are_refused():
    entries = [entry("a", None, "d-1", "d-2"), entry("b", None, "d-2", "d-3"), entry("c", "b", "d-4")]
    with pytest.raises(ManifestError, match="3 videos into 1 families"):
        assign(entries, (80, 10, 10))


@pytest.mark.parametrize(
    ("option", "shares"),
    [
        ("official", "official"),
        ("mine/splits.CSV", "mine/splits.CSV"),
        ("s3://bucket/splits.parquet", "s3://bucket/splits.parquet"),
        ("identity", (80, 10, 10)),
        ("identity:70/20/10", (70, 20, 10)),
        ("all-train", (100, 0, 0)),
        ("all-test", (0, 0, 100)),
    ],
)
def test_options(option, shares):
    assert parse_split(option) == shares


@pytest.mark.parametrize("option", ["", "identity:", "identity:80/10", "identity:80/10/20", "all-dev", "official "])
def test_other_options_are_refused(option):
    with pytest.raises(ConfigError, match="identity:80/10/10"):
        parse_split(option)


@pytest.fixture
def report():
    entries = [entry("a"), entry("b"), entry("c", "a")]
    return ScanReport("/r", {}, entries=entries)


def write(path, text) -> str:
    path.write_text(text)
    return str(path)


def test_a_table_by_id_or_by_path(report, tmp_path):
    table = write(tmp_path / "s.csv", "split,path,video_id\ntrain,a.mp4,\nTrain,,c\nval,b.mp4,\n")
    assign_from_table(report, table)
    assert [e.split for e in report.entries] == ["train", "val", "train"]
    assert report.missing == report.unsplit == []


def test_a_table_names_what_is_not_there_and_leaves_out_the_rest(report, tmp_path):
    assign_from_table(report, write(tmp_path / "s.csv", "video_id,split\nc,test\nzz,test\nghost,val\n"))
    assert [(e.video_id, e.split) for e in report.entries] == [("c", "test")]
    assert report.missing == ["ghost", "zz"]
    assert report.unsplit == ["a.mp4", "b.mp4"]


def test_the_original_of_a_fake_that_a_table_names_is_kept_as_reference(report, tmp_path):
    found = report.entries
    assign_from_table(report, write(tmp_path / "s.csv", "video_id,split\nc,test\n"))
    add_references(report, found)
    assert {e.video_id: (e.split, e.source_id) for e in report.entries} == {"c": ("test", "a"), "a": (REFERENCE, None)}
    assert report.unpaired == []
    assert "fakes whose original is in another split, or in none, and is only a reference: 1" in report.lines()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id\na\n", "lacks the column split: it has video_id, and needs split"),
        ("video_id,split\na,dev\n", "Row 1 of"),
        ("video_id,split\na,train\n,val\n", "Row 2 of"),
        ("video_id,split\na,train\na,val\n", "puts a into train and val"),
        ("video_id,path,split\na,,train\n,a.mp4,val\n", r"puts a\.mp4 into train and val"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(report, tmp_path, text, message):
    with pytest.raises(ManifestError, match=message):
        assign_from_table(report, write(tmp_path / "s.csv", text))


def test_a_table_that_puts_subjects_into_two_splits_is_followed_in_one_loud_line(tmp_path):
    rows = ["path,label,subject", "a.mp4,0,ann", "b.mp4,0,ann;bob", "c.mp4,0,eve"]
    touch(tmp_path, ["a.mp4", "b.mp4", "c.mp4"])
    corpus = write(tmp_path / "corpus.csv", "\n".join(rows))
    table = write(tmp_path / "s.csv", "path,split\na.mp4,train\nb.mp4,test\nc.mp4,test\n")
    report = scan("csv", corpus, split=table)
    (loud,) = [line for line in report.lines() if line.startswith("SUBJECTS IN TWO SPLITS: 1 of 3 (corpus-ann).")]
    assert "--subjects-apart" in loud
    apart = scan("csv", corpus, split=table, subjects_apart=True)
    assert [e.path for e in apart.entries] == ["b.mp4", "c.mp4"]
    assert apart.crossing == ["a.mp4"]
    assert not any("TWO SPLITS" in line for line in apart.lines())
