"""Lists of videos and samples to leave out."""

from pathlib import Path

import pytest

from facemill import ConfigError
from facemill.manifests import REFERENCE, ClipGroup, VideoEntry
from facemill.manifests.exclusion import list_ids, refuse_unknown, sampled_rest, video_of


def video(name: str, label: int = 0, split: str = "train") -> VideoEntry:
    return VideoEntry(name, "toy", "swap" if label else "real", label, "native", split, "/data", f"{name}.mp4")


def test_a_file_has_an_id_a_line_and_may_have_comments(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"# bad masks\r\nb\r\n\r\n  a-f000001-t0 \nb\n")
    assert list_ids(tmp_path / "ids.txt") == list_ids(str(tmp_path / "ids.txt")) == ("a-f000001-t0", "b")
    assert list_ids(["b", "a", "b"]) == ("a", "b")


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), (b"\xff\xfe\x00", "it is not UTF-8 text")]
)
def test_a_file_that_is_no_list_is_told_in_one_sentence(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"ids\.txt cannot be read \({reason}\): give a text file\.$"):
        list_ids(tmp_path / "ids.txt")


def test_the_video_of_a_sample() -> None:
    assert video_of("a-f01-b-f000012-t3") == "a-f01-b"
    assert video_of("a-f12-t3") is None


def test_unknown_ids_are_named_and_printable() -> None:
    refuse_unknown(["a"], {"a", "b"}, "here")
    with pytest.raises(ConfigError, match=r"2 excluded ids are of no video or sample of here \(c, \\x1b\[2J\)"):
        refuse_unknown(["a", "c", "\x1b[2J"], {"a"}, "here")


def test_an_excluded_original_stays_as_a_reference() -> None:
    real, fake, other = video("r"), video("f", 1), video("g", 1)
    group = ClipGroup(real, (fake, other))
    assert sampled_rest(group, {"x"}) == group
    rest = sampled_rest(group, {"r", "f"})
    assert rest is not None
    assert (rest.real_is_reference, [one.video_id for one in rest.sampled()]) == (True, ["g"])
    assert sampled_rest(group, {"f", "g"}) == ClipGroup(real)
    assert sampled_rest(group, {"r", "f", "g"}) is None
    assert sampled_rest(ClipGroup(None, (fake,)), {"f"}) is None
    assert sampled_rest(ClipGroup(video("r", split=REFERENCE), (fake,)), {"f"}) is None
    assert sampled_rest(ClipGroup(video("r", split="val"), (fake,)), {"f"}) is None
