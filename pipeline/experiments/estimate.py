"""An estimate of the time and disk that jobs take, from short trials.

Some videos are built for each dataset, and some steps trained for each detector, backbone and input size; the rest is
counted from numbers of videos, crops and multiply-adds. An evaluation is taken to need as long for a crop as training.
"""

import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from facemill.detectors.forgery import options_of
from facemill.manifests import SPLITS, VideoEntry
from facemill.pipeline.build import build
from facemill.pipeline.evaluate.corruptions import all_corruptions
from facemill.pipeline.experiments.data import TESTED, TRAINED, Given, Root
from facemill.pipeline.experiments.figures import CORRUPTIONS, Source
from facemill.pipeline.experiments.jobs import Jobs
from facemill.pipeline.experiments.measure import count_size
from facemill.pipeline.experiments.plan import Evaluation, Training, Wanted
from facemill.pipeline.train import train

__all__ = ["Cost", "estimate"]

TRIAL_BATCH = 16  # crops: less work than the papers' batches, so that a GPU is estimated too slow, not too fast
TRIAL_STEPS = 3
BYTES_PER_SCORE = 64


class Cost(NamedTuple):
    """Seconds of one machine, and bytes of disk."""

    seconds: float
    bytes: float

    def __str__(self) -> str:
        return f"{self.seconds / 3600:.1f} h, {self.bytes / 2**30:.1f} GiB"


class _Count(NamedTuple):
    """Crops of one class in one split, and their videos."""

    split: str
    is_real: bool
    crops: float
    videos: int


class _Build(NamedTuple):
    """A trial build, and what it takes and gives a video."""

    folder: Path
    seconds: float
    bytes: float
    crops: float


