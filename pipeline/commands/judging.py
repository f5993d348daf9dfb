"""The commands that score, and that judge detectors by their scores: evaluate, score, compare, metrics."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from facemill.pipeline.commands.interrupts import interrupts
from facemill.pipeline.commands.places import free_folder, local_path
from facemill.pipeline.commands.printing import echo, echo_json, echo_table, progress
from facemill.pipeline.commands.shared import (
    AsJson,
    Calibrated,
    CropsAtOnce,
    Data,
    Device,
    Exit,
    MayOverwrite,
    Quiet,
    Run,
    Split,
    VideoScore,
    Workers,
)

__all__ = ["compare", "evaluate", "metrics", "score"]

Precision = Literal["float32", "bf16"]
_SHOWN = ("acc", "auc", "eer", "ap", "log_loss")


def evaluate(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for scores, metrics and plots.", parser=local_path)],
    split: Split = "test",
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also evaluate under eight corruptions at five levels.")
    ] = False,
    localisation: Annotated[
        bool, typer.Option("--localisation", help="Also compare the detector's maps with the ground-truth masks.")
    ] = False,
    video_score: VideoScore = "mean",
    calibrated: Calibrated = False,
    batch: CropsAtOnce = 32,
    device: Device = "auto",
    workers: Workers = None,
    precision: Annotated[Precision, typer.Option(help="bf16 is faster on a GPU.")] = "float32",
    overwrite: MayOverwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score a split with a trained detector: metrics per frame and per video, per method and dataset, and plots.

    RUN may be a folder of several seeds, whose mean and spread are given. Intervals are of 95 %, by resampling of clip
    groups. Methods and datasets that the detector was trained on, and those that it was not, have separate tables. Of
    videos that are forged only at times, AP and AR of the segments that the frames' scores propose are given too.
    """
    from rich.console import Console

    from facemill.pipeline.evaluate.evaluation import evaluate as run_evaluation
    from facemill.pipeline.evaluate.localisation import localisation_tables
    from facemill.pipeline.evaluate.report import metrics_table, robustness_table
    from facemill.pipeline.evaluate.seen import titled
    from facemill.pipeline.evaluate.segments import segments_table

    interrupts.advice = "Interrupted: nothing was written, run the same command again."
    free_folder(out, overwrite=overwrite, is_own=_is_evaluation)
    with progress("scoring", "crops", quiet=quiet) as advance:
        result = run_evaluation(
            run,
            data,
            out,
            split=split,
            robustness=robustness,
            localisation=localisation,
            video_score=video_score,
            calibrated=calibrated,
            batch=batch,
            device=device,
            workers=workers,
            precision=precision,
            on_progress=advance,
        )
    _show_notes(result.warnings)
    if as_json:
        echo_json(result.metrics)
        return
    console = Console()
    for title, part in titled(result.metrics):
        console.print(metrics_table(part, title))
        if robustness:
            console.print(robustness_table(part))
    for found in result.metrics["localisation"]:
        console.print(*localisation_tables(found["rows"]))
    if result.metrics["segments"]:
        console.print(segments_table(result.metrics["segments"]))
    echo(f"scores, metrics and plots -> {out}")


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
    free_folder(out, overwrite=overwrite, is_own=_is_scores)
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
    _show_notes(scored.summary["notes"])
    limit = scored.summary["thresholds"]["video"]
    chosen = "There is no threshold: the run has no" if limit is None else "The threshold is chosen on the run's"
    _show_notes([f"{chosen} validation videos."])
    for result in scored.summary["files"]:
        if not (as_json and result["persons"]):
            echo(describe(result, None if limit is None else float(expit(limit))), err=not result["persons"])
    if as_json:
        echo_json(scored.summary)
    else:
        echo(f"scores and score.html -> {out}")
    if scored.failed:
        raise typer.Exit(Exit.TOO_MANY_FAILURES)


