"""Registries of facemill's extension points: datasets, detectors, filters, formats and so on, by name.

The built-in entries are listed here. Another package adds an entry with an entry point in the registry's group;
it needs nothing but this in its pyproject.toml:

    [project.entry-points."facemill.face_detectors"]
    yolo = "mypackage.yolo:YoloFaces"

Listing names imports nothing: an entry's module is imported when the entry is first looked up.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from facemill.errors import ConfigError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from facemill.detectors.face.base import FaceDetector
    from facemill.detectors.forgery.base import ForgeryDetector
    from facemill.detectors.forgery.objective import ForgeryObjective
    from facemill.manifests.datasets.base import DatasetAdapter
    from facemill.manifests.export.base import Exporter
    from facemill.manifests.shards.base import ShardFormat
    from facemill.pipeline.build.executors.base import Executor
    from facemill.pipeline.data.batching import Batching
    from facemill.pipeline.data.transforms import Transform
    from facemill.pipeline.extract.annotators import Annotator
    from facemill.pipeline.extract.filters import Filter

__all__ = [
    *("ANNOTATORS", "BATCHINGS", "DATASETS", "EXECUTORS", "EXPORTERS", "FACE_DETECTORS", "FILTERS"),
    *("FORGERY_DETECTORS", "OBJECTIVES", "OPTIMIZERS", "SCHEDULES", "SHARD_FORMATS", "TRANSFORMS", "Registry"),
    "nearest",
]

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A sorted mapping from names to entries of one kind; looking up an entry imports it.

    Args:
        kind: what an entry is, for messages.
        group: entry point group through which other packages add entries.
        own: the built-in entries, as `module:attribute` below `facemill.`.
        calls: the entries are classes of stateless objects; each is instantiated once, without arguments.
        base: the class, as in `own`, that users' own classes named `module:Class` derive from; empty if the registry
            does not take such names.
        families: functions, as in `own`, that make the entry of a name `family/member` of the member's name.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        own: Mapping[str, str],
        *,
        calls: bool = False,
        base: str = "",
        families: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self._calls, self._base = calls, base
        self._families = families or {}
        self._places = {name: f"facemill.{place}" for name, place in own.items()}
        self._found: dict[str, T] = {}

    def register(self, name: str, thing: T) -> None:
        """Add an entry in this process only, for notebooks and tests; workers do not see it.

        Raises:
            ConfigError: the name is already registered.
        """
        if name in self:
            raise ConfigError(f"The {self.kind} {name!r} already exists: choose another name.")
        self._found[name] = thing

    def check(self, name: str) -> None:
        """Reject an unregistered name, without importing anything.

        Raises:
            ConfigError: the name is unknown; the message suggests the nearest one.
        """
        if name not in self:
            raise ConfigError(f"There is no {self.kind} {name!r}{nearest(name, self)}: use one of {', '.join(self)}.")

    def __getitem__(self, name: str) -> T:
        """Return the entry of that name.

        Raises:
            ConfigError: there is none, several packages offer it, or the package that offers it cannot be imported.
        """
        if found := self._of_family(name):
            place, member = found
            made: T = _attribute(f"facemill.{place}")(member)
            return made
        if name not in self._found:
            found = self._load(name)
            self._found[name] = found() if self._calls else found
        return self._found[name]

    def _load(self, name: str) -> Any:
        if name in self._places:
            return _attribute(self._places[name])
        if self._takes(name):
            return self._find_own(name)
        self.check(name)
        offers = [point for point in self._offers if point.name == name]
        if len(offers) > 1:
            raise ConfigError(f"The {self.kind} {name!r} is offered by {_sources(offers)}: uninstall all but one.")
        try:
            return offers[0].load()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise ConfigError(f"The {self.kind} {name!r} of {_sources(offers)} cannot be imported ({why}).") from error

    def _find_own(self, name: str) -> Any:
        """Import a user's own class, `module:Class`."""
        base, module = _attribute(f"facemill.{self._base}"), name.partition(":")[0]
        try:
            found = _attribute(name)
        except Exception as error:  # the module's own code runs here
            raise ConfigError(
                f"The {self.kind} {name} cannot be imported ({type(error).__name__}: {error}): use the command in the "
                f"folder of {module.partition('.')[0]}, or set PYTHONPATH to it."
            ) from error
        if not (isinstance(found, type) and issubclass(found, base)):
            raise ConfigError(
                f"{name} is no {self.kind}: a {self.kind} is a subclass of {base.__module__}:{base.__name__}."
            )
        return found

    def __contains__(self, name: object) -> bool:
        if name in self._found or name in self._places or self._takes(name) or self._of_family(name):
            return True
        return any(point.name == name for point in self._offers)

    def _of_family(self, name: object) -> tuple[str, str] | None:
        """The family's function and the member's name; None for a name of no family."""
        family, _, member = str(name).partition("/")
        return (self._families[family], member) if member and family in self._families else None

    def _takes(self, name: object) -> bool:
        return bool(self._base) and isinstance(name, str) and ":" in name

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._places, *self._found, *(point.name for point in self._offers)}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    @cached_property
    def _offers(self) -> tuple[EntryPoint, ...]:
        """Entry points of installed packages; cached, since searching all packages takes milliseconds."""
        return tuple(entry_points(group=self.group))


