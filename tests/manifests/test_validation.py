from dataclasses import replace

import pytest

from facemill import ManifestError
from facemill.manifests import REFERENCE, VideoEntry, check, shared_subjects, validate


def manifest() -> list[VideoEntry]:
    """Two reals and a fake of the first: nothing wrong."""
    return [
        VideoEntry("a", "d", "real", 0, "c23", "train", "/r", "a.mp4", None, ("d-1",)),
        VideoEntry("b", "d", "real", 0, "c23", "train", "/r", "b.mp4", None, ("d-2",)),
        VideoEntry("c", "d", "swap", 1, "c23", "train", "/r", "x/c.mp4", "a", ("d-1", "d-3"), "m/c.mp4"),
    ]


def test_a_sound_manifest_passes():
    assert validate(manifest()) == []
    check(manifest())


@pytest.mark.parametrize(
    ("row", "change", "broken"),
    [
        (1, {"video_id": "a"}, {"unique_id": ("a",)}),
        (1, {"video_id": "b.mp4"}, {"id_characters": ("b.mp4",)}),
        (1, {"video_id": ""}, {"id_characters": ("",)}),
        (1, {"video_id": "é"}, {"id_characters": ("é",)}),
        (1, {"label": 2}, {"label": ("b",)}),
        (1, {"method": "swap"}, {"label": ("b",)}),
        (2, {"method": "real"}, {"label": ("c",)}),
        (1, {"split": "dev"}, {"split": ("b",)}),
        (1, {"source_id": "a"}, {"real_source": ("b",)}),
        (2, {"source_id": "gone"}, {"known_source": ("c",)}),
        (2, {"source_id": "c"}, {"known_source": ("c",)}),
        (2, {"quality": "c40"}, {"pair_quality": ("c",)}),
        (1, {"split": "reference"}, {"split": ("b",)}),
        (2, {"split": "reference"}, {"split": ("c",)}),
        (1, {"path": "a.mp4"}, {"unique_file": ("a", "b")}),
        (1, {"path": "/a.mp4"}, {"relative_path": ("b",)}),
        (1, {"path": "x/../a.mp4"}, {"relative_path": ("b",)}),
        (1, {"path": "x//b.mp4"}, {"relative_path": ("b",)}),
        (2, {"mask_path": "../m.mp4"}, {"relative_path": ("c",)}),
        (1, {"fake_periods": ((0.0, 1.0),)}, {"fake_periods": ("b",)}),
        (1, {"content": "video"}, {"content": ("b",)}),
        (2, {"fake_periods": ()}, {"fake_periods": ("c",)}),
        (2, {"fake_periods": ((1.0, 1.0),)}, {"fake_periods": ("c",)}),
        (2, {"fake_periods": ((-1.0, 1.0),)}, {"fake_periods": ("c",)}),
        (2, {"fake_periods": ((0.0, float("nan")),)}, {"fake_periods": ("c",)}),
    ],
)
def test_each_rule_names_the_rows_that_break_it(row, change, broken):
    entries = manifest()
    entries[row] = replace(entries[row], **change)
    assert {violation.rule: violation.video_ids for violation in validate(entries)} == broken


def test_a_native_original_has_no_level_to_differ_from():
    entries = manifest()
    entries[0] = replace(entries[0], quality="native")
    assert validate(entries) == []


def test_the_same_path_below_another_root_is_another_file():
    entries = manifest()
    entries[1] = replace(entries[1], path="a.mp4", root="/other")
    assert validate(entries) == []


def test_a_fake_without_its_original_is_allowed():
    entries = manifest()
    entries[2] = replace(entries[2], source_id=None)
    assert validate(entries) == []


@pytest.mark.parametrize("split", ["val", "test", REFERENCE])
def test_an_original_may_be_in_another_split_or_only_a_reference(split):
    entries = manifest()
    entries[0] = replace(entries[0], split=split)
    assert validate(entries) == []


def test_subjects_in_two_splits_are_named_and_allowed():
    entries = manifest()
    entries[1] = replace(entries[1], split="test", subject_ids=("d-3", "d-1"))
    assert shared_subjects(entries) == ["d-1", "d-3"]
    assert validate(entries) == []


def test_a_reference_gives_no_samples_and_so_shares_nobody():
    entries = manifest()
    entries[0] = replace(entries[0], split=REFERENCE)
    assert shared_subjects(entries) == []


def test_an_empty_manifest_is_refused():
    with pytest.raises(ManifestError, match="at least one video"):
        check([])


def test_check_names_every_broken_rule_and_the_first_rows():
    entries = [replace(manifest()[0], video_id=f"v{n}", path=f"{n}.mp4", split="dev") for n in range(7)]
    entries[0] = replace(entries[0], path="/x")
    with pytest.raises(ManifestError) as caught:
        check(entries)
    assert (
        "a split is one of train, val, test; for the original of a fake also reference (v0, v1, v2, v3, v4 and 2 more)"
        in str(caught.value)
    )
    assert "'/' and without '..' (v0)" in str(caught.value)
