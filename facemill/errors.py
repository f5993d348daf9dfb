"""Exceptions shared by all facemill packages: each message is one sentence on what happened and what to do."""

__all__ = [
    *("ClusterError", "ConfigError", "DatasetError", "DetectorError", "FacemillError", "ManifestError", "VideoError")
]


class FacemillError(Exception):
    """Base class of every error that facemill raises deliberately."""


class ClusterError(FacemillError):
    """Workers, their scheduler or a disk no longer answer, or another run took over: the same command resumes."""


class ConfigError(FacemillError):
    """A recipe, an option or a command line is invalid."""


class ManifestError(FacemillError):
    """A manifest or a dataset folder is invalid."""


class VideoError(FacemillError):
    """A video cannot be read.

    Args:
        reason: a `facemill.manifests.Reason` value, as recorded in failures.parquet.
        message: one sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class DetectorError(FacemillError):
    """A face detector's weights are missing, or are not the expected ones."""


class DatasetError(FacemillError):
    """A built dataset is damaged, or was built from different inputs."""