def compare(
    evaluations: Annotated[
        list[Path], typer.Argument(help="Folders of two or more evaluations.", metavar="EVAL...", parser=local_path)
    ],
    video_score: VideoScore = "mean",
    as_json: AsJson = False,
) -> None:
    """Compare evaluations of the same crops: differences with intervals, and tests of them.

    Intervals and p are by resampling of clip groups; for AUC of videos, p is also that of DeLong's test, which takes
    videos as independent. With three evaluations or more, p is corrected for the number of pairs (Holm).
    """
    from facemill.pipeline.evaluate.compare import compare as run

    found = run(evaluations, video_score=video_score)
    if as_json:
        echo_json(found)
        return
    names = [chr(ord("A") + number) for number in range(len(evaluations))]
    for name, folder in zip(names, evaluations, strict=True):
        echo(f"{name} = {folder}")
    left_out = f", {found['left_out']} left out that not all have" if found["left_out"] else ""
    suffix = "_holm" if len(evaluations) > 2 else ""
    rows = [
        (
            f"{row['unit']} {row['metric'].upper()}",
            f"{names[row['second']]} - {names[row['first']]}",
            *(f"{value:.4f}" for value in row["values"]),
            f"{row['difference']:+.4f}",
            "not known" if row["interval"] is None else "{:+.4f} to {:+.4f}".format(*row["interval"]),
            _p(row[f"p_bootstrap{suffix}"]),
            _p(row[f"p_delong{suffix}"]),
        )
        for row in found["rows"]
        if row["metric"] in _SHOWN
    ]
    head = ("", "pair", "first", "second", "difference", "95 % interval", "p", "DeLong")
    echo_table(f"{found['samples']} crops{left_out}", head, rows)


def metrics(
    scores: Annotated[
        Path, typer.Argument(help="CSV: video, label, score and more.", metavar="SCORES.csv", parser=local_path)
    ],
    out: Annotated[Path, typer.Option(help="Folder for metrics and plots.", parser=local_path)],
    logits: Annotated[bool, typer.Option("--logits", help="Scores are log-odds, not probabilities.")] = False,
    attributes: Annotated[
        str | None, typer.Option(help="Columns between whose values to compare, such as sex.", metavar="A,B")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Score above which a video is called fake, chosen on other data.")
    ] = None,
    video_score: VideoScore = "mean",
    overwrite: MayOverwrite = False,
    as_json: AsJson = False,
) -> None:
    """Compute metrics, intervals and plots of scores of any detector, as `evaluate` does.

    Columns: video, label (0 or real, 1 or fake), score; optionally frame, method, dataset, quality, and group, which
    names videos that are not independent, such as an original and its fakes. A line without a score counts as not
    scored. `facemill compare` takes the output folder, too.
    """
    from rich.console import Console

    from facemill.pipeline.evaluate.attributes import attributes_table
    from facemill.pipeline.evaluate.elsewhere import evaluate_scores
    from facemill.pipeline.evaluate.report import metrics_table

    names = attributes.split(",") if attributes else []
    free_folder(out, overwrite=overwrite, is_own=_is_evaluation)
    result = evaluate_scores(scores, out, logits=logits, attributes=names, threshold=threshold, video_score=video_score)
    _show_notes(result.warnings)
    if as_json:
        echo_json(result.metrics)
        return
    console = Console()
    console.print(metrics_table(result.metrics))
    for name in names:
        console.print(attributes_table(result.metrics["attributes"], name))
    echo(f"scores, metrics and plots -> {out}")


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _show_notes(notes: Iterable[str]) -> None:
    for note in notes:
        echo(f"Note: {note}", err=True)


def _is_evaluation(folder: Path) -> bool:
    """Whether a folder is an output of `evaluate` or `metrics`, and not of a training or of `score`."""
    from facemill.pipeline.evaluate.evaluation import SCORES_FILE
    from facemill.pipeline.runs.folder import CONFIG_FILE
    from facemill.pipeline.score.job import SUMMARY_FILE

    found = (folder / SCORES_FILE).is_file() or any(folder.glob(f"seed-*/{SCORES_FILE}"))
    return found and not any((folder / name).exists() for name in (CONFIG_FILE, SUMMARY_FILE))


def _is_scores(folder: Path) -> bool:
    from facemill.pipeline.score.job import PAGE_FILE, SUMMARY_FILE

    return (folder / PAGE_FILE).is_file() and (folder / SUMMARY_FILE).is_file()
