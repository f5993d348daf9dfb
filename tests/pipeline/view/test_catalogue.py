"""Filtered, sorted and paged samples."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill import ConfigError, DatasetError
from facemill.manifests.schemas import SAMPLES
from facemill.pipeline.view.catalogue import KEPT_ORDERS, Catalogue
from tests.pipeline.data.built import build, default_samples


def edited(root: Path) -> Path:
    """A dataset of 42 crops in three row groups, whose scores, coverage and offsets are known."""
    build(root)
    path = root / "samples.parquet"
    table = pq.read_table(path)
    scores = np.linspace(1, 0.5, len(table)).astype(np.float32)
    coverage = pa.array([None if n % 5 == 0 else n / 100 for n in range(len(table))], pa.float32())
    signed = pa.array([float("nan"), None, *((-1) ** n * n / 8 for n in range(len(table) - 2))], pa.float32())
    for name, values in (("score", pa.array(scores)), ("mask_coverage", coverage), ("difference", signed)):
        position = table.schema.get_field_index(name)
        table = table.set_column(position, table.schema.field(name), values)
    pq.write_table(table, path, row_group_size=15)
    return root


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return Catalogue(edited(tmp_path_factory.mktemp("listed")))


def ids(catalogue: Catalogue, *args: object, **options: bool) -> list[str]:
    return [row["sample_id"] for row in catalogue.page(0, 60, *args, **options)["rows"]]


def all_ids() -> list[str]:
    return [sample.record.sample_id for sample in default_samples()]


def test_pages_are_in_the_stored_order(catalogue: Catalogue) -> None:
    assert len(catalogue) == 42
    page = catalogue.page(20, 10)
    assert (page["total"], [row["sample_id"] for row in page["rows"]]) == (42, all_ids()[20:30])
    assert [row["number"] for row in page["rows"]] == list(range(20, 30))
    assert catalogue.page(40, 60)["rows"][-1]["sample_id"] == all_ids()[-1]
    assert catalogue.page(60, 60)["rows"] == []


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("", lambda n, name: True),
        ("train-1", lambda n, name: name.startswith("train-1")),
        ("label=1 split=train", lambda n, name: name.startswith(("train-1", "train-2", "train-4"))),
        ("video_id~VAL", lambda n, name: name.startswith("val")),
        ("video_id>train-3", lambda n, name: name >= "train-4"),
        ("split!=train", lambda n, name: name.startswith("val")),
        ("frame_index<=10", lambda n, name: name.endswith(("f000000-t0", "f000010-t0"))),
        ("mask_coverage=", lambda n, name: n % 5 == 0),
        ("mask_coverage!=", lambda n, name: n % 5 != 0),
        ("mask_coverage>0.21", lambda n, name: n % 5 and n > 21),  # 0.21 is rounded as the column is
        ("mask_coverage=0.21", lambda n, name: n == 21),
        ("mask_coverage!=0.21", lambda n, name: n % 5 and n != 21),  # a null is neither
        ("face_size=80", lambda n, name: True),
        ("'split=no such' ", lambda n, name: False),
    ],
)
def test_filters(catalogue: Catalogue, terms: str, expected) -> None:
    assert ids(catalogue, terms) == [name for n, name in enumerate(all_ids()) if expected(n, name)]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ("colour=red", "There is no column 'colour'"),
        ("metod=real", "did you mean 'method'"),
        ("label=fake", "label is a column of numbers, and 'fake' is none: write a number"),
        ("label~1", "which ~ does not search"),
        ("'open", "quotation mark of the filter is not closed"),
        ("bbox=1", "There is no column 'bbox'"),
    ],
)
def test_what_is_wrong_with_a_filter_is_one_sentence(catalogue: Catalogue, terms: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        catalogue.page(0, 60, terms)
    with pytest.raises(ConfigError, match="There is no column"):
        catalogue.page(0, 60, "", "colour")


def test_orders_are_stable_and_nulls_come_last(catalogue: Catalogue) -> None:
    rising = catalogue.page(0, 60, "", "mask_coverage")["rows"]
    values = [row["value"] for row in rising]
    known = [value for value in values if value is not None]
    assert (values[33:], known) == ([None] * 9, sorted(known))
    falling = [row["value"] for row in catalogue.page(0, 60, "", "mask_coverage", falling=True)["rows"]]
    assert falling == [*reversed(known), *[None] * 9]
    assert ids(catalogue, "", "score") == all_ids()[::-1]
    for down in (False, True):
        found = [row["value"] for row in catalogue.page(0, 60, "", "difference", falling=down)["rows"]]
        assert found[:40] == sorted(found[:40], reverse=down)
        assert found[0] == (4.75 if down else -4.875)
    # equal values keep the stored order, also falling
    by_split = sorted(all_ids(), key=lambda name: name.startswith("train"))
    assert ids(catalogue, "", "split", falling=True) == by_split
    assert ids(catalogue, "", "video_id") == sorted(all_ids(), key=lambda name: name[:-11])


@pytest.mark.parametrize(
    "column", ["sample_id", "subject_ids", "pts_s", "pair_offset", "row", "image_sha256", "source_id"]
)
def test_every_column_sorts(catalogue: Catalogue, column: str) -> None:
    assert column in catalogue.columns
    assert sorted(ids(catalogue, "", column)) == sorted(all_ids())


def test_orders_that_are_kept_are_bounded(catalogue: Catalogue) -> None:
    fresh = Catalogue(catalogue.root)
    for number in range(2 * KEPT_ORDERS):
        fresh.page(0, 60, f"frame_index>{number}")
    last = range(KEPT_ORDERS, 2 * KEPT_ORDERS)
    assert list(fresh._orders) == [(f"frame_index>{number}", "", False) for number in last]


def test_a_sample_has_all_columns_and_its_counterparts(catalogue: Catalogue, tmp_path: Path) -> None:
    sample = catalogue.sample(17)
    record = default_samples()[17].record
    assert sample["sample_id"] == record.sample_id
    assert sample["bbox"] == list(record.bbox)
    assert set(SAMPLES.names) <= set(sample)
    assert sample["counterparts"] == []


def test_videos_with_the_fewest_samples_come_first(catalogue: Catalogue) -> None:
    ids = pa.array(["none-b", "train-0", "none-a"])
    found = catalogue.fewest(ids, 4)
    assert [(one["video_id"], one["samples"]) for one in found] == [
        *(("none-b", 0), ("none-a", 0), ("train-0", 6), ("train-1", 6))
    ]
    assert len(catalogue.fewest(ids, 1)) == 1


def test_scores_of_an_evaluation_become_a_column(catalogue: Catalogue) -> None:
    names = all_ids()
    scored = Catalogue(catalogue.root, (pa.array([names[3], names[1], "other"]), pa.array([0.25, 0.75, 1.0])))
    assert ids(scored, "detector_score!=", "detector_score", falling=True) == [names[1], names[3]]
    assert scored.rows([0, 1])[1]["detector_score"] == 0.75
    assert scored.rows([0])[0]["detector_score"] is None


def test_a_damaged_table_is_one_sentence(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "samples.parquet").write_bytes(b"no table")
    with pytest.raises(DatasetError, match=r"samples\.parquet cannot be read .+: build the dataset again\.$"):
        Catalogue(tmp_path)
