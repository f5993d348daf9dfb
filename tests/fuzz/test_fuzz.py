"""Every command on damaged files ends in time, with exit code 0, 2, 3 or 4, and without an internal error.

`make fuzz` runs many cases (from number `FUZZ_FIRST` up to `FUZZ_CASES`) of a seed (`FUZZ_SEED`); a case is repeated
by its number, whichever others run.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.materials import BRIEF, CODECS, make_materials
from tests.fuzz.mutations import damage
from tests.integration.command import Ended
from tests.integration.forked import forked

LIMIT_S = 120
"""For a command that takes a second, on a busy machine."""
SHORT = 8
"""Cases of the ordinary tests."""
FIRST = int(os.environ.get("FUZZ_FIRST", SHORT))
CASES, SEED = int(os.environ.get("FUZZ_CASES", "300")), int(os.environ.get("FUZZ_SEED", "0"))
CPU = ("--device", "cpu")

pytestmark = pytest.mark.timeout(10 * LIMIT_S)


@pytest.fixture(scope="session")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_materials(tmp_path_factory.mktemp("materials"))


def on_videos(rng: np.random.Generator) -> tuple[list[str], list[list[str]]]:
    suffix = list(CODECS)[rng.integers(len(CODECS))]
    names = [f"videos/{kind}-{suffix}.{suffix}" for kind in ("real", "fake")]
    return names[: rng.integers(1, 3)], [["check", "manifest", "--root", "videos"], build_args("default")]


def on_manifest(rng: np.random.Generator) -> tuple[list[str], list[list[str]]]:
    return ["manifest"], [["merge", "manifest", "--out", "merged"], build_args("default")]


def on_recipe(rng: np.random.Generator) -> tuple[list[str], list[list[str]]]:
    return ["mine.yaml"], [build_args("mine.yaml")]


def on_dataset(rng: np.random.Generator) -> tuple[list[str], list[list[str]]]:
    folder = ("dataset", "tar")[rng.integers(2)]
    suffix = {"dataset": "parquet", "tar": "tar"}[folder]
    tables = ("dataset.json", "samples.parquet", "faces.parquet", "failures.parquet", "videos.parquet")
    names = [*[f"train/train-000000.{suffix}"] * 4, *tables, "_state/train-000000.json"]
    commands = [["verify", folder], ["inspect", folder], ["report", folder], ["export", folder, "--out", "exported"]]
    return [f"{folder}/{names[rng.integers(len(names))]}"], commands


def on_run(rng: np.random.Generator) -> tuple[list[str], list[list[str]]]:
    names = ("run/config.json", "run/model.safetensors", "toy/samples.parquet", "toy/test/test-000000.parquet")
    command = ["evaluate", "run", "toy", "--out", "evaluated", "--workers", "0", *CPU]
    if rng.integers(2):
        state = ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "conditions.json", "config.json", "log.csv",
                 "metrics.json", "trained_on.parquet")  # fmt: skip
        names = tuple(f"run/{name}" for name in state)
        sets = ("--workers", "0", *(word for value in BRIEF for word in ("--set", value)))
        command = ["train", "mat", "toy", "--out", "run", "--resume", *sets, *CPU, "--quiet"]
    return [names[rng.integers(len(names))]], [command]


def build_args(recipe: str) -> list[str]:
    sets = ("--set", "sample.frames=2", "--set", "shards.samples_per_shard=8") if recipe == "default" else ()
    return ["build", "manifest", "--root", "videos", "--recipe", recipe, "--out", "built", *CPU, *sets]


TARGETS = (on_dataset, on_run, on_manifest, on_recipe, on_videos)


def wrong_with(ended: Ended) -> str | None:
    """How an ending breaks the rule."""
    if ended.code not in (0, 2, 3, 4):
        return f"exit code {ended.code}"
    for word in ("Internal error", "Traceback", "Aborted!", "weights_only", "\x1b"):
        if word in ended.err + ended.out:
            return f"says {word!r}"
    # libpng writes a line of its own about what it cannot decode, past all of Python.
    lines = [line for line in ended.err.splitlines() if not line.startswith("libpng ")]
    if ended.code == 2 and not (lines and lines[-1].startswith("Error: ")):
        return "tells no error"
    return "more than a sentence" if ended.code == 2 and len(lines) > 2 else None


def try_case(number: int, materials: Path, folder: Path) -> None:
    rng = np.random.default_rng([SEED, number])
    shutil.copytree(materials, folder, dirs_exist_ok=True)
    names, commands = TARGETS[number % len(TARGETS)](rng)
    before = {name: (folder / name).read_bytes() for name in names}
    done = [damage(folder / name, rng) for name in names]
    for args in commands:
        ended = forked(*args, folder=folder, limit_s=LIMIT_S)
        assert (wrong := wrong_with(ended)) is None, f"{wrong}: {' '.join(args)} after {done}: {ended}"
        other_run = "different settings" in ended.err and names != ["run/config.json"]
        assert not other_run, f"{args} does not resume the run that it is given"
        shard = args[0] == "verify" and "/train-000000." in names[0] and "_state" not in names[0]
        if shard and not ((folder / names[0]).is_file() and (folder / names[0]).read_bytes() == before[names[0]]):
            assert ended.code == 3, f"verify sees nothing of {done}"


@pytest.mark.parametrize("number", range(SHORT))
def test_a_few_damages_end_in_order(number: int, materials: Path, tmp_path: Path) -> None:
    try_case(number, materials, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("number", range(FIRST, CASES))
def test_many_damages_end_in_order(number: int, materials: Path, tmp_path: Path) -> None:
    try_case(number, materials, tmp_path)
    shutil.rmtree(tmp_path)
