"""LAV-DF and AV-Deepfake1M: videos of which moments are forged, in picture, sound or both."""

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

from facemill import ManifestError
from facemill.manifests.datasets.drafts import Draft, DraftedDataset
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["LAVDF", "AVDeepfake1M"]

_Periods = tuple[tuple[float, float], ...]


class LAVDF(DraftedDataset):
    """LAV-DF (Cai et al., DICTA 2022), words replaced in picture, sound or both.

    Layout: `metadata.json` or `metadata.min.json`, a list of videos, and `train`, `dev` and `test`.
    Names: `<split>/<number>.mp4`, as the list has them.
    Labels: `modify_video` and `fake_periods`, which are of picture and sound alike; frames outside them are real. A
    video of which only the sound is changed is visually real, with the attribute `audio=fake`.
    Pairs: `original` of the list.
    Splits: `split` of the list, where dev is val. Subjects are unknown, so by identity an original and its fakes stay
    together.
    Published: 36,431 unchanged videos and 99,873 changed ones, in sound alone or in picture.
    """

    name = "lavdf"
    link = "https://github.com/ControlNet/LAV-DF"
    terms = "its terms and conditions and those of VoxCeleb2, non-commercial research and education"
    methods = "one, which replaces words in picture, sound or both"

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        table = "metadata.json" if "metadata.json" in listing.present else "metadata.min.json"
        return (self._draft(row, table) for row in listing.read_json_rows(table))

    @staticmethod
    def _draft(row: Mapping[str, Any], table: str) -> Draft:
        path, split = str(row.get("file")), {"dev": "val"}.get(str(row.get("split")), str(row.get("split")))
        sound = bool(row.get("modify_audio"))
        periods = _periods(row.get("fake_periods"), table, path)
        name = _stem(path)
        if split not in ("train", "val", "test") or not isinstance(row.get("modify_video"), bool):
            raise ManifestError(f"{table} does not tell split and label of {path}: restore the file.")
        if not row["modify_video"]:
            return Draft(path, "real", name, split=split, attributes=_audio(sound))
        original = row.get("original")
        return Draft(
            path=path,
            method="both-modified" if sound else "visual-modified",
            name=name,
            split=split,
            original=None if original is None else _stem(original),
            original_path=original,
            fake_periods=periods or None,
            attributes=_audio(sound),
        )


class AVDeepfake1M(DraftedDataset):
    """AV-Deepfake1M and AV-Deepfake1M++ (Cai et al., ACM MM 2024 and 2025), words replaced in picture, sound or both.

    Layout: `train_metadata.json` and `val_metadata.json`, lists of videos, whose files are below `train` and `val`.
    Names: `<subject>/<source>/<clip>/real.mp4`, `fake_video_real_audio.mp4` and so on, in AV-Deepfake1M++ below the
    name of a corpus.
    Labels: `modify_type`, and the periods of `visual_fake_segments`; frames outside them are real. A video of type
    `audio_modified` is visually real, with the attribute `audio=fake`; the lists give the picture of some of them the
    sound's periods, which are ignored.
    Pairs: `original` of the list.
    Splits: the lists, of which val is val; the test set has no published labels and is left out. By identity, the
    subjects of VoxCeleb2 are assigned to splits.
    Published: 286,721 unchanged videos and 860,039 changed ones (AV-Deepfake1M).
    """

    name = "avdeepfake1m"
    link = "https://github.com/ControlNet/AV-Deepfake1M"
    terms = "EULA, signed; the repository is under CC BY-NC 4.0"
    methods = "one, which replaces words in picture, sound or both"

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        tables = {split: f"{split}_metadata.json" for split in ("train", "val")}
        present = {split: table for split, table in tables.items() if table in listing.present}
        if not present:
            raise ManifestError(f"{listing.root} lacks {tables['train']}: copy it from the dataset's download.")
        return (
            self._draft(row, split, table) for split, table in present.items() for row in listing.read_json_rows(table)
        )

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        report = super().find(root, quality, official=official)
        if hidden := [path for path in report.unknown if path.startswith("test/")]:
            report.unknown = [path for path in report.unknown if not path.startswith("test/")]
            report.notes.append(f"{len(hidden)} videos below test have no published labels, and are left out.")
        return report

    @staticmethod
    def _draft(row: Mapping[str, Any], split: str, table: str) -> Draft:
        file, kind = str(row.get("file")), str(row.get("modify_type")).replace("-", "_")
        if kind not in ("real", "audio_modified", "visual_modified", "both_modified"):
            raise ManifestError(f"{table} does not tell what of {file} is modified: restore the file.")
        sound = kind in ("audio_modified", "both_modified")
        subjects = tuple(re.findall(r"(?:^|/)(id\d+)/", file)[:1])
        path = f"{split}/{file}"
        name = _stem(path)
        if kind in ("real", "audio_modified"):
            return Draft(path, "real", name, split=split, subjects=subjects, attributes=_audio(sound))
        original = row.get("original")
        return Draft(
            path=path,
            method=kind.replace("_", "-"),
            name=name,
            split=split,
            subjects=subjects,
            original=None if original is None else _stem(f"{split}/{original}"),
            original_path=None if original is None else f"{split}/{original}",
            fake_periods=_periods(row.get("visual_fake_segments") or row.get("fake_segments"), table, file) or None,
            attributes=_audio(sound),
        )


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]  # pathlib takes a fifth of the scan of a million videos


def _audio(forged: bool) -> tuple[str, ...]:
    return ("audio=fake",) if forged else ("audio=real",)  # constants, of which a million videos take no memory


def _periods(given: Any, table: str, path: str) -> _Periods:
    """Periods as pairs of seconds, without empty ones; raises ManifestError for anything but pairs of numbers."""
    try:
        pairs = [(float(start), float(end)) for start, end in given or ()]
    except (TypeError, ValueError):
        raise ManifestError(f"{table} gives {path} the forged periods {given!r}: restore the file.") from None
    return tuple(sorted((max(start, 0.0), end) for start, end in pairs if end > max(start, 0.0)))
