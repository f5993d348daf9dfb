"""Every command on damaged files ends in time, with exit code 0, 2, 3 or 4, and without an internal error.

`make fuzz` runs many cases (from number `FUZZ_FIRST` up to `FUZZ_CASES`) of a seed (`FUZZ_SEED`); a case is repeated
by its number, whichever others run.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from facemill.manifests import Reason, read_videos
from tests.fuzz.materials import ARCHIVES, BRIEF, BUILD_SETS, IMAGES, VIDEOS, make_materials
from tests.fuzz.mutations import PWNED, damage
from tests.fuzz.pieces import damage_structure
from tests.fuzz.running import LIMIT_S, Cost, record, run
from tests.integration.command import content

FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
CASES, SEED = int(os.environ.get("FUZZ_CASES", "450")), int(os.environ.get("FUZZ_SEED", "0"))
CPU = ("--device", "cpu")
TRAIN_SETS = ("--workers", "0", *(word for value in BRIEF for word in ("--set", value)), *CPU)
ENDS = {0: "worked", 2: "told", 3: "reported", 4: "interrupted"}
"""By exit code; files that are damaged are reported as such, with code 3."""

pytestmark = pytest.mark.timeout(10 * LIMIT_S)

Case = tuple[list[str], list[list[str]]]
"""Files to damage, and commands that are then run, in order, after each other."""


@pytest.fixture(scope="session")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_materials(tmp_path_factory.mktemp("materials"))


def on_videos(rng: np.random.Generator) -> Case:
    """What reads videos besides builds, which have tests of their own."""
    name = VIDEOS[rng.integers(len(VIDEOS))]
    degrade = ["degrade", "manifest", "--root", "videos", "--out", "degraded", "--crf", "40"]
    return [f"videos/real-{name}"], [degrade, ["score", "run", f"videos/real-{name}", "--out", "scored", *CPU]]


def on_images(rng: np.random.Generator) -> Case:
    suffix, kind = IMAGES[rng.integers(len(IMAGES))], ("frames", "crops")[rng.integers(2)]
    names = [f"images/{kind}-{suffix}/{number:03d}.{suffix}" for number in range(3)]
    score = ["score", "run", f"images/{kind}-{suffix}/000.{suffix}", "--out", "scored", *CPU]
    return names[: rng.integers(1, 4)], [build_args("images.parquet", "images"), score]


def on_archives(rng: np.random.Generator) -> Case:
    table = ["scan", "csv", "packed.csv", "--split", "all-train", "--hash", "--out", "scanned.parquet"]
    return [f"packed/{ARCHIVES[rng.integers(len(ARCHIVES))]}"], [build_args("packed.parquet", "packed"), table]


def on_manifest(rng: np.random.Generator) -> Case:
    if rng.integers(3) == 0:
        scan = ["scan", "csv", "table.csv", "--hash", "--out", "scanned.parquet"]
        return ["table.csv"], [scan, ["check", "scanned.parquet"]]
    return ["manifest"], [["merge", "manifest", "--out", "merged"], build_args("manifest", "videos")]


def on_recipe(rng: np.random.Generator) -> Case:
    dry = ["train", "mat", "toy", "--out", "new", "--recipe", "mine.yaml", "--dry-run", *TRAIN_SETS]
    build = ["build", "manifest", "--root", "videos", "--recipe", "mine.yaml", "--out", "new-built", *CPU]
    return ["mine.yaml"], [build, dry]


def on_dataset(rng: np.random.Generator) -> Case:
    folder = ("dataset", "tar")[rng.integers(2)]
    suffix = {"dataset": "parquet", "tar": "tar"}[folder]
    tables = ("dataset.json", *(f"{name}.parquet" for name in ("samples", "faces", "facts", "failures", "videos")))
    names = [*[f"train/train-000000.{suffix}"] * 4, *tables, "_state/train-000000.json"]
    commands = [["inspect", folder], ["report", folder], ["export", folder, "--out", "exported"], ["audit", folder]]
    commands += [["view", folder, "--stop-after", "0"], ["status", folder]]
    commands += [["explain", "run", folder, "--split", "train", "--samples", "2", "--out", "explained", *CPU]]
    some = rng.permutation(len(commands))[:2]
    return [f"{folder}/{names[rng.integers(len(names))]}"], [["verify", folder], *(commands[one] for one in some)]


def on_run(rng: np.random.Generator) -> Case:
    if rng.integers(2):
        state = (
            "conditions.json",
            "config.json",
            "log.csv",
            "metrics.json",
            "trained_on.parquet",
            "validation.parquet",
        )
        names = [*["checkpoints/last.ckpt"] * 5, "checkpoints/best.ckpt", *state]
        epochs = ("--set", f"train.epochs={rng.integers(1, 3)}")  # it is whole, or goes on
        command = ["train", "mat", "toy", "--out", "run", "--resume", *TRAIN_SETS, *epochs, "--quiet"]
        return [f"run/{names[rng.integers(len(names))]}"], [command]
    state = ("config.json", "model.safetensors", "model.json", "validation.parquet", "trained_on.parquet")
    names = (*(f"run/{name}" for name in state), "toy/samples.parquet", "toy/test/test-000000.parquet")
    commands = [
        ["evaluate", "run", "toy", "--out", "evaluated", "--workers", "0", *CPU],
        ["train", "mat", "toy", "--out", "new", "--init-from", "run", "--dry-run", *TRAIN_SETS],
        ["export-model", "run", "--out", "new.onnx"],
    ]
    return [names[rng.integers(len(names))]], [commands[rng.integers(len(commands))]]


def on_build(rng: np.random.Generator) -> Case:
    """A finished or an interrupted build goes on."""
    folder = ("built", "half")[rng.integers(2)]
    state = ("build.json", "plan.json", "train-000000.json", "train-000001.json", "lock")
    tables = [f"_state/tables/train-000001.{name}.parquet" for name in ("samples", "faces", "facts")]
    whole = ["samples.parquet", "videos.parquet", "failures.parquet", "train/train-000001.parquet"]
    names = [*(f"_state/{name}" for name in state), *tables, *whole]
    again = build_args("manifest", "videos", folder)
    return [f"{folder}/{names[rng.integers(len(names))]}"], [["status", folder], again, ["verify", folder]]


def build_args(manifest: str, root: str, out: str = "new-built") -> list[str]:
    sets = [word for value in BUILD_SETS for word in ("--set", value)]
    return ["build", manifest, "--root", root, "--out", out, *CPU, *sets, "--quiet"]


TARGETS = (on_dataset, on_run, on_manifest, on_recipe, on_videos, on_images, on_archives, on_build)
STRUCTURED = (".mp4", ".webm", ".avi", ".mov", ".ts", ".png", ".jpg", ".tar", ".tgz", ".zip")


def damage_one(path: Path, folder: Path, rng: np.random.Generator) -> str:
    if path.suffix in STRUCTURED and rng.integers(3):
        return damage_structure(path, folder / "videos" / f"fake-{VIDEOS[rng.integers(len(VIDEOS))]}", rng)
    return damage(path, rng)


def check_account(folder: Path, manifest: str) -> None:
    """Each video of a build has samples, or is on record for a reason that is not facemill's."""
    reasons: dict[str, set[str]] = {entry.video_id: set() for entry in read_videos(folder / manifest)}
    for row in pq.read_table(folder / "new-built" / "failures.parquet", columns=["video_id", "reason"]).to_pylist():
        reasons[row["video_id"]].add(row["reason"])
    samples = pq.read_table(folder / "new-built" / "samples.parquet", columns=["video_id"])
    sampled = set(samples["video_id"].to_pylist())
    assert not [name for name, why in reasons.items() if not why and name not in sampled], "a video is lost"
    assert not [name for name, why in reasons.items() if Reason.INTERNAL_ERROR in why], "an internal error"


