"""Faults of files, in datasets with the state of their build, each with the check that finds it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill.manifests.checks.verify import verify
from facemill.manifests.schemas import SAMPLES
from facemill.manifests.shards.dataset import (
    BUILD_FILE,
    CARD_FILE,
    CROISSANT_FILE,
    DATASET_FILE,
    FACES_FILE,
    FACTS_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    STATE_FOLDER,
    VIDEOS_FILE,
)
from tests.manifests.checks.planting import TRAIN, VAL, edit, rows, write
from tests.manifests.small_dataset import Parts


def facts(frames: int) -> Callable[[Path], object]:
    """The first real video has so many frames; the dataset has number 24."""
    return rows(FACTS_FILE, lambda values: values[0].update(frames=frames))


FLIPPED = b'{"info": {"features": {"label": {"names": ["fake", "real"], "_type": "ClassLabel"}}}}'


def classes(root: Path, stated: bytes = FLIPPED) -> None:
    """Other classes in the metadata of a shard, by which `datasets` names labels."""
    path = root / f"{TRAIN}.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": stated}), path)


BUILD = f"{STATE_FOLDER}/{BUILD_FILE}"
FIRST_RESULT = "_state/train-000000.json"
FILE_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "shard listed twice": (edit(lambda info: info["shards"].append(info["shards"][0])), "shard_twice"),
    "shard of another folder": (edit(lambda info: info["shards"][0].update(path="../train-000000.tar")), "shard_path"),
    "shard of 5000 characters": (edit(lambda info: info["shards"][0].update(path="x" * 5000)), "shard_path"),
    "shard of another split": (edit(lambda info: info["shards"][1].update(split="test")), "shard_path"),
    "shard of another format": (edit(lambda info: info["shards"][1].update(path=f"{VAL}.tar")), "shard_format"),
    "shard of another size": (edit(lambda info: info["shards"][1].update(bytes=1)), "shard_size"),
    "shard of fewer rows": (edit(lambda info: info["shards"][1].update(rows=2)), "shard_rows"),
    "shard of less than nothing": (edit(lambda info: info["shards"][1].update(rows=-2)), "shard_counts"),
    "shard that is not listed": (lambda root: (root / f"{VAL}.parquet").rename(root / "val/val-000001.parquet"),
                                 "shard_unlisted"),
    "stray tar": (write(f"{TRAIN}.tar", b""), "shard_unlisted"),
    "count as a word": (edit(lambda info: info["counts"]["train"]["real"].update(samples="3")), "dataset_json"),
    "count with a fraction": (edit(lambda info: info.update(failures=1.5)), "dataset_json"),
    "count that is wrong": (edit(lambda info: info["counts"]["train"]["real"].update(samples=4)), "sample_counts"),
    "failures that are wrong": (edit(lambda info: info.update(failures=2)), "failure_count"),
    "Infinity": (lambda root: edit(lambda info: info.update(failures=float("inf")))(root), "dataset_json"),
    "deep JSON": (write(DATASET_FILE, b"[" * 100_000), "dataset_json"),
    "dataset.json: a key twice": (lambda root: (root / DATASET_FILE).write_text(
        (root / DATASET_FILE).read_text().replace("{", '{"failures": 1, ', 1)), "dataset_json"),
    "dataset.json is a list": (write(DATASET_FILE, b"[]"), "dataset_json"),
    "dataset.json is not UTF-8": (write(DATASET_FILE, b"\xff\xfe{"), "dataset_json"),
    "card missing": (lambda root: (root / CARD_FILE).unlink(), "card"),
    "card with another count": (lambda root: (root / CARD_FILE).write_text(
        (root / CARD_FILE).read_text().replace("| train | real | 3 | 1 |", "| train | real | 4 | 1 |")), "card"),
    "card with two counts": (lambda root: (root / CARD_FILE).write_text(
        (root / CARD_FILE).read_text() + "\n| train | real | 999 | 999 |\n"), "card"),
    "croissant.json missing": (lambda root: (root / CROISSANT_FILE).unlink(), "croissant"),
    "croissant.json with another hash": (
        edit(lambda values: values["distribution"][0].update(sha256="0" * 64), CROISSANT_FILE), "croissant",
    ),
    "samples out of order": (rows(SAMPLES_FILE, lambda values: values.reverse()), "order"),
    "sample of a shard that is not there": (
        rows(SAMPLES_FILE, lambda values: values[8].update(shard="val/val-000009.parquet")), "shard_known",
    ),
    "sample missing": (rows(SAMPLES_FILE, lambda values: values.pop(1)), "listed"),
    "sample too many": (
        rows(SAMPLES_FILE, lambda values: values.append({**values[8], "sample_id": "x", "row": 3})), "there",
    ),
    "failure that is retried or not": (
        rows(FAILURES_FILE, lambda values: values[0].update(retryable=True)), "failure_retryable",
    ),
    "facts missing": (lambda root: (root / FACTS_FILE).unlink(), "state_merged"),
    "build.json: missing": (lambda root: (root / BUILD).unlink(), "build_json"),
    "build.json: garbage": (write(BUILD, b"[[["), "build_json"),
    "build.json: a list": (write(BUILD, b"[]"), "build_json"),
    "build.json: another recipe": (edit(lambda build: build["recipe"]["mask"].update(threshold=0.9), BUILD),
                                   "build_json"),
    "dataset.json: another recipe": (edit(lambda info: info["recipe"]["mask"].update(threshold=0.9)), "build_json"),
    "dataset.json: a section less": (edit(lambda info: info["recipe"].pop("paper")), "build_json"),
    "dataset.json: other versions": (edit(lambda info: info.update(versions={})), "build_json"),
    "dataset.json: another facemill": (edit(lambda info: info.update(facemill="0.0.1")), "build_json"),
    "videos: another order": (rows(VIDEOS_FILE, lambda values: values.reverse()), "build_manifest"),
    "videos: another path": (rows(VIDEOS_FILE, lambda values: values[0].update(path="b.mp4")), "build_manifest"),
    "state: another number of videos": (edit(lambda result: result.update(videos=7), FIRST_RESULT), "state_videos"),
    "state: more videos without samples": (
        edit(lambda result: result.update(videos_without_samples=2), FIRST_RESULT), "state_videos",
    ),
    "state: another split": (edit(lambda result: result.update(split="val"), FIRST_RESULT), "state_shard"),
    "state: another name": (edit(lambda result: result.update(shard_id="x"), FIRST_RESULT), "state_shard"),
    "state: no shard": (edit(lambda result: result.update(shard=None), FIRST_RESULT), "state_shard"),
    "state: made in another way": (edit(lambda result: result.update(identity="0" * 64), FIRST_RESULT),
                                   "state_identity"),
    "state: all made in another way": (edit(lambda build: build.update(device="CPU arm64"), BUILD), "state_identity"),
    "state: fingerprint": (edit(lambda result: result.update(fingerprint="5"), FIRST_RESULT), "state_values"),
    "state: fingerprint is a number": (edit(lambda result: result.update(fingerprint=5), FIRST_RESULT),
                                       "state_readable"),
    "state: negative time": (edit(lambda result: result.update(timings={"crop": -1.0}), FIRST_RESULT), "state_values"),
    "state: time as a word": (edit(lambda result: result.update(timings={"crop": "y"}), FIRST_RESULT),
                              "state_readable"),
    "state: footer of a shard": (edit(lambda result: result["shard"].update(footer="0" * 64), FIRST_RESULT),
                                 "state_shard"),
    "state: footer of a table": (edit(lambda result: result["faces"].update(footer="0" * 64), FIRST_RESULT),
                                 "state_table"),
    "state: rows of a table": (edit(lambda result: result["faces"].update(rows=1), FIRST_RESULT), "state_table"),
    "state: place of a table": (edit(lambda result: result["faces"].update(path="../x"), FIRST_RESULT), "state_table"),
    "classes of another order in a shard": (classes, "shard_layout"),
    "classes that cannot be read": (lambda root: classes(root, b"["), "shard_layout"),
    "frame behind the last one": (facts(frames=24), "frame_count"),
    "facts unlike the state's": (facts(frames=25), "state_merged"),
    "state: a shard's facts gone": (
        lambda root: (root / "_state/tables/train-000000.facts.parquet").unlink(), "state_table",
    ),
    "facts that are no table": (write(FACTS_FILE, b"PAR1"), "table_readable"),
    "unknown failure": (rows(FAILURES_FILE, lambda values: values[0].update(reason="tired")), "failure_names"),
    "unknown mask kind": (rows(SAMPLES_FILE, lambda values: values[3].update(mask_kind="magic")), "mask_source"),
    "null": (lambda root: pq.write_table(
        pa.Table.from_pylist([{**row, "score": None} for row in pq.read_table(root / SAMPLES_FILE).to_pylist()]),
        root / SAMPLES_FILE), "table_readable"),
    "column of version 2 missing": (lambda root: pq.write_table(
        pq.read_table(root / SAMPLES_FILE).drop_columns("label_source"), root / SAMPLES_FILE), "table_readable"),
    "cell of many bytes": (rows(FAILURES_FILE, lambda values: values[0].update(message="x" * 10_000_000)),
                           "table_readable"),
    "state: another shard": (edit(lambda result: result["shard"].update(rows=5), FIRST_RESULT), "state_shard"),
    "state: another table": (lambda root: rows("_state/tables/train-000000.samples.parquet",
                                               lambda values: values[0].update(score=0.91))(root), "state_table"),
    "state: a failure more": (edit(lambda result: result["failures"].append({}), FIRST_RESULT), "state_failures"),
    "state: a shard's result missing": (lambda root: (root / "_state/val-000000.json").unlink(), "state_missing"),
    "state: no result": (write(FIRST_RESULT, b"[]"), "state_readable"),
    "state: deep JSON": (write(FIRST_RESULT, b"[" * 100_000), "state_readable"),
    "faces unlike the state's": (
        rows(FACES_FILE, lambda values: values[1].update(scores=[0.93, 0.94])), "state_merged",
    ),
    **{
        f"samples.parquet: {field.name}": (
            rows(SAMPLES_FILE, lambda values, name=field.name: values[4].update({name: other(values[4][name])})),
            "listed" if field.name == "sample_id" else "there" if field.name == "shard" else f"listed_{field.name}",
        )
        for field in SAMPLES if field.name not in ("mask_iou", "shard")
    },
}  # fmt: skip


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, list):
        return [other(value[0]), *value[1:]] if value else ["a=b"]
    return f"{value}0" if isinstance(value, str) else value + 1


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_faults_of_files(tmp_path, fault):
    plant, check = FILE_FAULTS[fault]
    root = Parts().write(tmp_path, state=True)
    plant(root)
    problems = verify(root, threads=1).problems
    assert check in {problem.check for problem in problems}, [str(problem) for problem in problems]
    assert all(problem.file and problem.message for problem in problems)
    assert all(len(str(problem)) < 1000 for problem in problems)


def test_without_a_fault_and_at_the_last_frame_of_a_video_nothing_is_found(tmp_path):
    root = Parts().write(tmp_path, state=True)
    assert verify(root, threads=1).problems == ()
    root = Parts().write(tmp_path / "last")
    facts(frames=25)(root)
    assert verify(root, threads=1).problems == ()


@pytest.mark.parametrize("name", [DATASET_FILE, SAMPLES_FILE, FACES_FILE, FAILURES_FILE, CARD_FILE, f"{TRAIN}.parquet"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, name):
    root = Parts().write(tmp_path)
    (root / name).unlink()
    os.mkfifo(root / name)
    assert name in {problem.file for problem in verify(root, threads=1).problems}


def test_shuffled_rows_are_one_problem(tmp_path):
    root = Parts().write(tmp_path)
    rows(SAMPLES_FILE, lambda values: values.sort(key=lambda row: row["image_sha256"]))(root)
    [problem] = verify(root, threads=1).problems
    assert (problem.file, problem.check) == (SAMPLES_FILE, "order")
