"""The jobs of a plan: which can be run with the data at hand, which are done, and running them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from facemill import ConfigError, FacemillError
from facemill.manifests.shards.dataset import DATASET_FILE
from facemill.manifests.storage import read_json, sha256_of, write_atomically
from facemill.pipeline.experiments.data import TESTED, TRAINED, Catalogue, Given, Root, differences
from facemill.pipeline.experiments.figures import CORRUPTIONS, Source
from facemill.pipeline.experiments.plan import Evaluation, Plan, Training, Wanted
from facemill.pipeline.experiments.tables import Experiment
from facemill.pipeline.runs.folder import METRICS_FILE
from facemill.registry import nearest

__all__ = ["Job", "Jobs"]


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: `build/…`, `train/…` or `evaluate/…`.
        work: what is built, trained or evaluated.
        after: names of the jobs that must be done before.
    """

    name: str
    work: Wanted | Training | Evaluation
    after: tuple[str, ...] = ()


class Jobs:
    """The jobs of a plan, in an order in which they can be run.

    Everything is below one folder: `data/`, `runs/`, `evaluations/`, and `done/`, which holds
    the hashes of the data that a job has been done on. No two jobs write the same files, so that jobs may run at the
    same time, on any machines that see the folder.

    Args:
        executor: what builds datasets: see `facemill.pipeline.build`.
        device, workers: of trainings and evaluations.
    """

    def __init__(
        self,
        plan: Plan,
        catalogue: Catalogue,
        out: Path,
        *,
        executor: str = "dask",
        device: str = "auto",
        workers: int | None = 0,
    ) -> None:
        self.plan, self.out = plan, out
        self.catalogue, self.device = catalogue, device
        self._executor, self._workers = executor, workers
        self.place = cache(catalogue.find)
        self.all = {job.name: job for job in self._list()}

    def run_folder(self, training: str) -> Path:
        return self.out / "runs" / training

    def scores_folder(self, evaluation: Evaluation) -> Path:
        return self.out / "evaluations" / evaluation.name

    def lacking(self, experiment: Experiment) -> list[str]:
        """What data a row lacks, a phrase each."""
        if not self.plan.runs[experiment.name]:
            return []
        wanting = (data for data in self._data(experiment) if self.place(*data) is None)
        return list(dict.fromkeys(f"{source} in {' and '.join(splits)}" for _, source, splits in wanting))

    def differences(self, experiment: Experiment) -> list[str]:
        """How the datasets of a row differ from what it names, a sentence each."""
        # Not `self.place`, which does not know of datasets built since.
        places = ((self.catalogue.find(*data), data) for data in self._data(experiment))
        told = (differences(place, *data) for place, data in places if isinstance(place, Given))
        return list(dict.fromkeys(chain.from_iterable(told)))

    def is_done(self, job: Job) -> bool:
        """Whether a job has been done, on the data as they are now."""
        if isinstance(job.work, Wanted):
            return (self.catalogue.built / job.work.name / DATASET_FILE).is_file()
        try:
            done = read_json(self._mark(job))
            enough = done["corrupted"] or job.work not in self.plan.corrupted
            return enough and done["inputs"] == self._inputs(job.work)
        except (OSError, ValueError, LookupError):
            return False

    def run(self, name: str) -> None:
        """Run a job to its end, resuming it if it was interrupted; nothing happens if it is done.

        Raises:
            ConfigError: if there is no such job, or one that must be done before it is not.
            FacemillError: as building, training and evaluation do.
        """
        if name not in self.all:
            raise ConfigError(f"There is no job {name!r}{nearest(name, self.all)}: `--jobs` lists them.")
        job = self.all[name]
        if waiting := [other for other in job.after if not self.is_done(self.all[other])]:
            raise ConfigError(f"{name} needs {waiting[0]}, which is not done: run that job first.")
        if self.is_done(job):
            return
        if isinstance(job.work, Wanted):
            self._build(job.work)
            return
        self._mark(job).unlink(missing_ok=True)
        if isinstance(job.work, Training):
            self._train(job.work)
        else:
            self._evaluate(job.work)
        corrupted = job.work in self.plan.corrupted
        content = {"inputs": self._inputs(job.work), "corrupted": corrupted}
        write_atomically(self._mark(job), f"{json.dumps(content, indent=2)}\n".encode())

    def run_all(self) -> Iterator[tuple[str, str | None]]:
        """Run all jobs; yields the name of each that was not done, and why it failed or None.

        A failed job prevents only those that need it.
        """
        for job in self.all.values():
            if self.is_done(job):
                continue
            try:
                self.run(job.name)
                yield job.name, None
            except (FacemillError, RuntimeError) as error:  # torch raises RuntimeErrors, such as for a lack of memory
                yield job.name, str(error)

    def _list(self) -> Iterator[Job]:
        trained = {}
        for training in self.plan.trainings.values():
            places = [(wanted, self.place(wanted, source, TRAINED)) for wanted, source in training.data]
            if all(place is not None for _, place in places):
                trained[training.name] = self._builds(places)
        tested = {}
        for evaluation, sources in self.plan.tests.items():
            places = [(evaluation.wanted, self.place(evaluation.wanted, source, TESTED)) for source in sources]
            places = [(wanted, place) for wanted, place in places if place is not None]
            if places and evaluation.training in trained:
                tested[evaluation] = self._builds(places)
        needed = {name for builds in (*trained.values(), *tested.values()) for name in builds}
        builds = (Job(f"build/{wanted.name}", wanted) for wanted in self.plan.wanted())
        yield from (job for job in builds if job.name in needed)
        for name, before in trained.items():
            if any(evaluation.training == name for evaluation in tested):  # without a test there is no figure
                yield Job(f"train/{name}", self.plan.trainings[name], before)
        for evaluation, before in sorted(tested.items()):
            yield Job(f"evaluate/{evaluation.name}", evaluation, (f"train/{evaluation.training}", *before))

    @staticmethod
    def _builds(places: list[tuple[Wanted, Given | Root | None]]) -> tuple[str, ...]:
        return tuple(sorted({f"build/{wanted.name}" for wanted, place in places if isinstance(place, Root)}))

    def _data(self, experiment: Experiment) -> Iterator[tuple[Wanted, Source, tuple[str, ...]]]:
        """What a row is trained and tested on, with the splits used."""
        for training in self.plan.runs[experiment.name][:1]:
            for wanted, source in self.plan.trainings[training].data:
                yield wanted, source, TRAINED
            for figure in experiment.tested:
                assert figure.source is not None
                yield self.plan.evaluation(experiment, training, figure).wanted, figure.source, TESTED

    def _folder(self, wanted: Wanted, source: Source, splits: tuple[str, ...]) -> Path:
        place = self.place(wanted, source, splits)
        return place.folder if isinstance(place, Given) else self.catalogue.built / wanted.name

    def _tested_folder(self, evaluation: Evaluation) -> Path:
        sources = sorted(self.plan.tests[evaluation], key=str)
        found = (source for source in sources if self.place(evaluation.wanted, source, TESTED) is not None)
        return self._folder(evaluation.wanted, next(found), TESTED)

    def _mark(self, job: Job) -> Path:
        return self.out / "done" / f"{job.name}.json"

    def _inputs(self, work: Training | Evaluation) -> dict[str, str]:
        """Hashes of the datasets that a job uses, and of the results of its training."""
        if isinstance(work, Training):
            name, folders = work.name, [self._folder(*data, TRAINED) for data in work.data]
        else:
            name, folders = work.training, [self._tested_folder(work)]
        files = [self.run_folder(name) / METRICS_FILE, *(folder / DATASET_FILE for folder in folders)]
        return {file.name if n == 0 else f"{file.name} {n}": sha256_of(file) for n, file in enumerate(files)}

    def _build(self, wanted: Wanted) -> None:
        from facemill.pipeline.build import build

        videos, out = self.catalogue.root(wanted).videos(wanted), self.catalogue.built / wanted.name
        build(videos, wanted.load(), out, executor=self._executor, device=self.device)

    def _train(self, training: Training) -> None:
        from facemill.pipeline.train import train

        folders = [self._folder(wanted, source, TRAINED) for wanted, source in training.data]
        run, recipe = self.run_folder(training.name), training.load()
        train(training.detector, folders, run, recipe, resume=True, device=self.device, workers=self._workers)

    def _evaluate(self, evaluation: Evaluation) -> None:
        from facemill.pipeline.evaluate.evaluation import evaluate

        run, data = self.run_folder(evaluation.training), self._tested_folder(evaluation)
        out, corrupted = self.scores_folder(evaluation), CORRUPTIONS if evaluation in self.plan.corrupted else False
        evaluate(run, data, out, robustness=corrupted, device=self.device, workers=self._workers)
