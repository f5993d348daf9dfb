"""The scripts of docs/pages/clusters.md on a Slurm of two nodes: to the end, and stopped at their time limit."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters_page import SCRIPTS
from tests.integration.command import FACEMILL, SETTINGS, build_args, committed, content, short_videos
from tests.slurm.nodes import PROGRAMS, Slurm, two_nodes

SHARDS = 6
LONGEST_S = 900
SLOW = """
import os, time
from facemill.manifests.annotations import Annotation
from facemill.pipeline.extract.annotators import Annotator

class Slow(Annotator):
    outputs = {"waited": Annotation("int", "Nothing.")}

    def annotate(self, frame, face, crop, affine):
        time.sleep(float(os.environ.get("SLOW_S", 0)))
        return {"waited": 1}
"""
"""Makes a crop take its time, and no CPU."""

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(2 * LONGEST_S),
    pytest.mark.skipif(
        os.getuid() != 0 or not all(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in PROGRAMS),
        reason="needs Slurm's daemons, and root to start them: see `make test-slurm`",
    ),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's folder with a manifest, and a package that makes crops slow."""
    home = tmp_path_factory.mktemp("home")
    corpus = short_videos(home / "ffpp")
    package = home / "package"
    (package / "slow-1.dist-info").mkdir(parents=True)
    (package / "slow.py").write_text(SLOW)
    (package / "slow-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1\n")
    (package / "slow-1.dist-info/entry_points.txt").write_text("[facemill.annotators]\nslow = slow:Slow\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(package), prepend=os.pathsep)
        subprocess.run(
            [FACEMILL, "scan", "ffpp", corpus, "--quality", "c23", "--out", home / "videos.parquet"], check=True
        )
        subprocess.run(
            [FACEMILL, *map(str, build_args(home / "videos.parquet", home / "alone", *ANNOTATED))], check=True
        )
        yield home


ANNOTATED = ("--set", "annotate.slow={}")


@pytest.fixture
def slurm(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with two_nodes(tmp_path_factory.mktemp("slurm"), home) as slurm:
        yield slurm


def write_scripts(folder: Path, out: str, hours: str) -> None:
    """The page's array job, made small: two parts, one core each."""
    settings = " ".join(f"--set {setting}" for setting in (*SETTINGS, "annotate.slow={}"))
    small = {
        "--out shards": f"--out {out} --device cpu {settings}",
        "--array=1-16": "--array=1-2",
        "--cpus-per-task=4": "--cpus-per-task=1",
        "--mem=8G": "--mem=4G",
        "04:00:00": hours,
    }
    for name in ("array.sh", "submit.sh"):
        text = SCRIPTS[name]
        for before, after in small.items():
            text = text.replace(before, after)
        (folder / name).write_text(text)


def logs(home: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in home.glob("*.log")}


def test_the_parts_of_an_array_are_the_build_of_one_machine(home: Path, slurm: Slurm) -> None:
    write_scripts(home, "array", "01:00:00")
    slurm.run("sh", "submit.sh")
    assert set(slurm.wait(LONGEST_S).values()) == {"COMPLETED 0:0"}, logs(home)
    assert len(slurm.states()) == 3
    assert content(home / "array") == content(home / "alone")


@pytest.mark.long
def test_parts_killed_at_their_time_limit_are_finished_by_the_same_scripts(
    home: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = home / "limited"
    write_scripts(home, "limited", "00:01:00")
    slurm.environment["SLOW_S"] = "4"  # 32 seconds a shard
    slurm.run("sh", "submit.sh")
    first = slurm.wait(LONGEST_S)
    assert sorted(state.split()[0] for state in first.values()) == ["CANCELLED", "TIMEOUT", "TIMEOUT"], logs(home)
    assert not (out / "dataset.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in committed(out)}
    assert 0 < len(kept) < SHARDS

    slurm.environment["SLOW_S"] = "0"
    slurm.run("sh", "submit.sh")
    second = {name: state for name, state in slurm.wait(LONGEST_S).items() if name not in first}
    assert set(second.values()) == {"COMPLETED 0:0"}, logs(home)
    assert content(out) == content(home / "alone")
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in committed(out)}.items()


@pytest.mark.long
def test_workers_from_the_queue_leave_before_their_time_and_no_shard_is_lost(home: Path, slurm: Slurm) -> None:
    settings = [*SETTINGS, "annotate.slow={}"]
    small = {
        "4GB": "3GB",
        "04:00:00": "00:10:00",
        "210m": "30s",
        "15m": "5s",
        "maximum_jobs=16": "maximum_jobs=2",
        'load_recipe("default")': f'load_recipe("default", {settings})',
        '"shards"': '"queue", device="cpu"',
    }
    text = SCRIPTS["workers.py"]
    for before, after in small.items():
        assert before in text
        text = text.replace(before, after)
    (home / "workers.py").write_text(text)
    slurm.environment["SLOW_S"] = "1.5"  # 12 seconds a shard: 36 each for two workers
    slurm.run(sys.executable, "workers.py")
    assert content(home / "queue") == content(home / "alone")
    assert len(slurm.states()) > 2  # others have come for those that left
