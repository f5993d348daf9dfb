"""The driver's work in a build of a million videos, without decoding: seconds and peak memory."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.peak import peak_gib
from benchmarks.row import Row
from facemill.manifests import VideoEntry, VideoFacts, group_clips, schemas
from facemill.manifests.annotations import listing_schema
from facemill.manifests.shards.dataset import (
    FACES_FILE,
    FACTS_FILE,
    SAMPLES_FILE,
    STATE_FOLDER,
    STATE_TABLES,
    state_path,
)
from facemill.manifests.videos import manifest_digest
from facemill.pipeline.build.claim import claim
from facemill.pipeline.build.identity import WorkIdentity
from facemill.pipeline.build.merge import merge_shards
from facemill.pipeline.build.plan import ShardSpec, plan_shards
from facemill.pipeline.build.state import ShardFile, ShardResult, load_result
from facemill.pipeline.config.recipe import load_recipe

__all__ = ["measure"]

VIDEOS = 1_000_000
FAKES = 4
RECIPE = load_recipe("default")
FACTS = VideoFacts("", 640, 480, 300, 25.0, False, "h264", 0, 1.0, False, 1, 1, (), "cuts", 0.5, 640, 480, 1, 1, "High")


def measure(scratch: Path) -> list[Row]:
    """Plan a build; then, for a build whose shards are all committed, claim, plan, resume and merge.

    Each step runs in a separate process, so that its peak memory is measured separately.
    """
    out = scratch / "planning"
    rows = []
    for step, what in (("plan", "plan"), ("commit", None), ("resume", "claim, plan, resume and merge")):
        command = [sys.executable, "-m", __name__, step, str(out)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, gibibytes = map(float, told.split())
        if what is not None:
            rows += [
                Row("planning", f"{what}: seconds for a million videos / 60", seconds / 60, "<= 1", f"{seconds:.1f} s"),
                Row("planning", f"{what}: peak memory / 2 GiB", gibibytes / 2, "<= 1", f"{gibibytes:.2f} GiB"),
            ]
    shutil.rmtree(out)
    return rows


def _entries() -> list[VideoEntry]:
    entries = []
    for number in range(VIDEOS // (FAKES + 1)):
        split = ("train", "train", "train", "val", "test")[number % 5]
        shared = {"dataset": "x", "quality": "c23", "split": split, "root": "/data"}
        real = f"x-real-c23-{number:06d}"
        entries.append(VideoEntry(real, method="real", label=0, path=f"real/{number:06d}.mp4", **shared))
        for fake in range(FAKES):
            name = f"x-fake{fake}-c23-{number:06d}"
            path = f"fake{fake}/{number:06d}.mp4"
            entries.append(VideoEntry(name, method=f"fake{fake}", label=1, path=path, source_id=real, **shared))
    return entries


def _commit(out: Path, specs: list[ShardSpec], identity: WorkIdentity) -> None:
    """Results as workers leave them, without a sample: with a table of its videos' facts, and two empty ones."""
    for spec in specs:
        facts = [replace(FACTS, video_id=video_id) for video_id in sorted(spec.video_ids)]
        tables = {
            SAMPLES_FILE: listing_schema({}).empty_table(),
            FACES_FILE: schemas.FACES.empty_table(),
            FACTS_FILE: schemas.to_table(facts, schemas.FACTS),
        }
        files = []
        for kind, table in tables.items():
            path = state_path(spec.shard_id, kind)
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, out / path)
            files.append(ShardFile.of(out, path, len(table)))
        digests = spec.fingerprint(identity), identity.digest
        result = ShardResult(spec.shard_id, spec.split, *digests, None, *files, len(facts), 0, ())
        place = out / state_path(spec.shard_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(asdict(result)))


def _main(step: str, out: Path) -> None:
    entries = _entries()
    identity = WorkIdentity.here(RECIPE, "cpu")
    start = time.perf_counter()
    if step == "resume":
        with claim(out, {"manifest": manifest_digest(entries)}):
            specs = plan_shards(group_clips(entries), RECIPE)
            results = [load_result(out, spec.shard_id, spec.fingerprint(identity)) for spec in specs]
            committed = [one for one in results if one is not None and one.is_final(out, thorough=False)]
            assert len(committed) == len(specs)
            assert merge_shards(out, RECIPE, committed, "CPU").videos == VIDEOS
    else:
        specs = plan_shards(group_clips(entries), RECIPE)
        assert sum(len(spec.groups) for spec in specs) == VIDEOS // (FAKES + 1)
    seconds = time.perf_counter() - start
    if step == "commit":
        (out / STATE_FOLDER).mkdir(parents=True)
        (out / STATE_TABLES).mkdir(parents=True)
        (out / STATE_FOLDER / "build.json").write_text(json.dumps({"manifest": manifest_digest(entries)}))
        _commit(out, specs, identity)
    print(seconds, peak_gib())


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
