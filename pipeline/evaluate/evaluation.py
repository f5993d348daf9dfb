"""`facemill evaluate`: score datasets with a finished run; write scores, metrics and plots."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import ConfigError
from facemill.detectors.device import resolve_device
from facemill.detectors.forgery import ForgeryDetector
from facemill.manifests.remote import origin
from facemill.manifests.shards.dataset import read_dataset
from facemill.manifests.storage import atomic_path
from facemill.own_code import changes
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.data.loader import default_workers
from facemill.pipeline.data.overlap import KnownVideos, find_known, read_part
from facemill.pipeline.data.split import Roots, list_folders
from facemill.pipeline.evaluate.calibration import read_calibration
from facemill.pipeline.evaluate.corruptions import LEVELS, all_corruptions
from facemill.pipeline.evaluate.coverage import describe_unscored, find_unscored, only_unscored, with_unscored
from facemill.pipeline.evaluate.localisation import (
    Located,
    add_mean_mask,
    choose_scales,
    judge_maps,
    locate,
    mean_mask,
    summarise_maps,
)
from facemill.pipeline.evaluate.metrics import AGGREGATE, check_aggregate
from facemill.pipeline.evaluate.report import build_report, write_report
from facemill.pipeline.evaluate.scoring import score_faces
from facemill.pipeline.evaluate.seen import separate
from facemill.pipeline.evaluate.segments import judge_segments
from facemill.pipeline.figures.plots import draw_plots
from facemill.pipeline.runs.folder import VALIDATION_FILE, load_run, read_trained_on, seed_runs
from facemill.pipeline.runs.framing import differences_from_training

__all__ = ["LOCALISATION_FILE", "METRICS_FILE", "SCORES_FILE", "Evaluation", "evaluate"]

SCORES_FILE = "scores.parquet"
METRICS_FILE = "metrics.json"
LOCALISATION_FILE = "localisation.parquet"


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        out: folder of scores.parquet, metrics.json and the plots; with several seeds, scores and plots are in a
            folder for each.
        metrics: the content of metrics.json: see `evaluate.report.build_report`, for all rows and, in `parts`, for each
            part that `evaluate.seen.separate` makes of them. `videos_trained_on` is the number of videos that the run
            was trained or validated on, `subjects_trained_on` and `originals_trained_on` those of others that it knows
            by a subject or an original; None if the run has kept no list. `segments` are the rows of
            `evaluate.segments.judge_segments`.
        warnings: one sentence about videos of each kind, and one about each dataset whose crops differ from the
            training data, or that lacks the real frames of partial fakes.
    """

    out: Path
    metrics: dict[str, Any]
    warnings: tuple[str, ...]


