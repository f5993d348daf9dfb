from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemill import ManifestError
from facemill.manifests.codes import LabelSource, MaskKind, Reason, Stage
from facemill.manifests.records import FailureRecord, FrameFaces, SampleRecord, VideoEntry, VideoFacts
from facemill.manifests.schemas import (
    FACES,
    FACTS,
    FAILURES,
    SAMPLES,
    VIDEOS,
    conform,
    from_table,
    rounded,
    to_table,
)

TEXT = st.text(max_size=5)
INT = st.integers(-(2**31), 2**31 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False)
FLOAT64 = st.floats(allow_nan=False)


def vector(size: int, element: st.SearchStrategy[float] = FLOAT32) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(*[element] * size)


def several(element: st.SearchStrategy) -> st.SearchStrategy[tuple]:
    return st.lists(element, max_size=3).map(tuple)


VIDEO = st.builds(
    VideoEntry,
    **dict.fromkeys(("video_id", "dataset", "method", "quality", "split", "root", "path"), TEXT),
    label=st.integers(0, 1),
    source_id=st.none() | TEXT,
    subject_ids=several(TEXT),
    mask_path=st.none() | TEXT,
)
SAMPLE = st.builds(
    SampleRecord,
    **dict.fromkeys(("sample_id", "video_id", "dataset", "method", "quality", "split", "shard", "image_sha256"), TEXT),
    **dict.fromkeys(("frame_index", "track_id", "crop_size", "row"), INT),
    label=st.integers(0, 1),
    source_id=st.none() | TEXT,
    subject_ids=several(TEXT),
    pts_s=FLOAT64,
    pair_offset=st.none() | INT,
    bbox=vector(4),
    landmarks=vector(10),
    score=FLOAT32,
    affine=vector(6, FLOAT64),
    mask_kind=st.sampled_from(MaskKind),
    mask_coverage=st.none() | FLOAT32,
    mask_iou=st.none() | FLOAT32,
    label_source=st.sampled_from(LabelSource),
    difference=st.none() | FLOAT32,
)
FAILURE = st.builds(
    FailureRecord, video_id=TEXT, stage=st.sampled_from(Stage), reason=st.sampled_from(Reason), message=TEXT, frames=INT
)
FRAME = st.builds(
    FrameFaces,
    key=TEXT,
    video_id=TEXT,
    frame_index=INT,
    boxes=several(vector(4)),
    landmarks=several(vector(10)),
    scores=several(FLOAT32),
)
KINDS = {VideoEntry: (VIDEOS, VIDEO), SampleRecord: (SAMPLES, SAMPLE), FailureRecord: (FAILURES, FAILURE)}
KINDS[FrameFaces] = (FACES, FRAME)
KINDS[VideoFacts] = (
    FACTS,
    st.builds(
        VideoFacts,
        **dict.fromkeys(("video_id", "codec"), TEXT),
        **dict.fromkeys(("width", "height", "frames", "rotation", "colour_matrix", "colour_range"), INT),
        **dict.fromkeys(("variable_rate", "interlaced"), st.booleans()),
        **dict.fromkeys(("fps", "pixel_aspect"), FLOAT64),
        cuts=several(INT),
        alignment=st.none() | TEXT,
        residual=st.none() | FLOAT32,
        **dict.fromkeys(("coded_width", "coded_height", "colour_primaries", "colour_transfer"), st.none() | INT),
        **dict.fromkeys(("profile", "content_hash"), st.none() | TEXT),
        **dict.fromkeys(("duration_s", "longest_gap_s"), st.none() | FLOAT64),
        size_bytes=st.none() | INT,
    ),
)


@pytest.mark.parametrize("record_class", KINDS)
def test_a_schema_has_a_column_per_field_in_order(record_class):
    assert KINDS[record_class][0].names == [field.name for field in fields(record_class) if field.name != "annotations"]


@pytest.mark.parametrize("record_class", KINDS)
@given(data=st.data())
def test_records_come_back_equal(record_class, data):
    schema, strategy = KINDS[record_class]
    records = data.draw(st.lists(strategy, max_size=4))
    table = to_table(records, schema)
    table.validate(full=True)
    assert table.schema == schema
    assert from_table(table, record_class) == records
    assert from_table(table.slice(1), record_class) == records[1:]
    assert from_table(pa.concat_tables([table, table]), record_class) == records * 2


def test_enums_and_tuples_are_restored():
    (failure,) = from_table(
        to_table([FailureRecord("v", Stage.DECODE, Reason.TRUNCATED, "m", 2)], FAILURES), FailureRecord
    )
    assert failure.stage is Stage.DECODE
    assert failure.reason is Reason.TRUNCATED
    (frame,) = from_table(to_table([FrameFaces("k", "v", 0, ((1, 2, 3, 4),), ((0,) * 10,), (0.5,))], FACES), FrameFaces)
    assert frame.boxes == ((1.0, 2.0, 3.0, 4.0),)
    assert isinstance(frame.boxes, tuple)
    assert isinstance(frame.boxes[0], tuple)


