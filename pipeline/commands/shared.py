"""Shared by the commands: exit codes, common options."""

from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer

from facemill.pipeline.commands.places import dataset_folder, local_path, whole_dataset

__all__ = [
    *("AsJson", "Built", "Calibrated", "CropsAtOnce", "Data", "Device", "Exit", "MayOverwrite", "Out", "Overrides"),
    *("Quiet", "Roots", "Run", "Split", "VideoScore", "Workers"),
]


class Exit(IntEnum):
    DONE = 0
    INTERNAL_ERROR = 1
    USAGE = 2
    TOO_MANY_FAILURES = 3
    INTERRUPTED = 4


Out = Annotated[Path, typer.Option(help="Where to write.", parser=local_path, metavar="PATH")]
Built = Annotated[Path, typer.Argument(help="Folder or URL of a built dataset.", metavar="DIR", parser=whole_dataset)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
MayOverwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output of an earlier run of this command.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe value; may be repeated.", metavar="KEY=VALUE")
]

Data = Annotated[
    list[Path], typer.Argument(help="Folders or URLs of built datasets.", metavar="DIR...", parser=dataset_folder)
]
Run = Annotated[Path, typer.Argument(help="Folder of a finished training run.", metavar="RUN", parser=local_path)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Readers of crops per device, processes for a GPU, else threads; by default by cores."),
]
Split = Annotated[str, typer.Option(help="Split: train, val or test.")]
Roots = Annotated[
    list[str] | None,
    typer.Option("--root", help="Where the videos are now; with several roots, name each.", metavar="[NAME=]DIR"),
]
Calibrated = Annotated[
    bool, typer.Option("--calibrated", help="Divide log-odds by the temperature that fits the validation scores.")
]
CropsAtOnce = Annotated[int, typer.Option(min=1, help="Crops per forward pass.")]
VideoScore = Annotated[str, typer.Option(help="Score of a video: its frames' mean, median, max, or top:K mean.")]
