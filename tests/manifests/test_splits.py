from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemill import ConfigError, ManifestError
from manifests import SPLITS, VideoEntry, validate
from manifests.splits import assign, parse_split


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


def largest_family(entries: list[VideoEntry]) -> int:
    """By flooding a graph, which is not how the code under test does it."""
    near = defaultdict(set)
    for e in entries:
        for tag in (*e.subject_ids, *([e.source_id] if e.source_id else [])):
            near[e.video_id].add(tag)
            near[tag].add(e.video_id)
    seen, sizes = set(), [0]
    for e in entries:
        stack, size = [e.video_id], 0
        while stack:
            if (node := stack.pop()) not in seen:
                seen.add(node)
                size += node[0] in "rf"
                stack += near[node]
        sizes.append(size)
    return max(sizes)


@given(manifests(), st.sampled_from([(80, 10, 10), (50, 25, 25), (34, 33, 33), (60, 0, 40)]), st.integers(0, 99))
def test_no_subject_and_no_pair_is_ever_in_two_splits(entries, shares, seed):
    try:
        done = assign(entries, shares, seed)
    except ManifestError as error:
        assert "too few" in str(error)  # noqa: PT017, hypothesis also draws manifests that cannot be split
        return
    assert validate(done) == []
    counts = Counter(e.split for e in done)
    largest = largest_family(entries)
    for split, share in zip(SPLITS, shares, strict=True):
        assert (counts[split] > 0) == (share > 0)
        assert counts[split] <= len(entries) * share / 100 + largest
    again = assign(entries[::-1], shares, seed)
    assert {e.video_id: e.split for e in again} == {e.video_id: e.split for e in done}


def test_equal_families_are_dealt_in_proportion():
    entries = [entry(f"v{n}", None, f"d-{n}") for n in range(1000)]
    counts = Counter(e.split for e in assign(entries, (80, 10, 10), seed=3))
    assert counts == {"train": 800, "val": 100, "test": 100}


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
    [("official", None), ("identity:70/20/10", (70, 20, 10)), ("all-train", (100, 0, 0)), ("all-test", (0, 0, 100))],
)
def test_options(option, shares):
    assert parse_split(option) == shares


@pytest.mark.parametrize("option", ["", "identity", "identity:80/10", "identity:80/10/20", "all-dev", "official "])
def test_other_options_are_refused(option):
    with pytest.raises(ConfigError, match="identity:80/10/10"):
        parse_split(option)
