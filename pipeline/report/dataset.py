"""The report of a built dataset."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from facemill import DatasetError, ManifestError
from facemill.manifests.checks.columns import pc
from facemill.manifests.printable import printable
from facemill.manifests.records import REFERENCE
from facemill.manifests.schemas import FAILURES
from facemill.manifests.shards.dataset import DATASET_FILE, FAILURES_FILE, VIDEOS_FILE, DatasetInfo, read_dataset
from facemill.manifests.shards.summary import Summary, summarise
from facemill.manifests.storage import sha256_of, write_atomically
from facemill.pipeline.audit.audit import FRAMES, audit_opened
from facemill.pipeline.audit.opened import Opened, open_dataset
from facemill.pipeline.data.split import read_listed
from facemill.pipeline.figures.page import PageTable
from facemill.pipeline.report.page import render_report
from facemill.pipeline.report.pictures import Crops, sample_of, worst_crops
from facemill.pipeline.report.quantities import Cells, quantities
from facemill.pipeline.report.verdicts import verdicts

__all__ = ["report_dataset"]

MOST_CROPS = 20_000
"""Crops whose pixels are looked at, unless there are more videos."""
_WORST = 12
"""Failed videos that are listed."""


def report_dataset(folder: Path, path: Path, *, on_crops: Callable[[int], None] | None = None) -> None:
    """Write the report of a built dataset as one HTML file, atomically.

    Args:
        on_crops: called with the number of crops just looked at.

    Raises:
        DatasetError: if the dataset is unfinished, damaged or empty.
    """
    try:
        write_atomically(path, _page(folder, on_crops))
    except (ManifestError, pa.ArrowException, ValueError, LookupError, TypeError, OverflowError) as error:
        raise DatasetError(f"{folder} cannot be reported ({error}): run `facemill verify {folder}`.") from error


def _page(folder: Path, on_crops: Callable[[int], None] | None) -> bytes:
    info, summary = read_dataset(folder), summarise(folder)
    if not summary.samples:
        raise DatasetError(f"{folder} has no crops: `facemill inspect {folder}` says why.")
    frames = max(1, min(FRAMES, MOST_CROPS // max(summary.videos, 1)))
    one = open_dataset(folder, folder.resolve().name, frames, on_crops)
    cells, shown = Cells(one.rows), list(quantities(one))
    crops = Crops(folder, info.counts)
    sample, pictures = sample_of(one.rows, crops)
    values = {
        "summary": summary,
        "info": info,
        "verdicts": verdicts(summary, audit_opened([one]), one.rows),
        "folder": one.name,
        "real": int(one.rows.equal("label", 0).sum()),
        "with_crops": sum(count.videos for count in summary.samples),
        "counts": _counts(one, summary),
        "failures": _failures(summary),
        "worst": _worst_videos(folder),
        "looked_at": len(one.chosen),
        "crops": len(one.rows),
        "figures": [(quantity, cells.in_words(quantity), cells.table(quantity)) for quantity in shown],
        "time": _time(summary),
        "galleries": list(worst_crops(one, crops)),
        "recipe": yaml.safe_dump(dict(info.recipe), sort_keys=False, allow_unicode=True).splitlines(),
        "made_of": _made_of(folder, info),
        "provenance": _provenance(sample, one),
        "pictures": pictures,
        "data": {
            **cells.labels(),
            "figures": [cells.figure(quantity) for quantity in shown],
            "bars": _bars(summary),
        },
    }
    names = ", ".join(pc.unique(one.rows["dataset"]).to_pylist())
    return render_report(f"Dataset {names}", "dataset.html", values)


def _counts(one: Opened, summary: Summary) -> PageTable:
    """Crops of each split, and videos with and without crops, by method and quality."""
    splits = list(dict.fromkeys(count.split for count in summary.samples))
    crops: Counter[tuple[str, ...]] = Counter()
    videos: Counter[tuple[str, ...]] = Counter()
    for count in summary.samples:
        crops[count.method, count.quality, count.split] = count.samples
        videos[count.method, count.quality] += count.videos
    used = one.videos.filter(pc.not_equal(one.videos["split"], REFERENCE))
    listed = used.group_by(["method", "quality"]).aggregate([([], "count_all")]).to_pylist()
    there = {(row["method"], row["quality"]): row["count_all"] for row in listed}
    rows = [
        [*key, *(crops[*key, split] for split in splits), videos[key], max(there.get(key, 0) - videos[key], 0)]
        for key in dict.fromkeys([*videos, *there])
    ]
    forms = {**dict.fromkeys(splits, ",d"), "videos": ",d", "videos without": ",d"}
    return PageTable("Crops by split, and videos", {"method": "", "quality": "", **forms}, rows)


def _failures(summary: Summary) -> PageTable:
    rows = [(one.reason.replace("_", " "), one.stage, one.videos, one.frames or None) for one in summary.failures]
    return PageTable("Failures by reason", {"reason": "", "stage": "", "videos": ",d", "frames": ",d"}, rows)


def _worst_videos(folder: Path) -> PageTable:
    """Failed videos: those without any crop first, then by the number of their lost frames."""
    table = read_listed(folder, FAILURES_FILE, FAILURES)
    whole: pa.Array[Any] = pc.equal(table["frames"], 0)
    order = table.append_column("whole", whole).sort_by([("whole", "descending"), ("frames", "descending")])
    rows = [
        (row["video_id"], row["reason"].replace("_", " "), row["frames"] or None, row["message"])
        for row in order.slice(0, _WORST).to_pylist()
    ]
    return PageTable("Worst videos", {"video": "", "reason": "", "frames lost": ",d", "message": ""}, rows)


def _time(summary: Summary) -> PageTable:
    spent = sum(summary.seconds.values()) or 1.0
    rows = [(stage, seconds, seconds / spent) for stage, seconds in summary.seconds.items()]
    return PageTable("Time per stage, seconds of all workers", {"stage": "", "seconds": ",.1f", "share": ".1%"}, rows)


def _bars(summary: Summary) -> list[dict[str, Any]]:
    """Time per stage as a figure, if it is known."""
    names, values = [*map(printable, summary.seconds)], [*summary.seconds.values()]
    return [{"id": "time", "names": names, "values": values, "unit": "seconds"}] if names else []


def _made_of(folder: Path, info: DatasetInfo) -> PageTable:
    rows = [
        ("facemill", info.facemill),
        ("device", info.device or None),
        ("shards", f"{len(info.shards):,}, {sum(shard.bytes for shard in info.shards) / 1e6:,.1f} MB"),
        *((f"SHA-256 of {name}", sha256_of(folder / name)) for name in (DATASET_FILE, VIDEOS_FILE)),
        *sorted(info.versions.items()),
    ]
    return PageTable("Made with", {"what": "", "version": ""}, rows)


def _provenance(sample: dict[str, Any], one: Opened) -> PageTable:
    """Where a sample comes from: every column but its pixels."""
    [video] = one.videos.filter(pc.equal(one.videos["video_id"], sample["video_id"])).to_pylist()[:1] or [{}]
    shown = {"path": video.get("path"), **{name: value for name, value in sample.items() if name != "pixels"}}
    return PageTable("Provenance of a sample", {"column": "", "value": ""}, [*_plain(shown)])


def _plain(values: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    for name, value in values.items():
        if isinstance(value, list):
            yield name, ", ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in value)
        else:
            yield name, f"{value:.6g}" if isinstance(value, float) else None if value is None else str(value)
