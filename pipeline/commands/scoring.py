"""The command that scores videos and images of unknown labels."""

from pathlib import Path
from typing import Annotated

import typer

from facemill.pipeline.commands.interrupts import interrupts
from facemill.pipeline.commands.places import free_folder, local_path
from facemill.pipeline.commands.printing import echo, echo_json
from facemill.pipeline.commands.progress import progress
from facemill.pipeline.commands.shared import (
    AsJson,
    Calibrated,
    CropsAtOnce,
    Device,
    Exit,
    MayOverwrite,
    Quiet,
    Run,
    VideoScore,
)

__all__ = ["score"]


def score(
    run: Run,
    files: Annotated[
        list[Path],
        typer.Argument(help="Videos, images, and folders of them.", metavar="FILE|FOLDER...", parser=local_path),
    ],
    out: Annotated[Path, typer.Option(help="Folder for scores and the page.", parser=local_path)],
    frames: Annotated[int | None, typer.Option(min=1, help="Frames per video, evenly spaced.")] = None,
    every: Annotated[int | None, typer.Option(min=1, help="Use every n-th frame.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Recipe of the training data, for a run that does not record it: a name or a YAML file."),
    ] = None,
    video_score: VideoScore = "mean",
    calibrated: Calibrated = False,
    batch: CropsAtOnce = 32,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read files; by default this one.")] = None,
    overwrite: MayOverwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score the faces in any videos and images with a trained detector: no manifest and no labels are needed.

    Faces are found and cropped as those of the run's training data, sampled as there unless --frames or --every says
    otherwise, and scored as `evaluate` scores them. --video-score makes a person's score of those of its faces, and a
    file's score is that of the person with the highest. Persons and files are compared with the threshold that has the
    highest balanced accuracy on the run's validation videos.

    Written are scores.parquet (a row per face and frame), scores.json (also what could not be scored, and why), and
    score.html (timelines, and the highest faces with maps). If a file could not be scored at all, the exit code is 3.
    """
    from scipy.special import expit

    from facemill.pipeline.config.recipe import load_recipe
    from facemill.pipeline.score import score as run_scoring
    from facemill.pipeline.score.results import describe

    interrupts.advice = "Interrupted: nothing was written, run the same command again."
    free_folder(out, overwrite=overwrite, is_own=_is_own)
    with progress("scoring", "files", quiet=quiet) as advance:
        scored = run_scoring(
            run,
            files,
            out,
            recipe=None if recipe is None else load_recipe(recipe),
            frames=frames,
            every=every,
            video_score=video_score,
            calibrated=calibrated,
            batch=batch,
            device=device,
            workers=workers,
            on_progress=advance,
        )
    for note in scored.summary["notes"]:
        echo(f"Note: {note}", err=True)
    limit = scored.summary["thresholds"]["video"]
    chosen = "There is no threshold: the run has no" if limit is None else "The threshold is chosen on the run's"
    echo(f"Note: {chosen} validation videos.", err=True)
    for result in scored.summary["files"]:
        if not (as_json and result["persons"]):
            echo(describe(result, None if limit is None else float(expit(limit))), err=not result["persons"])
    if as_json:
        echo_json(scored.summary)
    else:
        echo(f"scores and score.html -> {out}")
    if scored.failed:
        raise typer.Exit(Exit.TOO_MANY_FAILURES)


def _is_own(folder: Path) -> bool:
    """Whether a folder is an output of this command."""
    from facemill.pipeline.score.job import PAGE_FILE, SUMMARY_FILE

    return (folder / PAGE_FILE).is_file() and (folder / SUMMARY_FILE).is_file()
