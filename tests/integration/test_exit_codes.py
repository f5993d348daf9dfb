"""Every exit code of every command: a command is a row, a documented code a column."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from skimage.data import astronaut

from facemill.manifests.shards.dataset import read_dataset
from facemill.pipeline.commands import cli
from facemill.pipeline.commands.shared import Exit
from tests.conftest import encode_video
from tests.detectors.forgery.released.layouts import mat_tensors
from tests.integration.bench import SETS, make_bench
from tests.integration.command import Ended
from tests.integration.forked import forked, interrupt_commands, make_commands_fail
from tests.pipeline.experiments.papers_data import SHORT, TINY, build_paper_data

LIMIT_S = 240
REPRODUCE = ["reproduce", "lrl/table4/full", "--out", "new", "--device", "cpu", "--workers", "0"]
REPRODUCE += [part for setting in (*TINY["lrl"], *SHORT) for part in ("--set", setting)]
BUILD = ["build", "faceless.parquet", "--out", "new", "--set", "sample.frames=2", "--device", "cpu"]
TRAIN = ["train", "mat", "toy", "--out", "new", "--recipe", "default", "--device", "cpu", "--workers", "0", *SETS]
USES_RUN = ["run", "toy", "--out", "new", "--device", "cpu"]

COMMANDS: dict[str, dict[int, list[str]]] = {
    "scan": {
        0: ["scan", "csv", "videos.csv", "--split", "all-train", "--out", "new.parquet"],
        2: ["scan", "csv", "nowhere.csv", "--out", "new.parquet"],
    },
    "merge": {
        0: ["merge", "hashed.parquet", "--out", "new.parquet"],
        2: ["merge", "hashed.parquet", "hashed.parquet", "--out", "new.parquet"],
    },
    "check": {
        0: ["check", "hashed.parquet"],
        2: ["check", "faceless.parquet"],  # it has no hashes
        3: ["check", "changed.parquet"],
    },
    "build": {
        0: [*BUILD, "--max-failure-rate", "1"],
        2: [*BUILD, "--set", "crop.size=big"],
        3: [*BUILD, "--max-failure-rate", "0.99"],
    },
    "status": {0: ["status", "dataset"], 2: ["status", "nowhere"]},
    "verify": {0: ["verify", "dataset"], 2: ["verify", "dataset", "--threads", "0"], 3: ["verify", "damaged"]},
    "audit": {
        0: ["audit", "dataset"],
        2: ["audit", "nowhere"],
        3: ["audit", "dataset", "--strict"],  # it has no val split
    },
    "degrade": {
        0: ["degrade", "faceless.parquet", "--out", "new", "--crf", "40"],
        2: ["degrade", "faceless.parquet", "--out", "new", "--crf", "99"],
        3: ["degrade", "changed.parquet", "--out", "new", "--crf", "40"],
    },
    "inspect": {0: ["inspect", "dataset"], 2: ["inspect", "nowhere"]},
    "report": {0: ["report", "dataset", "--out", "new.html"], 2: ["report", "dataset", "--out", "new.txt"]},
    "view": {0: ["view", "dataset", "--stop-after", "0"], 2: ["view", "nowhere"]},
    "export": {0: ["export", "dataset", "--out", "new"], 2: ["export", "dataset", "--out", "toy"]},
    "train": {0: [*TRAIN, "--dry-run"], 2: [*TRAIN, "--set", "train.epochs=none"]},
    "evaluate": {0: ["evaluate", *USES_RUN, "--workers", "0"], 2: ["evaluate", *USES_RUN, "--split", "night"]},
    "compare": {0: ["compare", "scored", "scored"], 2: ["compare", "scored"]},
    "metrics": {0: ["metrics", "scores.csv", "--out", "new"], 2: ["metrics", "nowhere.csv", "--out", "new"]},
    "score": {
        0: ["score", "run", "portrait.png", "--out", "new", "--device", "cpu"],
        2: ["score", "run", "nowhere.mp4", "--out", "new"],
        3: ["score", "run", "portrait.png", "whole", "nowhere.mp4", "--out", "new", "--device", "cpu"],
    },
    "explain": {0: ["explain", *USES_RUN, "--samples", "1"], 2: ["explain", *USES_RUN, "--split", "night"]},
    "import-checkpoint": {
        0: ["import-checkpoint", "mat", "mat.pth", "--out", "new"],
        2: ["import-checkpoint", "etd", "mat.pth", "--out", "new"],
    },
    "export-model": {
        0: ["export-model", "run", "--out", "new.pt2"],
        2: ["export-model", "run", "--out", "new.h5"],
    },
    "reproduce": {
        0: [*REPRODUCE, "--data", "ffpp=ffpp-c40", "--jobs"],
        2: ["reproduce", "lrl/table99", "--out", "new"],
        3: [*REPRODUCE, "--data", "ffpp=empty/ffpp-c40"],
    },
    "experiments list": {0: ["experiments", "list"], 2: ["experiments", "list", "nobody"]},
    "experiments show": {0: ["experiments", "show", "lrl/table4/full"], 2: ["experiments", "show", "nobody"]},
    "datasets": {0: ["datasets"], 2: ["datasets", "nobody"]},
    "recipes": {0: ["recipes"], 2: ["recipes", "nobody"]},
    "detectors": {0: ["detectors"], 2: ["detectors", "nobody"]},
    "demo": {0: ["demo", "--out", "new"], 2: ["demo", "--out", "toy"]},
}
"""Arguments that end with each code, in a folder as `everything` makes it; all may also end with 1 and 4."""
LONG = {("demo", 0)}
"""It builds and trains: README's commands are run in a lane of their own."""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_bench(tmp_path_factory.mktemp("exit-codes")).root
    flat = np.full((6, 64, 96, 3), 90, np.uint8)
    for name in ("whole", "changed"):
        encode_video(root / name / "wall.mp4", flat)
        table = root / f"{name}.csv"
        table.write_text(f"path,label\n{name}/wall.mp4,0\n")
        made = root / {"whole": "hashed.parquet", "changed": "changed.parquet"}[name]
        assert run(root, "scan", "csv", table, "--split", "all-train", "--hash", "--out", made).code == 0
    (root / "whole.csv").rename(root / "videos.csv")
    assert run(root, "scan", "csv", "videos.csv", "--split", "all-train", "--out", "faceless.parquet").code == 0
    (root / "changed" / "wall.mp4").write_bytes(b"no video any more")
    shutil.copytree(root / "dataset", root / "damaged")
    (root / "damaged" / read_dataset(root / "damaged").shards[0].path).write_bytes(b"no shard any more")
    (root / "scores.csv").write_text("video,label,score\na,0,0.2\nb,1,0.7\nc,0,0.8\nd,1,0.9\n")
    assert run(root, "metrics", "scores.csv", "--out", "scored").code == 0
    torch.save({"state_dict": mat_tensors()}, root / "mat.pth")
    Image.fromarray(astronaut()).save(root / "portrait.png")
    build_paper_data(root, "ffpp", "c40")
    lacking = build_paper_data(root / "empty", "ffpp", "c40")
    for shard in read_dataset(lacking).shards:
        (lacking / shard.path).unlink()
    return root


