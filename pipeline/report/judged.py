"""What a report shows of training runs and evaluations: their scores and metrics, and how training went."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from facemill import ConfigError
from facemill.manifests.storage import read_json
from facemill.pipeline.evaluate.evaluation import METRICS_FILE, SCORES_FILE
from facemill.pipeline.evaluate.metrics import AGGREGATE, score_videos
from facemill.pipeline.evaluate.report import build_report
from facemill.pipeline.evaluate.scores import NO_CORRUPTION, read_scores
from facemill.pipeline.runs.folder import CONFIG_FILE, LOG_FILE, VALIDATION_FILE, read_config, seed_runs

__all__ = ["Judged", "read_judged"]


@dataclass(frozen=True)
class Judged:
    """An evaluation, or a run by its validation scores.

    Attributes:
        name: shortest that tells it from the others.
        run: folder of the run, if it is known.
        data: folders of the datasets whose crops are scored, as far as known.
        frames: rows of scores, without corruptions.
        metrics: as of metrics.json of an evaluation.
        log: rows of a run's log; empty for an evaluation.
        settings: of a run, as text.
    """

    name: str
    detector: str
    run: Path | None
    data: tuple[Path, ...]
    frames: pa.Table
    metrics: Mapping[str, Any]
    log: Sequence[Mapping[str, float]] = ()
    settings: str = ""

    @property
    def videos(self) -> pa.Table:
        return score_videos(self.frames, self.metrics.get("video_score", AGGREGATE))


def read_judged(folders: Sequence[Path]) -> list[Judged]:
    """Read runs and evaluations; a folder of several seeds counts as one for each.

    Raises:
        ConfigError: if a folder is neither, or damaged.
    """
    each = [one for folder in folders for one in (seed_runs(folder) or _seeds(folder) or [folder])]
    short = len({folder.resolve().name for folder in each}) == len(each)
    return [_read(folder, folder.resolve().name if short else str(folder)) for folder in each]


def _seeds(folder: Path) -> list[Path]:
    """The evaluations of a folder of several seeds."""
    if (folder / SCORES_FILE).exists():
        return []
    return sorted(path.parent for path in folder.glob(f"seed-*/{SCORES_FILE}"))


def _read(folder: Path, name: str) -> Judged:
    if (folder / CONFIG_FILE).exists():
        return _read_run(folder, name)
    if not (folder / SCORES_FILE).exists():
        raise ConfigError(f"{folder} is no built dataset, training run or evaluation: give the folder of one.")
    frames = _clean(folder / SCORES_FILE)
    own, shared = (place / METRICS_FILE for place in (folder, folder.parent))  # several seeds share one
    path = shared if folder.name.startswith("seed-") and not own.exists() else own
    try:
        about = read_json(path) if path.exists() else {}
        metrics = about if path == own and about else {**about, **build_report(frames)}
        overall, data = metrics["frame"]["overall"], tuple(map(Path, about.get("data", ())))
        run = Path(about["run"]) / (folder.name if path == shared else "") if about.get("run") else None
        _ = overall["auc"], overall["intervals"]["auc"], metrics["video"]["methods"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged ({error!r}): evaluate again.") from None
    return Judged(name, str(about.get("detector", "unknown")), run, data, frames, metrics)


def _read_run(folder: Path, name: str) -> Judged:
    config = read_config(folder)
    frames = _clean(folder / VALIDATION_FILE)
    settings = config.model_dump_json(indent=2, exclude={"recipe"})
    data = tuple(map(Path, config.data))
    log = list(_log(folder / LOG_FILE))
    return Judged(name, config.detector, folder, data, frames, build_report(frames), log, settings)


def _clean(path: Path) -> pa.Table:
    return read_scores(path).filter(pc.field("corruption") == NO_CORRUPTION)


def _log(path: Path) -> Iterator[dict[str, float]]:
    """Rows of log.csv, without columns that are empty."""
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                yield {name: float(value) for name, value in row.items() if value}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise ConfigError(f"{path} is damaged ({error}): delete it, or train again.") from None
