"""The identity of the work: everything besides the videos that the bytes of a build may depend on."""

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import av

from facemill import __version__
from facemill.errors import ConfigError
from facemill.pipeline.config.recipe import Recipe

__all__ = ["WITH", "WorkIdentity", "detection_values", "device_kind", "differences", "has_gpu", "versions"]

VERSIONED = (
    "decord",
    "face-recognition-models",
    "facenet-pytorch",
    "isal",
    "numpy",
    "opencv-contrib-python-headless",
    "pyarrow",
    "retina-face",
    "torch",
    "torchvision",
)
"""Packages, besides PyAV, whose version may affect pixels or files."""
OPTIONAL = ("dlib-bin",)  # the same, of extras: where they are installed
NOT_IN_FACES = ("dlib-bin", "face-recognition-models", "isal", "pyarrow", "python")
"""Versions on which detections do not depend."""
WITH = ", with "
"""Stands between a GPU's name and the CPU in a device."""
MOST_TOLD = 3  # most differences of one kind that are listed
GPU_DRIVERS = ("/proc/driver/nvidia/gpus", "/dev/dxg")
"""Paths of which at least one exists if the machine has a GPU: asking torch takes seconds."""
VECTOR_UNITS = {"AVX512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"}, "AVX2": {"avx2", "fma"}}
"""Instruction sets that torch chooses from, widest first, and the CPU flags that each requires."""
LIMITS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}
"""Environment variables that, together, limit torch and its libraries to AVX2."""


@dataclass(frozen=True, slots=True)
class WorkIdentity:
    """Everything that may affect the bytes: equal work on equal videos gives equal files.

    It is stored in build.json, and its digest in every shard's fingerprint and result; the digest of the part that
    detections depend on is in their keys.

    Attributes:
        recipe: all settings that affect bytes.
        weights: SHA-256 of the face detector's weights file; None for the weights in its package.
        versions: of facemill and its libraries, by name.
        device: hardware that computes (see `device_kind`).
    """

    recipe: Mapping[str, Any]
    weights: str | None
    versions: Mapping[str, str]
    device: str

    @classmethod
    def here(cls, recipe: Recipe, device: str = "auto") -> "WorkIdentity":
        """The identity of this recipe's work in this process.

        Args:
            device: as in `BuildJob`.
        """
        found = {"facemill": __version__, **versions()}
        return cls(recipe.work_values(), recipe.detect.weights_digest(), found, device_kind(device))

    def values(self) -> dict[str, Any]:
        """As plain values, under the names that messages about differences use."""
        return {
            "recipe": self.recipe,
            "weights file": self.weights,
            "version of facemill or its libraries": self.versions,
            "device": self.device,
        }

    @property
    def digest(self) -> str:
        """SHA-256, hex."""
        return _digest(self.values())

    @property
    def detection(self) -> str:
        """Digest of everything that detections depend on, 16 hex digits."""
        return _digest(detection_values(self.values()))[:16]


def detection_values(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an identity, possibly a damaged one, that detections depend on."""
    recipe = _section(identity, "recipe")
    detect = _section(recipe, "detect")
    settings = {name: value for name, value in detect.items() if name not in ("on", "weights")}
    if detect.get("max_side") == "auto":
        settings["min_face"] = _section(recipe, "filter").get("min_face")
    libraries = "version of facemill or its libraries"
    found = {name: value for name, value in _section(identity, libraries).items() if name not in NOT_IN_FACES}
    device = str(identity.get("device") or "").partition(WITH)[0]
    return {"detector": settings, libraries: found, "weights file": identity.get("weights file"), "device": device}


def differences(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Describe what differs in `other`, such as `another recipe (crop.size 299 instead of 224)`."""
    found = []
    for section, value in own.items():
        mine, theirs = dict(_leaves(value)), dict(_leaves(other.get(section)))
        names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
        if not names:
            continue
        told = [
            f"{name} {_shown(theirs.get(name))} instead of {_shown(mine.get(name))}".strip()
            for name in names[:MOST_TOLD]
        ]
        told += ["…"] if len(names) > MOST_TOLD else []
        if section == "device" and {"AVX512", "AVX2"} <= set(" ".join(told).split()):
            told.append(f"with {' '.join(f'{name}={limit}' for name, limit in LIMITS.items())} it is AVX2 anywhere")
        hashes = names == [""] and section != "device"
        found.append(f"another {section}" + ("" if hashes else f" ({', '.join(told)})"))
    return found


@cache
def versions() -> dict[str, str]:
    """Versions of all packages that may affect pixels or files, for dataset.json; looked up once per process.

    Raises:
        ConfigError: one of them is not installed.
    """
    try:
        found = {name: metadata.version(name) for name in VERSIONED}
    except metadata.PackageNotFoundError as error:
        raise ConfigError(f"The package {error.name} is missing: install facemill's dependencies again.") from error
    found |= {one.name: one.version for name in OPTIONAL for one in metadata.distributions(name=name)}
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    found |= {"av": av.__version__, "libavcodec": libavcodec}
    return found | {"python": ".".join(platform.python_version_tuple()[:2])}


def has_gpu() -> bool:
    """Whether torch may have a GPU; asking torch itself takes seconds."""
    return any(Path(driver).exists() for driver in GPU_DRIVERS)


def device_kind(device: str) -> str:
    """Hardware that computes in this process: the CPU's architecture and vector instructions, after any GPU's name.

    Sums differ in their last bits between devices, and so may boxes. Faces are detected on the GPU if there is one, and
    compared on the CPU.

    Args:
        device: as in `BuildJob`.
    """
    if device != "cpu" and has_gpu():
        import torch

        if torch.cuda.is_available():
            number = device.removeprefix("cuda:")
            numbers = [int(number)] if number.isdigit() else range(torch.cuda.device_count())
            names = sorted({torch.cuda.get_device_name(each) for each in numbers})
            return f"{' and '.join(names)}{WITH}{_cpu()}"
    return _cpu()


def _cpu() -> str:
    flags: set[str] = set()
    with suppress(OSError):
        flags.update(Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split())
    limited = all(os.environ.get(name) == limit for name, limit in LIMITS.items())
    fit = [name for name, needed in VECTOR_UNITS.items() if needed <= flags and not (limited and name == "AVX512")]
    return " ".join(["CPU", platform.machine(), *fit[:1]])


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = values.get(name)
    return section if isinstance(section, Mapping) else {}


def _shown(value: Any) -> str:
    """A value in a message; of a long list, its length."""
    return f"a list of {len(value)}" if isinstance(value, list) and len(value) > MOST_TOLD else str(value)


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield plain values with their dotted names; the name of a value that is not nested is empty."""
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for name, each in value.items():
        yield from _leaves(each, f"{prefix}.{name}" if prefix else name)
