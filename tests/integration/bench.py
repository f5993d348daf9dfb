"""What commands are tried on: a manifest, a dataset, data to train on and a trained run, all made in a second."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_model

from facemill.detectors.forgery import create
from facemill.manifests import write_videos
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.runs.folder import write_config
from facemill.pipeline.train.fit import configure
from tests.manifests.small_dataset import Parts, make_videos
from tests.pipeline.trained import SMALL, build_toy

__all__ = ["SETS", "Bench", "make_bench"]

SETS = [part for setting in SMALL for part in ("--set", setting)]


@dataclass(frozen=True)
class Bench:
    """What the commands are tried on: a manifest, a dataset, data to train on and a trained run; all may be broken."""

    root: Path

    def __getattr__(self, name: str) -> Path:
        return self.root / name

    def build(self, *more: object, out: str = "new") -> list[object]:
        return ["build", self.manifest, "--root", self.root, "--out", self.root / out, "--device", "cpu", *more]

    def train(self, *more: object, out: str = "run") -> list[object]:
        args = ["train", "mat", self.toy, "--recipe", "default", *SETS, "--device", "cpu", "--workers", 0]
        return [*args, "--out", self.root / out, *more]

    def evaluate(self, *more: object) -> list[object]:
        return ["evaluate", self.run, self.toy, "--out", self.new, "--device", "cpu", "--workers", 0, *more]


def make_bench(root: Path) -> Bench:
    """A small dataset of four videos with its manifest, crops of noise, and a network with random weights."""
    bench = Bench(root)
    write_videos([dataclasses.replace(video, root="/data") for video in make_videos()], bench.manifest, places=False)
    Parts().write(bench.dataset, state=True)
    build_toy(bench.toy)
    config = configure("mat", [bench.toy], load_recipe("default", SMALL))
    write_config(bench.run, config)
    save_model(create("mat", **config.options), str(bench.run / "model.safetensors"))
    return bench
