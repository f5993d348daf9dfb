"""README.md, executed: its commands are run as they stand there, and its figures compared with what they print.

Commands, overrides and tables of the pages that tell more are only looked at.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from facemill import ConfigError
from facemill.pipeline.commands.cli import app
from facemill.pipeline.config.recipe import available_recipes, load_recipe
from facemill.pipeline.demo import make_corpus
from facemill.registry import DATASETS
from tests.integration.command import FACEMILL

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "docs" / "pages" / f"{name}.md" for name in ("building", "training", "docker", "numbers")]
TEXT = "\n".join([*(page.read_text("utf-8") for page in PAGES), README])


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and text of each block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


BLOCKS = blocks(README)
SMALL = {
    # The corpus is six subjects small, and nobody waits for networks to download or to learn.
    "--recipe lrl": "--set sample.frames=4 --set crop.size=96 --workers 1 --device cpu",
    "train lrl": "train lrl --recipe default --device cpu --workers 0 --set train.epochs=1 --set train.batch=8 "
    "--set 'train.model={pretrained: false, size: 160, backbone: resnet18}'",
    "evaluate": "evaluate --device cpu",
    "explain": "explain --samples 1",
    "view shards/lrl": "view shards/lrl --stop-after 0",
}
"""What a README command is made small by."""


def lines(text: str) -> list[str]:
    """Lines of a text's blocks that call facemill, directly or in an image, without comments."""
    joined = "\n".join(block for language, block in blocks(text) if not language).replace("\\\n", " ")
    found = [re.sub(r"\s+#.*", "", line).strip() for line in joined.splitlines()]
    return [line for line in found if line.startswith(("facemill ", "docker run "))]


def test_there_are_commands_to_run() -> None:
    assert len(lines(README)) > 12
    assert {line.split()[1] for line in lines(README)} >= {"scan", "build", "verify", "train", "evaluate", "export"}
    assert {line.split()[1] for line in lines(TEXT)} >= {"reproduce", "explain", "run"}


@pytest.mark.parametrize("line", sorted(set(lines(TEXT))))
def test_every_command_line_is_understood(line: str) -> None:
    args = shlex.split(line.partition("facemill:")[2] or line)[1:]
    command = get_command(app)
    while hasattr(command, "commands"):
        name, *args = args
        command = command.commands[name]
    command.make_context(command.name, args)  # raises on an unknown option, a missing argument or a wrong type


@pytest.mark.parametrize("override", sorted(set(re.findall(r"--set\s([\w.]+=[\w./]+)", TEXT))))
def test_every_override_is_of_some_recipe(override: str) -> None:
    def works(recipe: str) -> bool:
        try:
            load_recipe(recipe, [override])
        except ConfigError:
            return False
        return True

    assert any(works(recipe) for recipe in available_recipes())


def test_every_dataset_is_named() -> None:
    assert [name for name in DATASETS if f"`{name}`" not in README and name != "csv"] == []


def test_tables_are_whole() -> None:
    """A table's rows have as many cells as its head, and no blank line parts them."""
    for table in re.findall(r"(?:^\|.*\|\n)+", TEXT, re.MULTILINE):
        rows = [line.count("|") - line.count("\\|") for line in table.splitlines()]
        assert len(set(rows)) == 1, table
        assert re.fullmatch(r"[|:-]+", table.splitlines()[1]), table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where README's commands are run; the FaceForensics++ that they speak of as in /data is below it."""
    root = tmp_path_factory.mktemp("readme")
    corpus = root / "data" / "FaceForensics++"
    make_corpus(corpus, subjects=6, frames=8, qualities=("c23",), methods=("Deepfakes",), size=(320, 180))
    return root


def small(line: str, folder: Path) -> str:
    for text, other in SMALL.items():
        line = line.replace(text, other)
    return line.replace("/data/", f"{folder}/data/").replace("facemill", FACEMILL, 1)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_from_the_raw_folder_to_an_auc_and_an_export(folder: Path) -> None:
    """The lines about `shards/lrl`, one after another, then what Python reads of it."""
    chosen = [line for line in lines(README) if re.search(r"FaceForensics|lrl", line)]
    assert len(chosen) == 13
    for line in chosen:
        done = subprocess.run(
            shlex.split(small(line, folder)), cwd=folder, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    code = "\n".join(text for language, text in blocks(TEXT) if language == "python")
    code = code.replace("num_attentions=4", "num_attentions=4, pretrained=False").replace("shards/mat", "shards/lrl")
    checks = "assert len(faces) and set(faces[0]) >= {'image', 'mask', 'label', 'bbox'}"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{checks}"],
        cwd=folder,
        env={**os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (folder / "shards" / "lrl").iterdir()}
    [tree] = [text for _, text in BLOCKS if text.startswith("shards/lrl/")]
    promised = {name.rstrip("/") for name in re.findall(r"\b[\w.]+\.(?:json|parquet|md)\b", tree) if "-" not in name}
    assert promised - {"000000.parquet"} <= names


NUMBER = re.compile(r"\d+(?:\.\d+)?")


def same(printed: str, quoted: str) -> bool:
    """Equal text and whole numbers; AUCs and the like within 0.05, which differ a little between processors."""
    if NUMBER.sub("#", " ".join(printed.split())) != NUMBER.sub("#", " ".join(quoted.split())):
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(quoted), strict=True)
    return all(a == b if "." not in b else abs(float(a) - float(b)) <= 0.05 for a, b in pairs)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_demo_prints_what_readme_says(tmp_path: Path) -> None:
    [block] = [text for _, text in BLOCKS if text.startswith("1  a corpus")]
    env = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        [FACEMILL, "demo"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=800
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    for quoted in filter(NUMBER.search, block.splitlines()):
        assert any(same(line, quoted) for line in printed), (quoted, done.stdout)
    first, *_ = (line.strip() for line in printed if line.startswith("   demo-out/"))
    assert first == "demo-out/report.html"
    audited = subprocess.run(
        [FACEMILL, "audit", "demo-out/shards", "--json"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(audited.stdout)
    assert found["findings"] == []
    alone = {one["column"]: one["auc"] for one in found["shortcuts"]["shards"] if one["column"] != "all together"}
    assert alone["crop: brightness"] < 0.6
    assert max(alone.values()) < 0.6
    for name in re.findall(r"`((?:[\w-]+/)?[\w-]+\.png)`", README.partition("## From your raw")[0]):
        assert (tmp_path / "demo-out" / name).is_file()
