"""Exports a built dataset in the layout that another project's training code reads."""

from collections.abc import Callable
from pathlib import Path

from facemill.manifests.export.base import Exporter, ExportReport
from facemill.registry import EXPORTERS

__all__ = ["ExportReport", "Exporter", "export"]


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
        ConfigError: also for an unknown name.
    """
    return EXPORTERS[to](Path(folder), Path(out), prefix=prefix, threads=threads, on_samples=on_samples)
