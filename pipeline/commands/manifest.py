"""The commands that write, merge and check manifests, and that degrade their videos."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from facemill import ConfigError
from facemill.pipeline.commands.interrupts import interrupts
from facemill.pipeline.commands.places import free_file, free_folder, local_path
from facemill.pipeline.commands.printing import echo, progress
from facemill.pipeline.commands.shared import Exit, MayOverwrite, Out, Quiet, Roots

__all__ = ["ScanCommand", "check", "degrade", "merge", "scan"]


class ScanCommand(TyperCommand):
    """Lists the datasets in its help; the adapters are imported only then."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from facemill.registry import DATASETS

        self.epilog = "\n\n".join(["Datasets:", *(f"{name}: {adapter.summary}" for name, adapter in DATASETS.items())])
        super().format_help(ctx, formatter)


def scan(
    dataset: Annotated[
        str, typer.Argument(help="Name of a dataset (see below), csv for a table of your own, or images for photos.")
    ],
    root: Annotated[str, typer.Argument(help="The dataset's folder, or an fsspec URL; for csv, the table.")],
    out: Out = Path("videos.parquet"),
    quality: Annotated[str | None, typer.Option(help="Compression level: raw, c23 or c40.")] = None,
    split: Annotated[
        str,
        typer.Option(
            help="official, identity (80/10/10), identity:70/20/10, all-train, all-val, all-test, "
            "or a CSV or Parquet file of video_id or path, and split."
        ),
    ] = "official",
    seed: Annotated[int, typer.Option(help="Seed of an identity split.")] = 0,
    subjects_apart: Annotated[
        bool, typer.Option("--subjects-apart", help="Drop videos of train and val that show a subject of test.")
    ] = False,
    subject: Annotated[
        str | None, typer.Option(help="Pattern whose matches in a path are the subjects' names.", metavar="REGEX")
    ] = None,
    folder: Annotated[
        str | None, typer.Option("--root", help="For csv: base of relative paths, if not the table's folder.")
    ] = None,
    real: Annotated[
        str | None, typer.Option(help="For csv with a folder, and images: pattern of reals.", metavar="GLOB")
    ] = None,
    fake: Annotated[str | None, typer.Option(help="Likewise: pattern of fakes.", metavar="GLOB")] = None,
    originals: Annotated[
        str | None,
        typer.Option(
            help="Manifest or folder of the dataset that the fakes were made from, if it is another one.",
            metavar="MANIFEST|DIR",
        ),
    ] = None,
    images: Annotated[str | None, typer.Option(help="What images and folders of images show: frames or crops.")] = None,
    hashed: Annotated[
        bool, typer.Option("--hash", help="Read every video and store its size and hash, for merge and check.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be listed, with an example of each kind; write nothing.")
    ] = False,
    overwrite: MayOverwrite = False,
    quiet: Quiet = False,
) -> None:
    """List a dataset's videos, pair fakes with originals, and write the manifest."""
    from facemill import manifests
    from facemill.manifests.datasets.csv_file import CsvFile

    if (real is None) != (fake is None) or (real is not None and dataset not in ("csv", "images")):
        raise ConfigError("--real and --fake must be used together, with the dataset csv or images and a folder.")
    if dataset == "images":
        real, fake = real or "real/**", fake or "fake/**"
    if folder is not None and (dataset != "csv" or real is not None):
        raise ConfigError("--root requires the dataset csv and a table.")
    if not dry_run:
        free_file(out, overwrite=overwrite, is_own=_is_own_manifest)
    how: dict[str, Any] = {"split": split, "seed": seed, "subjects_apart": subjects_apart, "subject": subject}
    how["images"] = images
    if originals is not None and real is not None:
        raise ConfigError("Videos given by --real and --fake are not paired: leave out --originals.")
    if real is not None and fake is not None:
        report = manifests.from_globs(root, real, fake, photos=dataset == "images", **how)
    else:
        adapter = dataset if folder is None else CsvFile(folder=folder)
        given = manifests.read_videos(originals) if originals and Path(originals).is_file() else originals
        report = manifests.scan(adapter, root, quality=quality, originals=given, **how)
    if hashed:
        with progress("hashing", "videos", len(report.entries), quiet=quiet) as advance:
            manifests.add_contents(report, on_videos=advance)
    for line in (*report.lines(), *(report.examples() if dry_run else ())):
        echo(line)
    if not dry_run:
        manifests.write_videos(report.entries, out)
        echo(f"{len(report.entries)} videos -> {out}")


