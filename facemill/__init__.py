"""Raw deepfake video datasets in, training-ready and checked face datasets out."""

from facemill.errors import ConfigError, DatasetError, DetectorError, FacemillError, ManifestError, VideoError

__all__ = [
    "ConfigError",
    "DatasetError",
    "DetectorError",
    "FacemillError",
    "ManifestError",
    "VideoError",
    "__version__",
]

__version__ = "0.1.0"