def _attribute(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` to append to a clause; empty if no known word is similar."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _sources(offers: Iterable[EntryPoint]) -> str:
    return " and ".join(sorted(point.dist.name if point.dist else point.value for point in offers))


DATASETS: "Registry[DatasetAdapter]" = Registry(
    "dataset",
    "facemill.datasets",
    {
        "avdeepfake1m": "manifests.datasets.partial_fakes:AVDeepfake1M",
        "celebdf1": "manifests.datasets.celebdf:CelebDF1",
        "celebdf2": "manifests.datasets.celebdf:CelebDF2",
        "celebdfpp": "manifests.datasets.celebdf:CelebDFpp",
        "csv": "manifests.datasets.csv_file:CsvFile",
        "deeperforensics": "manifests.datasets.deeperforensics:DeeperForensics",
        "deepspeak": "manifests.datasets.deepspeak:DeepSpeak",
        "df40": "manifests.datasets.df40:DF40",
        "dfd": "manifests.datasets.faceforensics:DeepFakeDetection",
        "dfdc": "manifests.datasets.dfdc:DFDC",
        "dfdcp": "manifests.datasets.dfdc:DFDCPreview",
        "dfdm": "manifests.datasets.dfdm:DFDM",
        "fakeavceleb": "manifests.datasets.fakeavceleb:FakeAVCeleb",
        "ffiw": "manifests.datasets.ffiw:FFIW",
        "ffpp": "manifests.datasets.faceforensics:FaceForensics",
        "forgerynet": "manifests.datasets.forgerynet:ForgeryNet",
        "idforge": "manifests.datasets.idforge:IDForge",
        "kodf": "manifests.datasets.kodf:KoDF",
        "lavdf": "manifests.datasets.partial_fakes:LAVDF",
        "talkingheadbench": "manifests.datasets.talkingheadbench:TalkingHeadBench",
        "uadfv": "manifests.datasets.uadfv:UADFV",
        "wild": "manifests.datasets.wild:WildDeepfake",
    },
    calls=True,
)
SHARD_FORMATS: "Registry[ShardFormat]" = Registry(
    "shard format",
    "facemill.shard_formats",
    {"parquet": "manifests.shards.parquet:ParquetShards", "webdataset": "manifests.shards.webdataset:WebDatasetShards"},
    calls=True,
)
EXPORTERS: "Registry[Exporter]" = Registry(
    "export",
    "facemill.exporters",
    {
        "deepfakebench": "manifests.export.deepfakebench:export_deepfakebench",
        "deepfakebench-lmdb": "manifests.export.deepfakebench:export_deepfakebench_lmdb",
    },
)
FACE_DETECTORS: "Registry[type[FaceDetector]]" = Registry(
    "face detector",
    "facemill.face_detectors",
    {"mtcnn": "detectors.face.mtcnn:MTCNN", "retinaface": "detectors.face.retinaface:RetinaFace"},
)
FORGERY_DETECTORS: "Registry[type[ForgeryDetector]]" = Registry(
    "forgery detector",
    "facemill.forgery_detectors",
    {
        "efficientnet_b4": "detectors.forgery.plain:EfficientNetB4",
        "etd": "detectors.forgery.etd.network:ETD",
        "f3net": "detectors.forgery.f3net.network:F3Net",
        "lrl": "detectors.forgery.lrl.network:LRL",
        "mat": "detectors.forgery.mat.network:MAT",
        "recce": "detectors.forgery.recce.network:RECCE",
        "resnet18": "detectors.forgery.plain:ResNet18",
        "resnet34": "detectors.forgery.plain:ResNet34",
        "sia": "detectors.forgery.sia.network:SIA",
        "sola": "detectors.forgery.sola.network:SOLA",
        "spsl": "detectors.forgery.spsl.network:SPSL",
        "temporal": "detectors.forgery.temporal:Temporal",
        "video_resnet": "detectors.forgery.video_resnet:VideoResNet",
        "xception": "detectors.forgery.plain:Xception",
    },
    base="detectors.forgery.base:ForgeryDetector",
    families={"timm": "detectors.forgery.timm_network:timm_network"},
)
OBJECTIVES: "Registry[type[ForgeryObjective]]" = Registry(
    "objective",
    "facemill.objectives",
    {"classification": "detectors.forgery.objective:Classification"},
    base="detectors.forgery.objective:ForgeryObjective",
)
TRANSFORMS: "Registry[type[Transform]]" = Registry(
    "transform", "facemill.transforms", {}, base="pipeline.data.transforms:Transform"
)
BATCHINGS: "Registry[type[Batching]]" = Registry(
    "batching",
    "facemill.batchings",
    {
        "group": "pipeline.data.batching:Groups",
        "pair": "pipeline.data.batching:Pairs",
        "video": "pipeline.data.batching:Videos",
    },
    base="pipeline.data.batching:Batching",
)
OPTIMIZERS: "Registry[type[Optimizer]]" = Registry(
    "optimiser", "facemill.optimizers", {}, base="pipeline.train.optimizers:Optimizer"
)
SCHEDULES: "Registry[type[LRScheduler]]" = Registry(
    "schedule", "facemill.schedules", {}, base="pipeline.train.optimizers:LRScheduler"
)
FILTERS: "Registry[type[Filter]]" = Registry(
    "filter",
    "facemill.filters",
    {"blurred": "pipeline.extract.filters:Blurred", "too_small": "pipeline.extract.filters:TooSmall"},
)
ANNOTATORS: "Registry[type[Annotator]]" = Registry(
    "annotator",
    "facemill.annotators",
    {
        "landmarks68": "pipeline.extract.annotators.landmarks68:Landmarks68",
        "quality": "pipeline.extract.annotators.quality:Quality",
    },
)
EXECUTORS: "Registry[type[Executor]]" = Registry(
    "executor",
    "facemill.executors",
    {
        "dask": "pipeline.build.executors.dask:DaskExecutor",
        "sequential": "pipeline.build.executors.sequential:SequentialExecutor",
    },
)