def run(folder: Path, *args: object, first: Callable[[], None] | None = None) -> Ended:
    return forked(*args, folder=folder, limit_s=LIMIT_S, first=first)


def names(command: typer.core.TyperGroup, above: str = "") -> Iterator[str]:
    for name, one in command.commands.items():
        if isinstance(one, typer.core.TyperGroup):
            yield from names(one, f"{above}{name} ")
        else:
            yield f"{above}{name}"


def test_every_command_is_in_the_table() -> None:
    assert sorted(COMMANDS) == sorted(names(typer.main.get_command(cli.app)))
    assert {code for codes in COMMANDS.values() for code in codes} == set(Exit) - {1, 4}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param(name, code, marks=[pytest.mark.long] if (name, code) in LONG else [])
        for name, codes in COMMANDS.items()
        for code in codes
    ],
)
def test_a_command_ends_with(command: str, code: int, everything: Path, tmp_path: Path) -> None:
    root = tmp_path / "work"
    shutil.copytree(everything, root, symlinks=True)
    ended = run(root, *COMMANDS[command][code])
    assert ended.code == code, ended
    if code == 2:
        assert ended.err.startswith(("Error: ", "Usage: ")), ended
    assert "Traceback" not in ended.err


@pytest.mark.heavy
@pytest.mark.parametrize("command", COMMANDS)
def test_a_fault_of_facemill_ends_with_1_and_an_interruption_with_4(command: str, everything: Path) -> None:
    """Whatever a command does; where it stands in its work, other tests say."""
    for first, code, words in (
        (make_commands_fail, Exit.INTERNAL_ERROR, "Internal error (RuntimeError: broken)"),
        (interrupt_commands, Exit.INTERRUPTED, "Interrupted: "),
    ):
        ended = run(everything, *COMMANDS[command][0], first=first)
        assert ended.code == code, ended
        assert ended.sentence.startswith(words)
