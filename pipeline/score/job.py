"""`facemill score`: score the faces in any videos and images with a finished run; write scores and a page."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from facemill import ConfigError
from facemill.detectors.device import resolve_device
from facemill.manifests import SAMPLES, Reason, Stage
from facemill.manifests.shards.dataset import read_dataset
from facemill.manifests.storage import atomic_path, write_atomically
from facemill.own_code import changes
from facemill.pipeline.build import build
from facemill.pipeline.build.job import Watcher
from facemill.pipeline.build.state import GroupDone
from facemill.pipeline.config.recipe import Recipe, parse_recipe
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.data.overlap import find_known, read_part
from facemill.pipeline.evaluate.calibration import read_calibration
from facemill.pipeline.evaluate.metrics import AGGREGATE, check_aggregate
from facemill.pipeline.evaluate.scores import SCORES
from facemill.pipeline.evaluate.scoring import score_faces
from facemill.pipeline.runs.folder import VALIDATION_FILE, RunConfig, load_run, read_trained_on, seed_runs
from facemill.pipeline.runs.framing import differing_crops
from facemill.pipeline.score.files import SPLIT, Files, find_files
from facemill.pipeline.score.page import draw_figures, write_page
from facemill.pipeline.score.results import faces_table, in_order, result_of, score_persons, unscored

__all__ = ["PAGE_FILE", "SCORES_FILE", "SUMMARY_FILE", "Scored", "reading_recipe", "score"]

SCORES_FILE = "scores.parquet"
SUMMARY_FILE = "scores.json"
PAGE_FILE = "score.html"

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class Scored:
    """Result of `score`.

    Attributes:
        out: folder of scores.parquet, scores.json and score.html.
        faces: the content of scores.parquet, with schema `facemill.pipeline.score.results.FACE_SCORES`.
        summary: the content of scores.json. `files` has for each file its `score` and `logit`, which are those of the
            person with the highest, its `persons` with their `faces`, and what is `not_scored`: see
            `facemill.pipeline.score.results.unscored`.
    """

    out: Path
    faces: pa.Table
    summary: dict[str, Any]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The files without a score."""
        return [result for result in self.summary["files"] if not result["persons"]]


