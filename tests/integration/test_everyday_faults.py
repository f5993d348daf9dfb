"""What happens to everybody: each fault is one sentence, which says what to do, and has its exit code.

A new fault is a new row.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from facemill.manifests.shards.dataset import BUILD_FILE
from facemill.pipeline.commands import cli
from facemill.pipeline.commands.interrupts import interrupts
from facemill.pipeline.runs.folder import LAST_CHECKPOINT
from tests.integration.bench import Bench, make_bench

DEEP = b"[" * 100_000
DAMAGES = {"text": b"hello", "empty": b"", "list": b"[1]", "deep": DEEP, "bytes": b"\xff\xfe", "object": b"{}"}
LONG = "n" * 300
OWN_IMAGE = cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def bench(whole: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    shutil.copytree(whole.root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path)


def piped(name: str, args: "Fault") -> "Fault":
    """The command, on a pipe that nobody writes to instead of a file."""

    def prepare(bench: Bench) -> list[object]:
        (bench.root / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / name).unlink(missing_ok=True)
        os.mkfifo(bench.root / name)
        return args(bench)

    return prepare


Fault = Callable[[Bench], list[object]]


def broken(name: str, content: bytes, args: Callable[[Bench], list[object]]) -> Fault:
    """The command, on a file with that content."""

    def prepare(bench: Bench) -> list[object]:
        (bench.root / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / name).write_bytes(content)
        return args(bench)

    return prepare


def column(name: str, value: Any, args: Callable[[Bench], list[object]]) -> Fault:
    """The command, on a samples table with that value in the column's last row."""

    def prepare(bench: Bench) -> list[object]:
        table = pq.read_table(bench.toy / "samples.parquet")
        rows = table.to_pylist()
        rows[-1][name] = value
        pq.write_table(pa.Table.from_pylist(rows, table.schema), bench.toy / "samples.parquet")
        return args(bench)

    return prepare


def weights(content: Any) -> Fault:
    """A build whose face detector has such weights; a backbone of that option takes the same way."""

    def prepare(bench: Bench) -> list[object]:
        path = bench.root / "weights.pth"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        return bench.train("--set", f"train.model.weights={path}", out="new")

    return prepare


def recipe(text: str) -> Fault:
    def prepare(bench: Bench) -> list[object]:
        (bench.root / "mine.yaml").write_text(text)
        return bench.build("--recipe", bench.root / "mine.yaml")

    return prepare


def resumed(bench: Bench) -> list[object]:
    return bench.train("--resume")


def reproduced(bench: Bench) -> list[object]:
    return ["reproduce", "etd/table2", "--data", f"ffpp={bench.toy}", "--out", bench.new, "--dry-run"]


def rebuilt(bench: Bench) -> list[object]:
    (bench.root / "dataset" / "_state" / "build.log").unlink(missing_ok=True)
    return bench.build(out="dataset")


def exported(bench: Bench) -> list[object]:
    return ["export", bench.dataset, "--out", bench.new]


def outs(bench: Bench, out: object) -> dict[str, list[object]]:
    """Every command that writes."""
    return {
        "scan": ["scan", "csv", bench.table, "--split", "all-test", "--out", out],
        "merge": ["merge", bench.manifest, "--out", out],
        "build": [*bench.build()[:4], "--out", out],
        "report": ["report", bench.dataset, "--out", f"{out}.png"],
        "export": ["export", bench.dataset, "--out", out],
        "train": [*bench.train()[:-2], "--out", out],
        "evaluate": [*bench.evaluate(), "--out", out],
        "metrics": ["metrics", bench.scores, "--out", out],
        "explain": ["explain", bench.run, bench.toy, "--out", out],
        "demo": ["demo", "--out", out],
    }


def out_fault(command: str, kind: str) -> Fault:
    def prepare(bench: Bench) -> list[object]:
        (bench.root / "table.csv").write_text("path,label\nmanifest,0\n")
        (bench.root / "scores").write_text("video,label,score\na,0,0.2\nb,1,0.7\n")
        place = bench.root / "place"
        if kind == "file":
            place.write_text("years of work")
        elif kind == "folder":
            (place / "thesis").mkdir(parents=True)
            (bench.root / "place.png").mkdir()
        elif kind == "pipe":
            os.mkfifo(place)
            os.mkfifo(bench.root / "place.png")
        elif kind == "below a file":
            place.write_text("years of work")
            place /= "x"
        else:
            place /= LONG
        return outs(bench, place)[command]

    return prepare