class _Trials:
    """Trials, each made once, below a temporary folder."""

    def __init__(self, jobs: Jobs, folder: Path) -> None:
        self._jobs, self._folder, self._warm = jobs, folder, False
        self._tried: dict[tuple[str, str | None, int], Cost] = {}
        self._builds: dict[Wanted, _Build] = {}

    def of(self, work: Wanted | Training | Evaluation) -> Cost:
        if isinstance(work, Wanted):
            one, videos = self._built(work), len(self._jobs.catalogue.root(work).videos(work))
            return Cost(one.seconds * videos, one.bytes * videos)
        if isinstance(work, Training):
            return self._training(work)
        training = self._jobs.plan.trainings[work.training]
        sources = self._jobs.plan.tests[work]
        found = (self._jobs.place(work.wanted, source, TESTED) for source in sources)
        place = next(one for one in found if one is not None)
        every = Source(data=work.wanted.data, quality=work.wanted.quality)
        crops = sum(one.crops for one in self._counts(place, work.wanted, every) if one.split == "test")
        crops *= 1 + len(list(all_corruptions(CORRUPTIONS))) * (work in self._jobs.plan.corrupted)
        return Cost(crops * self._crop(training).seconds, crops * BYTES_PER_SCORE)

    def _training(self, training: Training) -> Cost:
        settings, crops = training.load().train, 0.0
        classes = {True: 0.0, False: 0.0}
        for wanted, source in training.data:
            place = self._jobs.place(wanted, source, TRAINED)
            assert place is not None  # the job would not be there
            for one in self._counts(place, wanted, source):
                if one.split == "val":
                    crops += one.crops
                if one.split == "train":
                    most = one.videos * (settings.frames or float("inf"))
                    classes[one.is_real] += min(one.crops / settings.every, most)
        epoch = 2 * max(classes.values()) if settings.balance == "oversample" else sum(classes.values())
        if settings.forgeries != "none":
            epoch = 2 * classes[True]
        cost = self._crop(training)
        return Cost((epoch + crops) * settings.limit * settings.epochs * cost.seconds, cost.bytes)

    def _counts(self, place: Given | Root, wanted: Wanted, source: Source) -> Iterator[_Count]:
        if isinstance(place, Given):
            for part in place.parts:
                if part["quality"] == source.quality and source.uses(part["method"]):
                    yield _Count(part["split"], part["method"] == "real", part["samples"], part["videos"])
        else:
            each = self._built(wanted).crops
            for video in place.videos(wanted):
                if source.uses(video.method):
                    yield _Count(video.split, video.method == "real", each, 1)

    def _crop(self, training: Training) -> Cost:
        """Seconds of training on one crop, and bytes of a run.

        Of networks with equal backbones one is tried; those of others follow from their multiply-adds and parameters.
        """
        model = training.load().train.model
        options = options_of(training.detector, model)
        key = (training.detector, getattr(options, "backbone", None), options.size)
        macs, weights = (count_size(training.detector, model, what).mean for what in ("macs", "parameters"))
        if key not in self._tried:
            tried = self._try(training)
            self._tried[key] = Cost(tried.seconds / macs, tried.bytes / weights)
        return Cost(self._tried[key].seconds * macs, self._tried[key].bytes * weights)

    def _try(self, training: Training) -> Cost:
        wanted, source = training.data[0]
        place = self._jobs.place(wanted, source, TRAINED)
        folder = place.folder if isinstance(place, Given) else self._built(wanted).folder
        if not self._warm:
            self._time_steps(training, folder, 1)  # imports, and kernels of the device
            self._warm = True
        many, size = self._time_steps(training, folder, TRIAL_STEPS)
        one, _ = self._time_steps(training, folder, 1)
        batch = min(TRIAL_BATCH, training.load().train.batch)
        return Cost(max(many - one, 0.1 * many) / (TRIAL_STEPS - 1) / batch, size)

    def _time_steps(self, training: Training, folder: Path, steps: int) -> tuple[float, int]:
        """Seconds of a run of a few steps, and bytes of its folder."""
        recipe = training.load()
        batch = min(TRIAL_BATCH, recipe.train.batch)
        every = {"methods": (), "qualities": ()}  # the few videos of a trial build may be of others
        short = recipe.train.model_copy(update={"epochs": 1, "batch": batch, "accumulate": 1, **every})
        with TemporaryDirectory(dir=self._folder) as out, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="torchmetrics.*")  # a few crops may lack a class
            start = time.monotonic()
            recipe = recipe.model_copy(update={"train": short})
            run, device = Path(out) / "run", self._jobs.device
            train(training.detector, folder, run, recipe, device=device, progress=False, steps=steps)
            return time.monotonic() - start, _bytes_below(Path(out))

    def _built(self, wanted: Wanted) -> _Build:
        """Build a fake and a real of each split, once."""
        if wanted not in self._builds:
            videos, out = self._jobs.catalogue.root(wanted).videos(wanted), self._folder / wanted.name
            few = list({video.video_id: video for split in SPLITS for video in _pair(videos, split)}.values())
            start = time.monotonic()
            report = build(few, wanted.load(), out, executor="sequential", device=self._jobs.device)
            whole = (time.monotonic() - start, _bytes_below(out), report.samples)
            self._builds[wanted] = _Build(out, *(amount / report.videos for amount in whole))
        return self._builds[wanted]


def _pair(videos: list[VideoEntry], split: str) -> list[VideoEntry]:
    """The first fake of a split with its original, or else with the first real."""
    inside = [video for video in videos if video.split == split]
    fake = next((video for video in inside if video.label == 1), None)
    reals = [video for video in videos if fake is not None and video.video_id == fake.source_id]
    real = next((video for video in inside if video.label == 0), None)
    return [video for video in (fake, *reals, real) if video is not None]


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def estimate(jobs: Jobs) -> Iterator[str]:
    """Yield a line on the time and disk of each kind of job that is not done, and a last one on all together."""
    costs: dict[str, list[Cost]] = {}
    with TemporaryDirectory() as folder:
        trials = _Trials(jobs, Path(folder))
        for job in jobs.all.values():
            if not jobs.is_done(job):
                costs.setdefault(job.name.partition("/")[0], []).append(trials.of(job.work))
    totals = {kind: _sum(some) for kind, some in costs.items()}
    for kind, cost in totals.items():
        yield f"{kind:<8} about {cost}"
    if not totals:
        yield "nothing is left that can be done with the data at hand"
        return
    yield f"together about {_sum(totals.values())}, on one {jobs.device} device"


def _sum(costs: Iterable[Cost]) -> Cost:
    return Cost(*map(sum, zip(*costs, strict=True)))
