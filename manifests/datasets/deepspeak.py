"""DeepSpeak, versions 1.1 and 2."""

import posixpath
from collections.abc import Iterable
from pathlib import PurePosixPath

from facemill import ManifestError
from facemill.manifests.datasets.drafts import Draft, DraftedDataset
from facemill.manifests.datasets.faceforensics import common_split
from facemill.manifests.scanning.listing import Listing, is_video
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["DeepSpeak"]

_REALS, _FAKES, _SPLITS = (f"annotations-{part}.csv" for part in ("real", "fake", "split-def"))
_REAL_COLUMNS = ("video-file", "identity")
_FAKE_COLUMNS = ("video-file", "kind", "engine", "identity-source", "identity-target", "recording-target")
_KINDS = ("face-swap", "lip-sync", "avatar")


class DeepSpeak(DraftedDataset):
    """DeepSpeak 1.1 or 2 (Barrington, Bohacek and Farid, 2024), people before webcams and fakes of them.

    Layout: `annotations-{real,fake,split-def}.csv`, and videos anywhere below the root by the names of these tables:
    loaders keep them in folders of their own, and none shows what is inside of the release's archives. A root has one
    version; columns tell which.
    Names: `<identity>-<recording>.mp4` of reals; in version 1 `<engine>--<source>-<target>--<two recordings>--<n>.mp4`,
    in version 2 `<engine>-<two recordings>[-<voice>].mp4`, which names no person.
    Labels: the engine is the method.
    Pairs: a swapped or lip-synced face has the original `<identity-target>-<recording-target>`; an avatar, made from a
    still image, has none.
    Attributes: `audio`, fake where the table says that the voice is generated.
    Splits: `annotations-split-def.csv` puts people into train and test; fakes of two people of different splits are in
    none. Val is carved from train. By identity, people are assigned, and fakes between two splits are left out.
    Published: no counts by files; others count 6667 reals and 6796 fakes in version 1.1, 9376 and 7209 in 2.
    """

    name = "deepspeak"
    link = "https://huggingface.co/datasets/faridlab/deepspeak_v2"
    terms = "free for academic institutions, for a fee for others; on request"
    methods = "face swaps, lip-sync and, in version 2, avatars"
    lacks_val = True
    linked = True

    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        """As `DraftedDataset.drafts`.

        Raises:
            ManifestError: also if there are two tables of a kind.
        """
        places = {PurePosixPath(path).name: path for path in reversed(listing.paths) if is_video(path)}
        fakes = list(listing.read_csv_rows(_table(listing, _FAKES), _FAKE_COLUMNS))
        version = "v2" if fakes and "audio-config" in fakes[0][1] else "v1"
        split_of = {}
        if official:
            rows = listing.read_csv_rows(_table(listing, _SPLITS), ("identity", "split"))
            split_of = {row["identity"]: row["split"].strip().lower() for _, row in rows}
        for _, row in listing.read_csv_rows(_table(listing, _REALS), _REAL_COLUMNS):
            yield _draft(row, version, places, split_of, (row["identity"],))
        for number, row in fakes:
            if row["kind"] not in _KINDS or not row["engine"]:
                raise ManifestError(f"Line {number} of {_FAKES} describes no fake of this dataset: restore the file.")
            people = tuple(dict.fromkeys((row["identity-target"], row["identity-source"])))
            yield _draft(row, version, places, split_of, people)


def _table(listing: Listing, name: str) -> str:
    """The path of a table; below the root if there is none, so that it is reported."""
    found = [path for path in listing.paths if posixpath.basename(path) == name]
    if len(found) > 1:
        raise ManifestError(f"{listing.root} has {' and '.join(found)}: scan each version of DeepSpeak on its own.")
    return found[0] if found else name


def _draft(
    row: dict[str, str], version: str, places: dict[str, str], split_of: dict[str, str], people: tuple[str, ...]
) -> Draft:
    """Draft of a row; names and people bear the version, since numbers of both start anew."""
    stem = row["video-file"].removesuffix(".mp4")
    made_of = row.get("kind") in ("face-swap", "lip-sync")
    generated = row.get("recording-target-ai-generated", "").lower() == "true"
    generated |= row.get("audio-config", "real") not in ("", "real")
    return Draft(
        path=places.get(f"{stem}.mp4", f"{stem}.mp4"),
        method=row.get("engine", "real"),
        name=f"{version}-{stem}",
        split=common_split(people, split_of),
        subjects=tuple(f"{version}-{person}" for person in people),
        original=f"{version}-{row['identity-target']}-{row['recording-target']}" if made_of else None,
        attributes=(f"audio={'fake' if generated else 'real'}",),
    )