def try_case(number: int, materials: Path, folder: Path) -> tuple[str, tuple[list[str], list[Cost]]]:
    rng = np.random.default_rng([SEED, number])
    target = TARGETS[number % len(TARGETS)]
    shutil.copytree(materials, folder, dirs_exist_ok=True)
    (folder / "packed.csv").write_text("path,label\n" + "".join(f"packed/{n}/a/v.mp4,0\n" for n in ARCHIVES))
    names, commands = target(rng)
    before = {name: (folder / name).read_bytes() for name in names}
    done = [damage_one(folder / name, folder, rng) for name in names]
    ends: list[str] = []
    costs: list[Cost] = []
    for args in commands:
        try:
            ended, cost = run(folder, *args)
        except AssertionError as error:
            raise AssertionError(f"after {done}: {error}") from None
        ends.append(ENDS[ended.code])
        costs.append(cost)
        assert not (folder / PWNED).exists(), f"{args} ran what {done} holds"
        other_run = "different settings" in ended.err and names != ["run/config.json"]
        assert not other_run, f"{args} does not resume the run that it is given, after {done}"
        shard = args[0] == "verify" and "/train-000000." in names[0] and "_state" not in names[0]
        if shard and not ((folder / names[0]).is_file() and (folder / names[0]).read_bytes() == before[names[0]]):
            assert ended.code == 3, f"verify sees nothing of {done}"
        if args[0] == "build" and ended.code in (0, 3) and target in (on_images, on_archives):
            check_account(folder, args[1])
    if target is on_build and ends[1] == "worked":
        made, whole = (
            {name: digest for name, digest in content(root).items() if name != "_state/lock"}
            for root in (folder / names[0].partition("/")[0], materials / "built")
        )
        same = made == whole
        assert same or ends[2] == "reported", f"another dataset after {done}, of which verify says nothing"
    return target.__name__[3:], (ends, costs)


@pytest.mark.heavy
@pytest.mark.parametrize("number", range(len(TARGETS)))
def test_a_few_damages_end_in_order(
    number: int, materials: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record(record_property, *try_case(number, materials, tmp_path))


@pytest.mark.long
@pytest.mark.parametrize("number", range(max(FIRST, len(TARGETS)), CASES))
def test_many_damages_end_in_order(
    number: int, materials: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record(record_property, *try_case(number, materials, tmp_path))
    shutil.rmtree(tmp_path)
