"""WildDeepfake."""

import posixpath
import re
from typing import ClassVar

from facemill.manifests.datasets.base import DatasetAdapter
from facemill.manifests.datasets.drafts import Draft, enter
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import is_image, is_video, list_files
from facemill.manifests.scanning.scan_report import ALL_SPLITS, ScanReport

__all__ = ["WildDeepfake"]

_SEQUENCE = re.compile(
    r"(?:.*/)?(?P<label>real|fake)[_ ](?P<split>train|test)/(?:.*/)?(?P<shard>\d+)(?P<archive>\.tar\.gz)?/"
    r"(?(archive)(?:.*/)?)(?P=label)/(?P<sequence>\d+)"
)


class WildDeepfake(DatasetAdapter):
    """WildDeepfake (Zi et al., ACM MM 2020): sequences of face crops from the internet.

    Layout: `{real,fake}_{train,test}/<shard>.tar.gz`, or unpacked into `<shard>/`: a video is a folder of
    frames, in an archive or not. Shard numbers repeat in all four folders.
    Names: `<shard>/<label>/<sequence>/<frame>.png`, 224 x 224 face crops.
    Pairs: none, so there are no difference masks. Subjects: unknown.
    Splits: by folder, train and test; val is carved from train. A shard stays together.
    Published: 3805 real and 3509 fake sequences.
    """

    name = "wild"
    link = "https://github.com/OpenTAI/wild-deepfake"
    terms = "agreement for research, signed; on request by form"
    methods = "whatever made the fakes found on the internet"
    lacks_val = True
    published: ClassVar = {("wild", "real", ALL_SPLITS): 3805, ("wild", "fake", ALL_SPLITS): 3509}

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        """As `DatasetAdapter.find`; archives are read to list their members."""
        listing = list_files(root, archives=True)
        report = ScanReport.of(listing, self.published)
        folders = dict.fromkeys(posixpath.dirname(path) for path in listing.paths if is_image(path))
        drafts = []
        for folder in folders:
            if match := _SEQUENCE.fullmatch(folder):
                name = f"{match['split']}-{match['shard']}-{match['sequence']}"
                drafts.append(Draft(folder, match["label"], name, split=match["split"], content="crops"))
            else:
                report.unknown.append(folder)
        report.unknown = sorted([*report.unknown, *filter(is_video, listing.paths)])
        enter(report, self.name, drafts, quality, official=official)
        return report

    def family(self, entry: VideoEntry) -> str | None:
        """The shard, since subjects are unknown."""
        match = _SEQUENCE.fullmatch(entry.path)
        return None if match is None else f"{match['label']}_{match['split']}/{match['shard']}"