def test_an_unknown_code_is_refused():
    table = pa.table({"video_id": ["v"], "stage": ["lunch"], "reason": ["no_face"], "message": [""], "frames": [0]})
    table = table.append_column("retryable", pa.array([False]))
    with pytest.raises(ManifestError, match=r"'lunch'.*decode, detect"):
        from_table(table, FailureRecord)


VIDEO_ROW = VideoEntry("v", "d", "real", 0, "c23", "test", "/r", "v.mp4")


def with_column(name: str, column: pa.Array) -> pa.Table:
    table = to_table([VIDEO_ROW], VIDEOS)
    return table.set_column(table.column_names.index(name), name, column)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("label", pa.array([0], pa.int64())),
        ("path", pa.array(["v.mp4"], pa.large_string())),
        ("method", pa.array(["real"]).dictionary_encode()),
        ("subject_ids", pa.array([[]], pa.large_list(pa.large_string()))),
        ("mask_path", pa.nulls(1)),
    ],
)
def test_columns_as_other_tools_write_them_are_read(name, column):
    assert from_table(with_column(name, column), VideoEntry) == [VIDEO_ROW]


def test_further_columns_are_left_out():
    table = to_table([VIDEO_ROW], VIDEOS).append_column("note", pa.array(["x"]))
    assert conform(table, VIDEOS).schema == VIDEOS


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("label", pa.array(["0"]), "label is string instead of int8"),
        ("label", pa.array([0.0]), "label is double instead of int8"),
        ("label", pa.array([300]), "does not fit"),
        ("path", pa.array([None], pa.string()), "path has 1 nulls"),
        ("path", pa.nulls(1), "path is null instead of string"),
        ("subject_ids", pa.array(["a"]), "subject_ids is string instead of list"),
    ],
)
def test_mistyped_columns_are_refused(name, column, message):
    with pytest.raises(ManifestError, match=message):
        from_table(with_column(name, column), VideoEntry)


def test_every_missing_column_is_named():
    with pytest.raises(ManifestError, match="path is missing, mask_path is missing"):
        conform(to_table([VIDEO_ROW], VIDEOS).drop_columns(["path", "mask_path"]), VIDEOS)


def test_equal_strings_are_one_object():
    videos = from_table(to_table([VIDEO_ROW] * 3, VIDEOS), VideoEntry)
    assert videos[0].dataset is videos[2].dataset


def test_numpy_numbers_are_taken():
    bbox = tuple(np.array([1, 2, 3, 4], np.float32))
    frame = FrameFaces("k", "v", int(np.int64(3)), (bbox,), ((0.0,) * 10,), (np.float32(0.5),))
    assert from_table(to_table([frame], FACES), FrameFaces) == [frame]


ANNOTATED = pa.schema(
    [
        *SAMPLES,
        pa.field("blur", pa.float32()),
        pa.field("pose", pa.list_(pa.field("item", pa.float32(), nullable=False), 3)),
        pa.field("people", pa.int16()),
        pa.field("light", pa.string()),
    ]
)


@given(
    record=SAMPLE,
    wide=vector(10, st.floats(-1e6, 1e6)),
    blur=st.none() | st.floats(-1e6, 1e6),
    people=st.none() | st.integers(0, 9),
)
def test_a_rounded_record_is_the_one_that_is_read_again(record, wide, blur, people):
    """Also of NumPy's numbers, and of annotations, of which those without a value are left out."""
    annotations = {"blur": blur, "pose": (*np.float64(wide[:3]),), "people": people, "light": "dim"}
    made = replace(
        record,
        landmarks=tuple(map(np.float64, wide)),
        score=np.float64(wide[0]),
        difference=wide[1],
        track_id=np.int64(record.track_id),
        pts_s=3,
        annotations=annotations,
    )
    [read] = from_table(to_table([made], ANNOTATED), SampleRecord)
    found = rounded(made, ANNOTATED)
    assert found == read
    assert [type(getattr(found, f.name)) for f in fields(found)] == [type(getattr(read, f.name)) for f in fields(read)]


def test_facts_of_an_earlier_version_are_read():
    told = VideoFacts("v", 320, 240, 9, 25.0, False, "h264", 0, 1.0, False, 2, 0, (), None, None)
    table = to_table([told], FACTS)
    assert from_table(table.select(FACTS.names[:15]), VideoFacts) == [told]


def test_numbers_of_any_width_are_taken_as_pandas_writes_them():
    narrow = pa.schema([pa.field("number", pa.float32()), pa.field("count", pa.int32())])
    wide = pa.table({"number": pa.array([0.5, None], pa.float64()), "count": pa.array([3, 4], pa.int64())})
    assert conform(wide, narrow).to_pylist() == wide.to_pylist()
    with pytest.raises(ManifestError, match="number is int64 instead of float"):
        conform(wide.set_column(0, "number", wide["count"]), narrow)
