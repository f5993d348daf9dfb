"""A worker's memory over many clip groups, which must stay constant, and on groups of large videos."""

import dataclasses
import resource
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.clips import clip_groups
from benchmarks.row import Row
from facemill.manifests import ClipGroup, VideoEntry, write_videos
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.demo import make_corpus

__all__ = ["FACEMILL", "measure", "small_groups"]

FACEMILL = Path(sys.executable).with_name("facemill")
LARGE_GROUPS, LARGE_FRAMES = 2, 100
TURNS = "ab"
"""The large groups are built twice, since a worker decodes the next group while it works on one."""
GROUPS = 1000
SETTLED = 100
"""Number of groups after which caches are full and the allocator has settled."""


def measure(scratch: Path) -> list[Row]:
    """Process the same few groups repeatedly, in a separate process."""
    small_groups(scratch)  # made here: making clips takes more memory than a build
    clip_groups(scratch, LARGE_GROUPS)
    command = [sys.executable, "-m", __name__, str(scratch)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    settled, last, peak = map(float, told.split())
    return [
        Row(
            "memory",
            f"after {GROUPS} groups / after {SETTLED}",
            last / settled,
            "<= 1.1",
            f"{last:.0f} MiB / {settled:.0f} MiB",
        ),
        Row("memory", "peak, 720p groups of five among them / 2 GiB", peak / 2048, "<= 1", f"{peak:.0f} MiB"),
        *_large_groups(scratch),
    ]


def _large_groups(scratch: Path) -> list[Row]:
    """`facemill build` with two workers, on 1080p groups of an original and five fakes."""
    groups = clip_groups(scratch, LARGE_GROUPS, size=(1920, 1080), fakes=5, frames=LARGE_FRAMES)
    table, out = scratch / "memory-1080p.parquet", scratch / "memory-1080p"
    write_videos([_renamed(video, turn) for turn in TURNS for group in groups for video in group.videos()], table)
    shutil.rmtree(out, ignore_errors=True)
    settings = ["--set", "sample.frames=32", "--set", f"shards.samples_per_shard={2 * 32 * 6}", "--workers", "2"]
    command = [FACEMILL, "build", table, "--out", out, *settings]
    build = psutil.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
    proportional: dict[int, float] = {}
    resident: dict[int, float] = {}
    together = 0.0
    while build.poll() is None:
        now = {}
        for process in [build, *build.children(recursive=True)]:
            with suppress(psutil.Error):
                memory = process.memory_full_info()
                now[process.pid] = memory.pss / 2**20
                resident[process.pid] = max(resident.get(process.pid, 0), memory.rss / 2**20)
        together = max(together, sum(now.values()))
        proportional |= {pid: max(proportional.get(pid, 0), pss) for pid, pss in now.items()}
        time.sleep(0.1)
    assert build.returncode == 0
    driver = proportional.pop(build.pid)
    worker = max(proportional, key=proportional.__getitem__)
    figures = f"{proportional[worker]:.0f} MiB (resident {resident[worker]:.0f}); driver {driver:.0f} MiB"
    return [
        Row("memory", "worker's peak, 1080p groups of six / 1.2 GiB", proportional[worker] / 1229, "<= 1", figures),
        Row("memory", "driver and two workers together / 1 GiB", together / 1024, "", f"{together:.0f} MiB"),
    ]


def _renamed(video: VideoEntry, turn: str) -> VideoEntry:
    """A copy of the file as another video."""
    root = Path(f"{video.root}-{turn}")
    if not (root / video.path).exists():
        root.mkdir(exist_ok=True)
        shutil.copy(Path(video.root) / video.path, root / video.path)
    source = None if video.source_id is None else f"{video.source_id}-{turn}"
    return dataclasses.replace(video, root=str(root), video_id=f"{video.video_id}-{turn}", source_id=source)


def small_groups(scratch: Path) -> list[ClipGroup]:
    """A few small groups, each of one real video and two fakes."""
    corpus = scratch / "demo-small"
    if not corpus.is_dir():
        make_corpus(corpus, subjects=6, frames=24, qualities=["c40"])
    shared = {"dataset": "bench", "quality": "c40", "split": "train", "root": str(corpus)}
    groups = []
    for number in range(6):
        stem, other = f"{number:03d}", f"{number ^ 1:03d}"
        path = f"original_sequences/youtube/c40/videos/{stem}.mp4"
        real = VideoEntry(f"real-{stem}", method="real", label=0, path=path, **shared)
        fakes = [
            VideoEntry(
                f"{method}-{stem}",
                method=method,
                label=1,
                path=f"manipulated_sequences/{method}/c40/videos/{stem}_{other}.mp4",
                source_id=real.video_id,
                **shared,
            )
            for method in ("Deepfakes", "FaceSwap")
        ]
        groups.append(ClipGroup(real, tuple(fakes)))
    return groups


def _main(scratch: Path) -> None:
    from facemill.pipeline.build.shard import build_shard

    small, large = small_groups(scratch), clip_groups(scratch, LARGE_GROUPS)
    job = BuildJob(scratch / "memory", load_recipe("default", ["sample.frames=4"]), device="cpu")
    resident = []
    for number in range(GROUPS):
        group = large[number // 50 % 2] if number % 50 == 0 else small[number % len(small)]
        build_shard(ShardSpec("train-000000", "train", (group,)), job)
        shutil.rmtree(job.out)
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)
    # Not getrusage's, which begins with that of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 2**10
    # The largest value of a stretch, since resident memory between two groups fluctuates a little.
    print(max(resident[SETTLED - 50 : SETTLED]), max(resident[-50:]), peak)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
