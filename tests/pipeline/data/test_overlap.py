"""What datasets and splits may not share, and what a run remembers of what it was trained on."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill import ConfigError
from facemill.manifests.records import VideoEntry
from facemill.manifests.schemas import VIDEOS, to_table
from facemill.pipeline.data.overlap import Part, check_subjects, find_known, read_part, refuse_shared
from tests.pipeline.data.built import build, samples_of, video


def parts_of(*roots: Path) -> list[Part]:
    return [read_part(root, split) for root in roots for split in ("train", "val")]


def dataset(root: Path, train: Sequence[VideoEntry], val: Sequence[VideoEntry]) -> Path:
    videos = [*train, *(dataclasses.replace(entry, split="val") for entry in val)]
    build(root, samples_of(videos, frames=[0, 10]))
    pq.write_table(to_table(videos, VIDEOS), root / "videos.parquet")
    return root


def of(subjects: str, name: str, label: int = 0, **fields) -> VideoEntry:
    return dataclasses.replace(video(name, label), subject_ids=tuple(subjects), **fields)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return dataset(tmp_path / "first", [video("a", 0), video("b", 1)], [video("c", 0), video("d", 1)])


def test_datasets_that_share_nothing_are_let_through(first: Path, tmp_path: Path) -> None:
    second = dataset(tmp_path / "second", [video("e", 0), video("f", 1)], [video("g", 0), video("h", 1)])
    refuse_shared(parts_of(first, second))
    assert check_subjects(parts_of(first, second)) is None


def test_a_folder_given_twice_is_refused(first: Path) -> None:
    with pytest.raises(ConfigError, match=rf"video toy a \(and 3 more\) is both in split train of {first} and in"):
        refuse_shared(parts_of(first, first))


def test_another_dataset_s_validation_may_not_be_trained_on(first: Path, tmp_path: Path) -> None:
    second = dataset(tmp_path / "second", [video("c", 0), video("f", 1)], [video("g", 0), video("h", 1)])
    message = rf"video toy c is both in split val of {first} and in split train of {second}: leave one"
    with pytest.raises(ConfigError, match=message):
        refuse_shared(parts_of(first, second))


def test_a_video_of_the_same_name_in_another_dataset_is_another(first: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(video("a", 0), dataset="other")
    samples = samples_of([other, video("f", 1), video("g", 0, "val"), video("h", 1, "val")], frames=[30])
    refuse_shared(parts_of(first, build(tmp_path / "second", samples)))


def test_a_file_under_another_name_is_known_by_its_content(tmp_path: Path) -> None:
    root = dataset(
        tmp_path / "one",
        [of("", "a", content_hash="aa"), video("b", 1)],
        [of("", "c", content_hash="aa"), video("d", 1)],
    )
    with pytest.raises(ConfigError, match=r"video file aa is both in split train of .* and in split val of"):
        refuse_shared(parts_of(root))


def test_an_image_under_another_name_is_known_by_its_bytes(first: Path, tmp_path: Path) -> None:
    copied = samples_of([video("a", 0)], frames=[0])[0]
    renamed = dataclasses.replace(copied.record, sample_id="x-f0-t0", video_id="x", dataset="other")
    samples = samples_of([video("f", 1), video("g", 0, "val"), video("h", 1, "val")], frames=[0])
    second = build(tmp_path / "second", [dataclasses.replace(copied, record=renamed), *samples])
    with pytest.raises(ConfigError, match=f"image {copied.record.image_sha256} is both in split train of"):
        refuse_shared(parts_of(first, second))


def test_equal_images_within_a_split_are_its_own_business(tmp_path: Path) -> None:
    """A video may stand still."""
    sample = samples_of([video("a", 0)], frames=[0])[0]
    again = dataclasses.replace(sample.record, sample_id="a-f000099-t0", frame_index=99)
    others = samples_of([video("c", 0, "val")], frames=[0])
    refuse_shared(parts_of(build(tmp_path, [sample, dataclasses.replace(sample, record=again), *others])))


def test_subjects_in_both_splits_of_a_dataset_are_told(tmp_path: Path) -> None:
    root = dataset(tmp_path, [of("pq", "a"), of("r", "b", 1)], [of("qr", "c"), of("s", "d", 1)])
    refuse_shared(parts_of(root))
    assert check_subjects(parts_of(root)) == (
        "2 subjects, q among them, are both in train and in val: validation says less about unseen subjects."
    )


def test_subjects_that_meet_between_datasets_alone_are_refused(tmp_path: Path) -> None:
    one = dataset(tmp_path / "one", [of("p", "a"), of("p", "b", 1)], [of("q", "c"), of("q", "d", 1)])
    two = dataset(tmp_path / "two", [of("q", "e"), of("q", "f", 1)], [of("r", "g"), of("r", "h", 1)])
    with pytest.raises(ConfigError, match=r"1 subjects, q among them, .* though each of .*one, .*two keeps its own"):
        check_subjects(parts_of(one, two))
    sharing = dataset(tmp_path / "three", [of("t", "i"), of("t", "j", 1)], [of("t", "k"), of("t", "l", 1)])
    assert "2 subjects, q among them" in check_subjects(parts_of(one, two, sharing))


def test_seen_videos_are_known_by_name_file_or_image(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("dataset", "video_id", "content_hash", "image_sha256", "method")),
            *[("source_id", pa.string()), ("subject_ids", pa.list_(pa.string()))],
        ]
    )
    plain = {"dataset": "toy", "method": "swap", "source_id": None, "subject_ids": []}
    rows = pa.Table.from_pylist(
        [
            plain | {"video_id": name, "content_hash": content, "image_sha256": image}
            for name, content, image in [("a", None, "1"), ("b", "bb", "2"), ("c", None, "3"), ("c", None, "4")]
        ],
        schema=schema,
    )

    def seen(**fields: str) -> set[str]:
        row = {**plain, "dataset": "other", "video_id": "x", "content_hash": None, "image_sha256": "0", **fields}
        known = find_known(rows, pa.Table.from_pylist([row], schema=schema))
        assert known.subjects == known.originals == frozenset()
        told = [f"The run was trained or validated on 1 of these videos, {key} among them." for key in known.videos]
        assert list(known.sentences()) == told
        return set(known.videos)

    assert seen() == set()
    assert seen(video_id="a") == set()  # of another dataset
    assert seen(dataset="toy", video_id="c") == {"toy c"}
    assert seen(content_hash="bb") == {"toy b"}
    assert seen(image_sha256="4") == {"toy c"}
