"""docs/pages/tutorial.md, executed in a folder of its own: its module is written, and its commands are run."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from safetensors.torch import load_file

from facemill.pipeline.demo import make_corpus
from tests.integration.command import Ended
from tests.integration.forked import forked

PAGE = (Path(__file__).parents[1] / "docs/pages/tutorial.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SMALL = {
    "facemill build": "facemill build --executor sequential --set sample.frames=4 --set crop.size=64",
    "facemill train": "facemill train --device cpu --workers 0 --set train.epochs=3 --set train.batch=8",
    "facemill evaluate": "facemill evaluate --device cpu --workers 0",
    "facemill explain": "facemill explain --samples 2",
}
"""What a command is made small by."""


pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: videos, their table, and the page's module."""
    root = tmp_path_factory.mktemp("tutorial")
    made = make_corpus(root / "made", subjects=8, frames=8, qualities=("c23",), methods=("Deepfakes",), size=(320, 180))
    table = [text for language, _, text in BLOCKS if language == "text"]
    rows = [table[0].splitlines()[0]]
    for path in sorted(path for path in made.rglob("*.mp4") if "masks" not in path.parts):
        stem = path.stem
        rows.append(f"{path.relative_to(root)},{'fake' if '_' in stem else 'real'},,,s{stem[:3]}")
    reals = {Path(row.split(",")[0]).stem: row.split(",")[0] for row in rows if ",real," in row}
    for number, row in enumerate(rows):
        if ",fake," in row:
            path, _, _, _, subject = row.split(",")
            rows[number] = f"{path},fake,swap,{reals[Path(path).stem[:3]]},{subject}"
    (root / "videos.csv").write_text("\n".join(rows) + "\n")
    (root / "mine.py").write_text("\n".join(text for _, title, text in BLOCKS if "mine.py" in title))
    return root


def small(line: str) -> list[str]:
    """The arguments of a command of the page, made small."""
    for text, other in SMALL.items():
        line = line.replace(text, other)
    return shlex.split(line)[1:]


def run(line: str, folder: Path) -> Ended:
    return forked(*small(line), folder=folder, limit_s=300)


def lines() -> list[str]:
    return [line for language, _, text in BLOCKS if language == "sh" for line in text.splitlines()]


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    for line in lines():
        done = run(line, folder)
        assert done.code == 0, (line, done.out, done.err)
    return folder


def test_every_command_of_the_page_works(finished: Path) -> None:
    config = json.loads((finished / "run/config.json").read_text())
    assert config["detector"] == "mine:Small"
    assert [code["name"] for code in config["code"]] == ["mine:Small", "mine:Contrast", "mine:Erase"]
    assert {code["file"] for code in config["code"]} == {str((finished / "mine.py").resolve())}
    trial = json.loads((finished / "trial/config.json").read_text())
    assert [code["name"] for code in trial["code"]] == ["mine:Small", "mine:Halving", "mine:TwoVideos"]
    rates = pandas.read_csv(finished / "trial/log.csv")["learning_rate"]
    assert (rates / rates[0]).tolist() == [1, 0.5, 0.25]
    card = (finished / "run/README.md").read_text()
    assert json.loads((finished / "faces/_state/build.json").read_text())["manifest"] in card
    assert all(f"{code['name']} (SHA-256 {code['sha256']})" in card for code in config["code"])
    log = pandas.read_csv(finished / "run/log.csv")
    assert (log["train_contrast"] > 0).all()  # 0 if no batch holds both crops of a pair
    assert not any(key.startswith("objective") for key in load_file(finished / "run/model.safetensors"))
    assert (finished / "evaluation/metrics.json").is_file()


def test_the_python_of_the_page_works(finished: Path) -> None:
    [code] = [text for language, title, text in BLOCKS if language == "python" and not title]
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nassert difference.abs().max() > 0"],
        cwd=finished,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_run_whose_code_is_elsewhere_says_where(finished: Path, tmp_path: Path) -> None:
    done = run(f"facemill evaluate {finished}/run {finished}/faces --out {tmp_path}/evaluation", tmp_path)
    assert done.code == 2
    said = " ".join(done.err.split())
    assert f"use the command in the folder it was trained in (the module is {finished}" in said


def test_another_file_of_that_name_is_not_run(finished: Path, tmp_path: Path) -> None:
    """Somebody else's run folder must not choose what is run in the folder it was unpacked into."""
    (tmp_path / "mine.py").write_text("open('ran', 'w').close()\n" + (finished / "mine.py").read_text())
    assert run(f"facemill evaluate {finished}/run {finished}/faces --out evaluation", tmp_path).code == 2
    assert not (tmp_path / "ran").exists()


def test_changed_code_is_told(finished: Path) -> None:
    before = (finished / "mine.py").read_text()
    try:
        (finished / "mine.py").write_text(before + "\n# changed\n")
        done = run("facemill evaluate run faces --out again", finished)
    finally:
        (finished / "mine.py").write_text(before)
    assert done.code == 0, done.err
    assert "mine.py has changed since the run was started with mine:Small" in done.err


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("nowhere:Small", "The forgery detector nowhere:Small cannot be imported (ModuleNotFoundError"),
        ("mine:Missing", "The forgery detector mine:Missing cannot be imported (AttributeError"),
        ("mine:Erase", "mine:Erase is no forgery detector: a forgery detector is a subclass of"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(finished: Path, what: str, sentence: str) -> None:
    done = run(f"facemill train {what} faces --out other", finished)
    assert done.code == 2
    assert sentence in " ".join(done.err.split())
    assert not (finished / "other").exists()


@pytest.mark.long
def test_two_processes_train_with_it(finished: Path) -> None:
    line = next(line for line in lines() if "--out trial" in line).replace("--out trial", "--out two --devices 2")
    # As a user does: each process of the training imports the module by itself.
    command = [str(Path(sys.executable).with_name("facemill")), *small(line)]
    done = subprocess.run(command, cwd=finished, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads((finished / "two/conditions.json").read_text())["parts"][0]["ranks"] == 2
    one, two = (pandas.read_csv(finished / run / "log.csv")["train_loss"] for run in ("trial", "two"))
    assert two.iloc[-1] == pytest.approx(one.iloc[-1], rel=0.5)
