"""Exports: a built dataset in the layout that another project's training reads."""

from collections.abc import Callable
from pathlib import Path

from facemill import ConfigError
from facemill.manifests.export.base import Exporter, ExportReport
from facemill.manifests.export.deepfakebench import export_deepfakebench, export_deepfakebench_lmdb

__all__ = ["EXPORTERS", "ExportReport", "Exporter", "export"]

EXPORTERS: dict[str, Exporter] = {
    "deepfakebench": export_deepfakebench,
    "deepfakebench-lmdb": export_deepfakebench_lmdb,
}
"""Every export by the name that `facemill export --to` takes."""


def export(
    folder: str | Path,
    out: str | Path,
    to: str,
    *,
    prefix: str | None = None,
    threads: int = 4,
    on_samples: Callable[[int], None] = lambda samples: None,
) -> ExportReport:
    """Export a dataset; see `Exporter`.

    Raises:
        ConfigError: also for a name that is no export's.
    """
    if to not in EXPORTERS:
        raise ConfigError(f"There is no export to {to!r}: --to can be {', '.join(EXPORTERS)}.")
    return EXPORTERS[to](Path(folder), Path(out), prefix=prefix, threads=threads, on_samples=on_samples)
