"""Damaged videos are built in batches: each has a sample or a failure that blames it, in bounded time and memory.

`FUZZ_VIDEOS` is their number, `FUZZ_SEED` the seed. A video is damaged in the same way whichever others there are;
where a batch ends in disorder, its groups are built one by one, to say which of them is to blame.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from facemill.manifests import Reason, VideoEntry, read_videos, write_videos
from facemill.manifests.codes import Fault
from facemill.manifests.storage import read_json
from tests.fuzz.films import FILMS, make_films
from tests.fuzz.pieces import damage_structure
from tests.fuzz.running import LIMIT_S, Cost, record, run
from tests.integration.command import committed

VIDEOS, SEED = int(os.environ.get("FUZZ_VIDEOS", "500")), int(os.environ.get("FUZZ_SEED", "0"))
BATCH = 25
SHORT = 17
"""Damaged videos of the ordinary tests: one of each kind."""
MOST_MIB, MOST_S = 1500, 30
"""Bounds of a batch's peak memory, and of the work on a group."""

pytestmark = pytest.mark.timeout(10 * LIMIT_S)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    return make_films(tmp_path_factory.mktemp("films") / "whole")


def damaged_group(number: int, films: dict[str, tuple[Path, Path]], root: Path) -> Iterator[tuple[VideoEntry, str]]:
    """The entries of a group with what was done to each file: every third real video has a fake."""
    rng = np.random.default_rng([SEED, 1, number])
    names = list(FILMS)
    name = names[number % len(names)]
    real, fake = films[name]
    root.mkdir(exist_ok=True)
    others = [one for pair in films.values() for one in pair]
    for label, source in enumerate((real, fake)[: 1 + (number % 3 == 0)]):
        path = root / f"{number}-{label}-{name}"
        shutil.copy(source, path)
        done = "whole"
        if label == 0 or rng.integers(2):
            done = damage_structure(path, others[rng.integers(len(others))], rng)
        how = ("fuzz", "swap" if label else "real", label, "native", "train", str(root))
        yield VideoEntry(f"v{number}-{label}", *how, path.name, source_id=f"v{number}-0" if label else None), done


def try_videos(numbers: range, films: dict[str, tuple[Path, Path]], folder: Path) -> tuple[list[str], list[Cost]]:
    """Build damaged videos and judge the dataset; returns how each ended, and what the commands took."""
    folder.mkdir()
    made = [one for number in numbers for one in damaged_group(number, films, folder / "videos")]
    write_videos([entry for entry, _ in made], folder / "manifest", places=False)
    sets = ("--set", "sample.frames=3", "--set", "crop.size=64", "--set", "shards.samples_per_shard=1")
    build = ("build", "manifest", "--root", "videos", "--out", "built", "--device", "cpu", "--quiet")
    ended, cost = run(folder, *build, *sets, "--max-failure-rate", "1")
    assert ended.code == 0, ended
    built = folder / "built"
    verified, more = run(folder, "verify", "built")
    assert verified.code == 0, verified
    reasons: dict[str, set[Reason]] = {entry.video_id: set() for entry in read_videos(folder / "manifest")}
    for row in pq.read_table(built / "failures.parquet", columns=["video_id", "reason"]).to_pylist():
        reasons[row["video_id"]].add(Reason(row["reason"]))
    sampled = set(pq.read_table(built / "samples.parquet", columns=["video_id"])["video_id"].to_pylist())
    for entry, done in made:
        why = reasons[entry.video_id]
        assert why or entry.video_id in sampled, f"{entry.video_id} is lost, after {done}"
        assert {reason.fault for reason in why} <= {Fault.FILE}, f"{entry.video_id} has {why}, after {done}"
    ends = ["worked" if entry.video_id in sampled else "told" for entry, _ in made]
    seconds = max(sum(read_json(path)["timings"].values()) for path in committed(built))
    assert cost.peak_mib <= MOST_MIB, f"{cost.peak_mib} MiB"
    assert seconds <= MOST_S, f"{seconds:.0f} s"
    return ends, [cost, more]


def try_batch(numbers: range, films: dict[str, tuple[Path, Path]], folder: Path) -> tuple[list[str], list[Cost]]:
    try:
        return try_videos(numbers, films, folder / "batch")
    except AssertionError:
        for number in numbers:
            try_videos(range(number, number + 1), films, folder / str(number))
        raise


@pytest.mark.heavy
def test_a_few_damaged_videos_are_accounted_for(
    films: dict[str, tuple[Path, Path]], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record(record_property, "built videos", try_batch(range(SHORT), films, tmp_path))


@pytest.mark.long
@pytest.mark.parametrize("first", range(SHORT, VIDEOS, BATCH))
def test_many_damaged_videos_are_accounted_for(
    first: int, films: dict[str, tuple[Path, Path]], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record(record_property, "built videos", try_batch(range(first, min(first + BATCH, VIDEOS)), films, tmp_path))
    shutil.rmtree(tmp_path)