def own_image(command: str, name: str) -> Fault:
    """A command that draws, on an image of the user's that has the name of a sheet."""

    def prepare(bench: Bench) -> list[object]:
        (bench.root / "place").mkdir()
        (bench.root / "place" / name).write_bytes(OWN_IMAGE)
        out = {"report": bench.root / "place" / name, "explain": bench.root / "place"}[command]
        return [*outs(bench, "x")[command][:-1], out, "--overwrite"]

    return prepare


def csv_of(text: str) -> Fault:
    def prepare(bench: Bench) -> list[object]:
        (bench.root / "table.csv").write_text(text)
        return ["scan", "csv", bench.root / "table.csv", "--split", "all-test", "--out", bench.new]

    return prepare


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
ONE = torch.ones(2, 2)
FAULTS: dict[str, tuple[Fault, str]] = {
    **{
        f"{command} --out {kind}": (out_fault(command, kind), "")
        for kind in ("file", "folder", "pipe", "below a file", "long name")
        for command in ("scan", "merge", "build", "report", "export", "train", "evaluate", "metrics", "explain", "demo")
        if (command, kind) not in {("report", "file"), ("explain", "folder")}
    },
    **{
        f"build.json {kind}": (broken(f"dataset/_state/{BUILD_FILE}", content, rebuilt), "choose another --out")
        for kind, content in DAMAGES.items()
    },
    **{
        f"export.json {kind}": (broken("new/_export/export.json", content, exported), "choose another --out")
        for kind, content in DAMAGES.items()
    },
    **{
        f"metrics.json {kind}": (broken("run/metrics.json", content, resumed), "metrics.json is damaged")
        for kind, content in DAMAGES.items()
    },
    **{
        f"last.ckpt {kind}": (broken(f"run/{LAST_CHECKPOINT}", content, resumed), "last.ckpt is damaged")
        for kind, content in DAMAGES.items()
    },
    **{
        f"{name} {kind}": (broken(name, content, Bench.evaluate), Path(name).name)
        for name in ("run/config.json", "run/model.safetensors", "run/trained_on.parquet", "toy/samples.parquet",
                     "toy/dataset.json")
        for kind, content in DAMAGES.items()
    },
    **{
        f"{name} {kind}, {command}": (broken(name, content, lambda bench, c=command: [c, bench.dataset]), name[8:])
        for name, command in (("dataset/samples.parquet", "inspect"), ("dataset/_state/train-000000.json", "inspect"),
                              ("dataset/dataset.json", "report"))
        for kind, content in DAMAGES.items()
    },
    **{
        f"samples.parquet {kind}, reproduce": (broken("toy/samples.parquet", content, reproduced), "samples.parquet")
        for kind, content in DAMAGES.items()
    },
    "reproduce from a missing folder": (
        lambda bench: ["reproduce", "etd/table2", "--root", "ffpp=videos_of_mine", "--out", bench.new, "--dry-run"],
        "--root names videos_of_mine, which is not there",
    ),
    "last.ckpt of text": (broken(f"run/{LAST_CHECKPOINT}", b"hello, this is text", resumed), "not a file of tensors"),
    **{f"manifest {kind}": (broken("manifest", content, Bench.build), "manifest") for kind, content in DAMAGES.items()},
    **{f"pipe: {name}": (piped(name, args), words) for name, args, words in (
        ("table.csv", lambda bench: ["scan", "csv", "table.csv", "--out", bench.new], "regular file"),
        ("run/config.json", Bench.evaluate, "regular file"),
        (f"run/{LAST_CHECKPOINT}", resumed, "regular file"),
        ("toy/test/test-000000.parquet", Bench.evaluate, "regular file"),
        ("weights.pth", lambda b: b.train("--set", "train.model.weights=weights.pth", out="new"), "regular file"),
    )},
    **{
        f"{command} over a dataset's manifest": (
            lambda bench, command=command: [*outs(bench, bench.dataset / "videos.parquet")[command], "--overwrite"],
            "not written by this command",
        )
        for command in ("scan", "merge")
    },
    "report over an image of another program": (own_image("report", "a.png"), "a.png exists and was not written by"),
    "explain over an image of another program": (
        own_image("explain", "explanations-01.png"), "explanations-01.png exists and was not written by",
    ),
    "performance report over notes on it": (
        broken("notes.html", b"My bokeh notes",
               lambda bench: bench.build("--performance-report", bench.root / "notes.html")),
        "notes.html exists and was not written by",
    ),
    "label 2 in samples": (column("label", 2, Bench.evaluate), "label"),
    "shard elsewhere": (column("shard", "/etc/passwd", Bench.evaluate), "shard"),
    "row below 0": (column("row", -1, Bench.evaluate), "row"),
    "label in a table": (csv_of("path,label\na.mp4,2\n"), "label '2'"),
    "long path in a table": (csv_of(f"path,label\n{LONG}/a.mp4,0\n"), ""),
    "table at a URL": (lambda bench: ["scan", "csv", "s3://bucket/a.csv", "--out", bench.new], "redentials"),
    "folder at a URL": (lambda bench: ["scan", "ffpp", "s3://bucket", "--out", bench.new], "your credentials"),
    "folder at a URL of no protocol": (lambda bench: ["scan", "ffpp", "gs://nowhere", "--out", bench.new], "package"),
    "long recipe name": (lambda bench: bench.build("--recipe", LONG), ""),
    "long detector": (lambda bench: ["train", LONG, bench.toy, "--out", bench.new], ""),
    "weights: text": (weights(b"<html>Not Found</html>"), "it holds more than tensors"),
    "weights: empty": (weights(b""), "cannot be read as weights"),
    "weights: code": (weights({"weight": torch.nn.Linear(2, 1)}), "it holds more than tensors"),
    "weights: list": (weights([1, 2]), "holds no state dict"),
    "weights: integer keys": (weights({1: ONE}), "1 is not a name"),
    "weights: of no tensors": (weights({"a": "b"}), "'a' is not a tensor"),
    "weights: complex": (weights({"a": ONE * 1j}), "real numbers"),
    "weights: sparse": (weights({"a": ONE.to_sparse()}), "dense"),
    "weights: NaN": (weights({"a": ONE * torch.nan}), "is not finite"),
    "weights: another network's": (weights({"a": ONE}), "is not one of timm's"),
    "recipe: .inf": (recipe("name: x\ncrop: {scale: .inf}"), "crop.scale"),
    "recipe: .nan": (recipe("name: x\nfilter: {min_face: .nan}"), "filter.min_face"),
    "recipe: 1e308": (recipe("name: x\ncrop: {scale: 1.0e+308}"), "crop.scale"),
    "recipe: 1e308 face": (recipe("name: x\nfilter: {min_face: 1.0e+308}"), "filter.min_face"),
    "recipe: 1e308 s": (recipe("name: x\ndecode: {timeout_s: 1.0e+308}"), "decode.timeout_s"),
    "recipe: frames": (recipe(f"name: x\nsample: {{frames: {10**30}}}"), "sample.frames"),
    "recipe: negative seed": (recipe("name: x\nseed: -1"), "seed"),
    "recipe: huge seed": (recipe(f"name: x\nseed: {10**30}"), "seed"),
    "recipe: huge number": (recipe(f"name: x\nseed: 1{'0' * 5000}"), ""),
    "recipe: a date that is none": (recipe("name: 2026-99-99"), "is not valid YAML"),
    "recipe: billion laughs": (recipe(f"name: x\n{LAUGHS}"), "aliases are not allowed"),
    "recipe: billion laughs as options": (recipe(f"{LAUGHS}train: {{model: {{a: *a59}}}}"), "aliases are not allowed"),
    "recipe: 10 MB": (recipe(f"name: [{'1, ' * 3_000_000}]"), "is too long for a recipe"),
    "recipe: deep": (recipe("name: " + "[" * 5000), "is not valid YAML"),
    "recipe: key twice": (recipe("name: x\ncrop: {size: 96, size: 128}"), "'size' appears twice"),
    "recipe: section twice": (recipe("name: x\ncrop: {size: 96}\ncrop: {scale: 2}"), "'crop' appears twice"),
    "recipe: bytes": (recipe("name: \x00"), "is not valid YAML"),
    "lr 1e308": (lambda bench: bench.train("--set", "train.optimizer.lr=1e308", out="new"), "train.optimizer.lr"),
    "report at a place that is a folder": (
        lambda bench: bench.build("--performance-report", bench.toy), "is a folder"),
}  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_one_sentence(
    bench: Bench, fault: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, words = FAULTS[fault]
    args = [str(arg) for arg in prepare(bench)]
    monkeypatch.setattr(sys, "argv", ["facemill", *args])
    monkeypatch.setattr(interrupts, "listen", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capfd.readouterr().err.splitlines()
    assert ended.value.code == 2, said
    assert len(said) == 1, said
    assert said[0].startswith("Error: "), said
    assert said[0].endswith("."), said
    assert words in said[0]
    assert "weights_only" not in said[0]
    assert len(said[0]) < 1500
    assert all(path.read_bytes() == OWN_IMAGE for path in (bench.root / "place").glob("*.png"))
    assert not (bench.root / "place").is_file() or (bench.root / "place").read_text() == "years of work"