def merge(
    videos: Annotated[list[Path], typer.Argument(help="Manifests, as `facemill scan` writes them.")],
    out: Annotated[Path, typer.Option(help="Where to write the merged manifest.")],
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Keep the first of equal videos instead of ending with an error.")
    ] = False,
    overwrite: MayOverwrite = False,
) -> None:
    """Merge several manifests into one; duplicate videos are found by size and content."""
    from facemill import manifests

    free_file(out, overwrite=overwrite, is_own=_is_own_manifest)
    merged = manifests.merge([manifests.read_videos(path) for path in videos], drop_duplicates=drop_duplicates)
    for line in merged.lines():
        echo(line)
    manifests.write_videos(merged.entries, out)
    echo(f"{len(merged.entries)} videos -> {out}")


def check(
    videos: Annotated[Path, typer.Argument(help="Manifest, as `facemill scan --hash` writes it.")],
    roots: Roots = None,
    quiet: Quiet = False,
) -> None:
    """Re-read the videos of a hashed manifest, and list those that are missing or have changed."""
    from facemill import manifests

    entries = manifests.read_videos(videos, roots or ())
    manifests.check_roots(entries)
    with progress("checking", "videos", len(entries), quiet=quiet) as advance:
        changes = manifests.find_changed(entries, on_videos=advance)
    for change in changes:
        echo(change)
    echo(f"{len(entries)} videos: {len(changes)} missing or changed")
    if changes:
        raise typer.Exit(Exit.TOO_MANY_FAILURES)


def degrade(
    videos: Annotated[Path, typer.Argument(help="Manifest, as `facemill scan` writes it.", parser=local_path)],
    out: Annotated[
        Path, typer.Option(help="Folder of the new videos. Run with the same folder to resume.", parser=local_path)
    ],
    crf: Annotated[str, typer.Option(help="Rate factors, 0 to 51.", metavar="N,...")] = "23,40",
    codec: Annotated[str, typer.Option(help="h264.")] = "h264",
    resize: Annotated[float, typer.Option(help="Factor of both sides, up to 1.")] = 1.0,
    workers: Annotated[int | None, typer.Option(min=1, help="Videos at a time, one thread each.")] = None,
    roots: Roots = None,
    quiet: Quiet = False,
) -> None:
    """Encode the videos of a manifest again in worse qualities, such as c23 and c40, and write their manifest.

    Pairs, splits and ground-truth masks carry over; frames keep their number and times. Videos that cannot be read are
    left out and listed in failures.parquet (exit code 3). If interrupted, run the same command again to resume.
    """
    from facemill.manifests import check_roots, read_videos
    from facemill.manifests.shards.dataset import VIDEOS_FILE
    from facemill.pipeline.degrade import Degradation
    from facemill.pipeline.degrade import degrade as run
    from facemill.pipeline.degrade.degrade import MARK

    if codec != "h264":
        raise ConfigError(f"Videos are encoded as h264, not as {codec}.")
    if not all(word.isdecimal() for word in crf.split(",")):
        raise ConfigError(f"--crf {crf} is no list of whole numbers: write it as 23,40.")
    degradations = [Degradation(int(word), resize) for word in crf.split(",")]
    free_folder(out, overwrite=True, is_own=lambda folder: (folder / MARK).is_file())
    entries = read_videos(videos, roots or ())
    check_roots(entries)
    interrupts.advice = "Interrupted: run the same command again to continue."
    with progress("encoding", "videos", len(entries), quiet=quiet) as advance:
        report = run(entries, out, degradations, workers=workers, on_videos=advance)
    for failure in report.failures:
        echo(f"{failure.video_id}: {failure.message}", err=True)
    kept = f" ({report.skipped} files of an earlier run)" if report.skipped else ""
    echo(f"{len(report.entries)} videos{kept} -> {out / VIDEOS_FILE}")
    if report.failures:
        echo(f"{len(report.failures)} videos could not be encoded: see {out / 'failures.parquet'}.", err=True)
        raise typer.Exit(Exit.TOO_MANY_FAILURES)


def _is_own_manifest(path: Path) -> bool:
    """Whether a manifest was written by `scan` or `merge`: the one in a dataset's folder is part of the dataset."""
    from facemill.manifests import is_manifest
    from facemill.manifests.shards.dataset import DATASET_FILE, STATE_FOLDER

    return is_manifest(path) and not any((path.parent / name).exists() for name in (DATASET_FILE, STATE_FOLDER))
