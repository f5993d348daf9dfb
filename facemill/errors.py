"""facemill's errors: what every package shares.

    FacemillError
    ├── ConfigError      a recipe, an option or a command line is wrong
    ├── ManifestError    a manifest, or a dataset's folder, breaks a rule
    ├── VideoError       a video cannot be read; carries the reason that goes into failures.parquet
    ├── DetectorError    a face detector's weights are missing or not what they should be
    └── DatasetError     a built dataset is damaged, or was built from something else

Every message is one sentence that says what happened and what to do.
"""

__all__ = [
    "ConfigError",
    "DatasetError",
    "DetectorError",
    "FacemillError",
    "ManifestError",
    "VideoError",
]


class FacemillError(Exception):
    """Base of every error that facemill raises on purpose."""


class ConfigError(FacemillError):
    """A recipe, an option or a command line is wrong."""


class ManifestError(FacemillError):
    """A manifest, or a dataset's folder, breaks a rule."""


class VideoError(FacemillError):
    """A video cannot be read.

    Args:
        reason: a `facemill.manifests.Reason` value, as it will stand in failures.parquet.
        message: one sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class DetectorError(FacemillError):
    """A face detector's weights are missing or not what they should be."""


class DatasetError(FacemillError):
    """A built dataset is damaged, or was built from something else."""