def score(
    run: str | Path,
    files: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    recipe: Recipe | None = None,
    frames: int | None = None,
    every: int | None = None,
    video_score: str = AGGREGATE,
    calibrated: bool = False,
    batch: int = 32,
    device: str = "auto",
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Scored:
    """Score the faces in videos and images of unknown labels with a run's best weights, as `evaluate` scores a dataset.

    Faces are detected, tracked and cropped as the run's training data was, and scored for everyone who is shown.

    Examples:
        >>> scored = facemill.score("run", ["corpus"], "scored", frames=2, device="cpu")
        >>> (scored.out / "score.html").is_file()
        True

    Args:
        run: folder of a finished training run.
        files: videos, images, and folders of them; an image is a video of one frame.
        out: the folder to write to; an earlier output there is replaced.
        recipe: how to read the files, for a run that does not record how its training data was built.
        frames, every: sample so many frames of a video, evenly spaced, or every n-th; None to sample as the recipe.
        video_score: how a person's score is made of those of its faces: see `score_videos`.
        calibrated: divide the log-odds by the temperature that fits the run's validation scores best.
        batch: crops per forward pass.
        device: `auto`, `cpu` or `cuda`.
        workers: processes that read files; None for this process.
        on_progress: called with the work just done and all work, in files.

    Raises:
        ConfigError: if the run is missing or unfinished, or records no recipe and none is given, or there is no file.
        DatasetError: if the detector takes clips, and there is none in any file.
        DetectorError: if weights are missing or damaged, or a score is not finite.
    """
    run, out = Path(run), Path(out)
    check_aggregate(video_score)
    if seeds := seed_runs(run):
        raise ConfigError(f"{run} holds a run for each of several seeds: score with one of them, such as {seeds[0]}.")
    chosen = resolve_device(device)
    detector, config = load_run(run, chosen)
    calibration = read_calibration(run / VALIDATION_FILE, video_score, calibrated=calibrated)
    reading, notes = reading_recipe(run, config, recipe, frames, every)
    given = find_files([files] if isinstance(files, str | Path) else files)
    if not given.entries:
        told = " ".join(f"{name}: {why}" for name, why in given.faults.items())
        raise ConfigError(f"There is nothing to score. {told}".strip())
    watcher = _Watcher(len(given.entries), on_progress or (lambda done, total: None))
    executor = "sequential" if workers is None else "dask"
    with TemporaryDirectory(prefix="facemill-score-") as folder:
        built, entries = Path(folder), [*given.entries.values()]
        build(entries, reading, built, executor=executor, workers=workers, device=device, watcher=watcher)
        clips = detector.options.sampling
        faces = FaceDataset(built, SPLIT, fields=(), **clips) if read_dataset(built).shards else None
        samples, left, scores = SAMPLES.empty_table(), SAMPLES.empty_table(), SCORES.empty_table()
        if faces is not None:
            (samples, left), count = faces.divided(), watcher.crops(len(faces))
            scores = calibration.apply(score_faces(detector, faces, device=chosen, batch=batch, on_progress=count))
        names = {entry.video_id: name for name, entry in given.entries.items()}
        notes += _known(run, built, names)
        table = faces_table(samples, scores, names)
        lacking, limits = unscored(built, samples, reading, left), calibration.thresholds
        results = _results(given, scores, table, lacking, video_score, limits.video)
        figures = {} if faces is None else draw_figures(detector, faces, table, results, limits, chosen)
    summary = {
        "run": str(run),
        "detector": config.detector,
        "recipe": reading.build_values(),
        "video_score": video_score,
        "calibrated": calibrated,
        "temperature": calibration.temperature,
        "thresholds": asdict(limits),
        "notes": [*notes, *changes(config.code), *given.notes],
        "files": results,
    }
    scored = Scored(out, in_order(table, given.entries), summary)
    with atomic_path(out / SCORES_FILE) as temporary:
        pq.write_table(scored.faces, temporary)
    write_page(out / PAGE_FILE, summary, figures)
    write_atomically(out / SUMMARY_FILE, f"{json.dumps(summary, indent=1, allow_nan=False)}\n".encode())
    return scored


def reading_recipe(
    run: Path, config: RunConfig, given: Recipe | None = None, frames: int | None = None, every: int | None = None
) -> tuple[Recipe, list[str]]:
    """The recipe to read files by: that of the run's training data, but of everyone in them and around faces.

    Args:
        given: a recipe to use instead.
        frames, every: sample so many frames, evenly spaced, or every n-th, instead of as the recipe does.

    Returns:
        the recipe, and sentences on how its crops differ from the training data's.

    Raises:
        ConfigError: if the run records no recipe and none is given, or `frames` and `every` are both given.
    """
    if frames is not None and every is not None:
        raise ConfigError("A number of frames and an interval are two ways to sample: give one of the two.")
    if given is None and config.recipe is None:
        raise ConfigError(
            f"{run} does not record how its training data was built, as runs of earlier versions: pass --recipe with "
            "the recipe that it was built with."
        )
    values = (given or parse_recipe(config.recipe or {})).build_values()
    if frames is not None:
        values["sample"] = {"strategy": "uniform", "frames": frames}
    elif every is not None:
        values["sample"] = {"strategy": "stride", "every": every}
    values["crop"]["steady"] &= values["sample"]["strategy"] == "runs"
    values["track"]["keep"] = "all"
    values["crop"]["around"] = "face"  # masks are made of pairs
    recipe = parse_recipe({**values, "mask": {}, "annotate": {}, "shards": {}})
    crop = {name: value for name, value in values["crop"].items() if name != "size"}
    return recipe, [*differing_crops("these files", crop, config.crop or {}, "the run's training data")]


def _results(
    given: Files, scores: pa.Table, table: pa.Table, lacking: Mapping[str, Any], video_score: str, limit: float | None
) -> list[dict[str, Any]]:
    persons = score_persons(scores, video_score)
    faces: dict[str, list[Any]] = defaultdict(list)
    for row in in_order(table, given.entries).to_pylist():
        faces[row["file"]].append(row)
    results = [
        result_of(name, persons[entry.video_id], faces[name], lacking.get(entry.video_id, {}), limit)
        for name, entry in given.entries.items()
    ]
    for name, why in given.faults.items():
        failure = {"stage": Stage.DECODE, "reason": Reason.UNREADABLE, "message": why, "frames": 0}
        results.append(result_of(name, (), (), {"failures": [failure]}, limit))
    return results


def _known(run: Path, built: Path, names: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each file that the run knows from training or validation, by an identical crop."""
    trained_on = read_trained_on(run)
    if trained_on is None:
        yield f"{run} keeps no list of its training videos: it may have been trained on these files."
        return
    for key in sorted(find_known(read_part(built, SPLIT).contents, trained_on).videos):
        name = names[key.partition(" ")[2]]
        yield f"The run was trained or validated on {name}: its scores there do not show how it does on other files."


class _Watcher(Watcher):
    """Reports progress: reading a file counts as one, and scoring all crops as much as reading all files."""

    def __init__(self, files: int, report: Progress) -> None:
        self._files, self._report = files, report

    def group(self, done: GroupDone) -> None:
        self._report(done.videos, 2 * self._files)

    def crops(self, total: int) -> Callable[[int], None]:
        """A function to call with each number of crops scored."""
        return lambda done: self._report(done * self._files / total, 2 * self._files)