def evaluate(
    run: str | Path,
    data: Roots,
    out: str | Path,
    *,
    split: str = "test",
    robustness: bool | Sequence[str] = False,
    localisation: bool = False,
    video_score: str = AGGREGATE,
    calibrated: bool = False,
    batch: int = 32,
    device: str = "auto",
    workers: int | None = 0,
    precision: Literal["float32", "bf16"] = "float32",
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a split of one or more datasets with a run's best weights, and compute metrics.

    Examples:
        >>> evaluation = facemill.evaluate("run", "shards", "evaluation", device="cpu")
        >>> (evaluation.out / "metrics.json").is_file()
        True

    Args:
        run: folder of a finished training run, or of several that differ by their seed.
        data: folder of a built dataset, or several without shared samples; metrics are computed for each dataset and
            quality, and for all together.
        out: the folder to write to; an earlier evaluation there is replaced.
        robustness: also score the crops under every corruption of `facemill.pipeline.evaluate.corruptions`, or those
            of some names.
        localisation: also compare Grad-CAM and the detector's own maps with the ground-truth masks; thresholds are
            chosen on the validation splits of `data`.
        video_score: how a video's score is made of its frames' scores: see `score_videos`.
        calibrated: divide the log-odds by the temperature that fits the run's validation scores best.
        batch: crops, or clips, per forward pass.
        device: `auto`, `cpu` or `cuda`.
        workers: data-loading workers; None to choose by the number of cores.
        on_progress: called with the number of crops or clips just scored, and the total number.

    Raises:
        ConfigError: if the run is missing or unfinished, a dataset or sample is given twice, a corruption is unknown,
            or scores are to be calibrated and the run has no validation scores that a temperature fits.
        DatasetError: if a dataset is unfinished or damaged, or has no such split.
    """
    run, data, out = Path(run), list_folders(data), Path(out)
    if len({folder.resolve() for folder in data}) < len(data):
        raise ConfigError("A dataset is given twice: name each folder once.")
    check_aggregate(video_score)
    seeds = seed_runs(run) or [run]
    outs = [out / seed.name if len(seeds) > 1 else out for seed in seeds]
    chosen = resolve_device(device)
    loaded = [load_run(seed, chosen) for seed in seeds]
    (first, config), *_ = loaded
    sampling = first.options.sampling
    datasets = [FaceDataset(folder, split, fields=(), **sampling) for folder in data]
    _refuse_shared_samples(data, datasets)
    conditions = [None, *all_corruptions(LEVELS if robustness is True else robustness or ())]
    masked = [FaceDataset(folder, split, **sampling) for folder in data] if localisation else []
    total = len(seeds) * sum(len(faces) for faces in (*datasets * len(conditions), *masked))

    def count(crops: int) -> None:
        if on_progress is not None:
            on_progress(crops, total)

    workers = default_workers(1) if workers is None else workers
    loading: dict[str, Any] = {"device": chosen, "batch": batch, "workers": workers, "on_progress": count}
    tables, calibrations, located = [], [], []
    for seed, into, (detector, _) in zip(seeds, outs, loaded, strict=True):
        scores = pa.concat_tables(
            score_faces(detector, faces, **loading, precision=precision, corruption=condition)
            for faces in datasets
            for condition in conditions
        )
        calibrations.append(read_calibration(seed / VALIDATION_FILE, video_score, calibrated=calibrated))
        tables.append(calibrations[-1].apply(scores))
        if localisation:
            located.append(_locate(detector, data, masked, into, loading))
    unscored = pa.concat_tables(
        find_unscored(folder, split, *faces.divided()) for folder, faces in zip(data, datasets, strict=True)
    )
    trained_on = read_trained_on(seeds[0])
    known = None
    warnings = [f"{run} keeps no list of its training videos: it may have been trained on these videos."]
    if trained_on is not None:
        known = find_known(pa.concat_tables([read_part(folder, split).contents for folder in data]), trained_on)
        warnings = list(known.sentences())
    warnings += [*differences_from_training(config.crop, data), *changes(config.code)]
    warnings += describe_unscored(unscored, sum(faces.unused for faces in datasets))
    segments, unjudged = judge_segments(data, split, pa.concat_tables(faces.crops for faces in datasets), tables)
    thresholds = [calibration.thresholds for calibration in calibrations]
    metrics = {
        **_measure(tables, unscored, trained_on, known, aggregate=video_score, thresholds=thresholds),
        "localisation": located,
        "segments": segments,
    }
    about = {
        "run": str(run),
        "data": list(map(origin, data)),
        "detector": config.detector,
        "split": split,
        "video_score": video_score,
        "calibrated": calibrated,
        "temperatures": [calibration.temperature for calibration in calibrations],
        "thresholds": list(map(asdict, thresholds)),
    }
    for into, table in zip(outs, tables, strict=True):
        with atomic_path(into / SCORES_FILE) as temporary:
            pq.write_table(table, temporary)
        draw_plots(table, into, title=f"{config.detector}: {{}} of {split}", aggregate=video_score)
    write_report({**about, **metrics}, out / METRICS_FILE)
    return Evaluation(out, metrics, (*warnings, *unjudged))


def _measure(
    tables: Sequence[pa.Table], unscored: pa.Table, trained_on: pa.Table | None, known: KnownVideos | None, **how: Any
) -> dict[str, Any]:
    """The report of all rows and, in `parts`, of those that the run may have seen and of others."""

    def report(rows: Sequence[pa.Table], lost: pa.Table) -> dict[str, Any]:
        unknown = dict.fromkeys(f"{name}_trained_on" for name in KnownVideos._fields)
        counts = unknown if known is None else known.counts(rows[0])
        return {**counts, **build_report(rows, unscored=lost, **how)}

    parts = [separate(table, trained_on) for table in tables]
    lost = separate(with_unscored(tables[0], unscored), trained_on)
    apart = {name: report([part[name] for part in parts], only_unscored(lost[name])) for name in parts[0]}
    return {**report(tables, unscored), "parts": apart}


def _locate(
    detector: ForgeryDetector,
    data: Sequence[Path],
    tested: Sequence[FaceDataset],
    out: Path,
    loading: Mapping[str, Any],
) -> dict[str, Any]:
    """Write localisation.parquet; returns the scale of each map and the means."""
    sampling = detector.options.sampling
    validation = [FaceDataset(folder, "val", **sampling) for folder in data if "val" in read_dataset(folder).counts]
    mean = mean_mask(validation)

    def crops(faces: FaceDataset, **more: Any) -> Iterator[Located]:
        return add_mean_mask(locate(detector, faces, **{**loading, **more}), mean)

    scales = choose_scales(
        lambda: ((maps, mask) for faces in validation for _, maps, mask in crops(faces, on_progress=None))
    )
    table = pa.concat_tables(judge_maps(crops(faces), faces.crops, scales) for faces in tested)
    with atomic_path(out / LOCALISATION_FILE) as temporary:
        pq.write_table(table, temporary)
    return {"scales": {name: asdict(scale) for name, scale in scales.items()}, "rows": summarise_maps(table)}


def _refuse_shared_samples(folders: Sequence[Path], datasets: Sequence[FaceDataset]) -> None:
    """Refuse a sample that is in two folders: it would count twice, also in its video's score."""
    opened = zip(folders, (faces.crops["sample_id"] for faces in datasets), strict=True)
    for (first, ids), (second, others) in combinations(opened, 2):
        shared = ids.filter(pc.is_in(ids, value_set=others))
        if len(shared):
            raise ConfigError(
                f"The sample {shared[0].as_py()} is both in {first} and in {second}: evaluate them one at a time."
            )
