"""ForgeryNet."""

import posixpath
import re
from collections.abc import Mapping

from facemill import ManifestError
from facemill.manifests.datasets.base import DatasetAdapter
from facemill.manifests.datasets.drafts import Draft, enter
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import Listing, is_image, is_video, list_files
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["ForgeryNet"]

_FILE = re.compile(
    r"(?:.*/)?(?P<split>train|val)(?:_perturb)?(?:_mask|_video)?_release/"
    r"(?P<tail>(?P<number>\d+)/(?P<source>[^/]+)/.+)\.\w+"
)
_NAMES = (
    "FaceShifter FS-GAN DeepFakes BlendFace MMReplacement DeepFakes-StarGAN-Stack Talking-Head-Video ATVG-Net "
    "StarGAN-BlendFace-Stack First-Order-Motion StyleGAN2 MaskGAN StarGAN2 SC-FEGAN DiscoFaceGAN"
)
_METHODS = dict(enumerate(_NAMES.split(), start=1))
_SOURCES = {16: "RAVDESS", 17: "CREMA-D", 18: "AVSpeech", 19: "VoxCeleb"}
_UNLISTED = (2, 8)
"""Methods that forge all frames of a video, which video lists leave out."""
_HIDDEN = re.compile(r"(?:test|(?:.*/)?test\w*_release)/", re.IGNORECASE)
_MASKS = "spatial_localize/"

_Key = tuple[str, str, bool]
"""A file's split, its path below the folder of the release without suffix, and whether it is a video."""


class ForgeryNet(DatasetAdapter):
    """ForgeryNet (He et al., CVPR 2021), images and videos of 15 methods.

    Layout: images below `{train,val_perturb}_release/<number>/<hash>/`, videos below `{train,val}_video_release`, masks
    of images below `spatial_localize/{train_mask,val_perturb}_release`, in `Training` and `Validation`, with or without
    folders between (loaders show `image`, `image2`, `image/images`); `image_list.txt` and `video_list.txt` anywhere.
    Names: by hashes; the number of the folder is the method, or from 16 on the source of a real. The lists' last
    column contradicts it in places, and the authors say that the folder is right.
    Images: each is a video of one frame, in which faces are detected: they are whole frames.
    Labels: of a video, the list gives segments in frames, and nothing of frames between them. Fakes with a real
    segment are therefore left out. The lists leave out FS-GAN and ATVG-Net, which forge every frame.
    Pairs: none are told; the masks of fake images are the authors'.
    Attributes: `source` of reals.
    Splits: train and val; test has no published labels and is left out. Subjects are unknown: by identity, images and
    videos of one hash, that of their source, stay together.
    Published: 1,438,201 real and 1,457,861 fake images, 221,247 videos, all with test.
    """

    name = "forgerynet"
    link = "https://github.com/yinanhe/ForgeryNet"
    terms = "non-commercial research and education"
    methods = "7 forgeries of images and 8 of videos"

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        """As `DatasetAdapter.find`.

        Raises:
            ManifestError: also if there are videos but no list of them, or a list is malformed.
        """
        listing = list_files(root, archives=True)
        report = ScanReport.of(listing, self.published)
        files = {_key(match): match for path in listing.paths if (match := _match(path))}
        partial = _read_lists(listing, files, report)
        masks = {_key(match)[:2]: path for path in listing.paths if _MASKS in path and (match := _FILE.fullmatch(path))}
        drafts = [
            _draft(match, masks.get(key[:2])) for key, match in files.items() if _is_labelled(match, key, partial)
        ]
        enter(report, self.name, drafts, quality, official=official, listing=listing)
        mixed = {files[key].string for key, real_too in partial.items() if real_too and key in files}
        hidden = {path for path in listing.paths if _HIDDEN.match(path) and (is_image(path) or is_video(path))}
        report.unknown = [path for path in report.unknown if path not in mixed | hidden]
        if mixed:
            report.notes.append(f"{len(mixed)} fake videos have segments that are real, and are left out.")
        if hidden:
            report.notes.append(f"{len(hidden)} files of test have no published labels, and are left out.")
        return report

    def family(self, entry: VideoEntry) -> str | None:
        """The hash of the source."""
        match = _FILE.fullmatch(entry.path)
        return None if match is None else match["source"]


def _match(path: str) -> re.Match[str] | None:
    """The parts of the path of an image or a video."""
    if _MASKS in path or not (is_image(path) or is_video(path)):
        return None
    match = _FILE.fullmatch(path)
    return match if match and int(match["number"]) in {**_METHODS, **_SOURCES} else None


def _key(match: re.Match[str]) -> _Key:
    return match["split"], match["tail"], is_video(match.string)


def _is_labelled(match: re.Match[str], key: _Key, partial: Mapping[_Key, bool]) -> bool:
    """Whether the whole image or video is real or fake."""
    return not key[2] or int(match["number"]) in _UNLISTED or partial.get(key) is False


def _draft(match: re.Match[str], mask: str | None) -> Draft:
    number, kind = int(match["number"]), "video" if is_video(match.string) else "image"
    name = f"{kind}-{match['split']}-{match['tail'].replace('/', '-')}"
    if number in _SOURCES:
        attributes = (f"source={_SOURCES[number]}",)
        return Draft(match.string, "real", name, split=match["split"], attributes=attributes)
    return Draft(match.string, _METHODS[number], name, split=match["split"], mask_path=mask)


def _read_lists(listing: Listing, files: Mapping[_Key, re.Match[str]], report: ScanReport) -> dict[_Key, bool]:
    """Of each listed video, whether it is a fake with segments that are real; listed files not there are reported."""
    partial = {}
    lists = [path for path in listing.paths if posixpath.basename(path) in ("image_list.txt", "video_list.txt")]
    if any(video for *_, video in files) and not any(path.endswith("video_list.txt") for path in lists):
        raise ManifestError(f"{listing.root} lacks video_list.txt: copy it from the dataset's download.")
    for path in lists:
        for number, line in enumerate(listing.read_text(path).splitlines(), start=1):
            if not line.strip():
                continue
            match, flags = _read_line(line, of_videos=path.endswith("video_list.txt"))
            if match is None:
                raise ManifestError(f"Line {number} of {path} does not describe a file: restore the list.")
            if _key(match) not in files:
                report.missing.append(match.string)
            elif is_video(match.string):
                partial[_key(match)] = int(match["number"]) in _METHODS and "0" in flags
    return partial


def _read_line(line: str, *, of_videos: bool) -> tuple[re.Match[str] | None, list[str]]:
    """The path of a line, None if it is malformed, and whether each segment of a video is forged, 0 or 1."""
    count, path, *numbers = line.split() if of_videos else ("0", *line.split())
    if not count.isdigit() or len(numbers) != 3 * int(count) + 3:
        return None, []
    return _FILE.fullmatch(path), numbers[2:-3:3]
