"""FakeAVCeleb."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import ClassVar

from facemill import ManifestError
from facemill.manifests.datasets.drafts import Draft, DraftedDataset
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.scanning.scan_report import ALL_FAKES, ScanReport

__all__ = ["FakeAVCeleb"]

_TABLE = "meta_data.csv"
_COLUMNS = {"source", "target1", "method", "type", "race", "gender", "path"}
_ORIGINAL, _VOICE = "RealVideo-RealAudio", "RealVideo-FakeAudio"
_TYPES = (_ORIGINAL, _VOICE, "FakeVideo-RealAudio", "FakeVideo-FakeAudio")


class FakeAVCeleb(DraftedDataset):
    """FakeAVCeleb v1.2 (Khalid et al., NeurIPS Datasets and Benchmarks 2021), picture and voice forged.

    Layout: `meta_data.csv` and `<type>/<race>/<gender>/<source>/`, of which `RealVideo-RealAudio` and the three other
    types say what is forged. The table's `path` is a file name; its last column, which has no name, is the folder.
    Names: given by the table, in which 22 files have two rows.
    Labels: a real face with a cloned voice (`RealVideo-FakeAudio`) is visually real; `audio=fake` is an attribute.
    Pairs: a fake's original is the `RealVideo-RealAudio` video of its source.
    Attributes: `race`, `gender` and `audio`, as the table has them.
    Splits: none; official puts all videos into test. By identity, the celebrities are assigned to splits, and fakes
    between two splits are left out.
    Published: 500 originals, 500 with a cloned voice, 9709 fakes with their own voice and 10,857 with a cloned one.
    """

    name = "fakeavceleb"
    link = "https://github.com/DASH-Lab/FakeAVCeleb"
    terms = "FakeAVCeleb request form"
    methods = "faceswap, fsgan and wav2lip, some with voices by SV2TTS"
    all_test = True
    linked = True
    published: ClassVar = {("fakeavceleb", "real", "test"): 1000, ("fakeavceleb", ALL_FAKES, "test"): 20_566}

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        return (_draft(row, number, listing) for number, row in listing.read_csv_rows(_TABLE, _COLUMNS))


def _draft(row: dict[str, str], number: int, listing: Listing) -> Draft:
    kind, source = row["type"], row["source"]
    if kind not in _TYPES or not source or not row["path"]:
        raise ManifestError(f"Line {number} of {_TABLE} describes no video of this dataset: restore the file.")
    folder = f"{kind}/{row['race']}/{row['gender']}/{source}"
    given = (row.get("") or "").strip("/").removeprefix("FakeAVCeleb/")
    path = f"{folder}/{row['path']}"
    if path not in listing.present and f"{given}/{row['path']}" in listing.present:
        path = f"{given}/{row['path']}"
    attributes = tuple(f"{name}={row[name]}" for name in ("race", "gender") if row[name])
    attributes = (*attributes, f"audio={'fake' if kind.endswith('FakeAudio') else 'real'}")
    if kind == _ORIGINAL:
        return Draft(path, "real", source, split="test", subjects=(source,), attributes=attributes)
    name = f"{kind}-{source}-{PurePosixPath(path).stem}"
    if kind == _VOICE:
        return Draft(path, "real", name, split="test", subjects=(source,), attributes=attributes)
    target = row["target1"].strip()
    subjects = (source, target) if target.startswith("id") and target != source else (source,)
    return Draft(path, row["method"], name, "native", "test", subjects, original=source, attributes=attributes)
