"""The page of an audit: one HTML file without scripts or links, which a browser shows offline."""

from dataclasses import astuple
from functools import partial
from pathlib import Path

from facemill.manifests.storage import write_atomically
from facemill.pipeline.audit.findings import Audit
from facemill.pipeline.audit.shortcuts import LIMIT, Shortcut
from facemill.pipeline.figures.page import PageTable, is_page_of, render_page

__all__ = ["interval", "is_page", "verdict", "write_page"]

_GENERATOR = "facemill audit"
is_page = partial(is_page_of, _GENERATOR)
"""Whether a file was written by `write_page`, so that a later run may replace it."""
_COUNTS = {
    **dict.fromkeys(("dataset", "split", "method", "quality"), ""),
    **{"videos": ",d", "crops": ",d", "crops per video": ".1f", "faces per video": ".2f"},
}


def write_page(audit: Audit, path: Path) -> None:
    """Write an audit as one HTML file, atomically."""
    title = f"Audit of {', '.join(audit.datasets)}"
    findings = [(one.message, one.sure, one.dataset or "all") for one in audit.findings]
    columns = {"column": "", "fakes": "", "AUC": ".2f", "95 % interval": "", "verdict": ""}
    values = {
        "audit": audit,
        "limit": LIMIT,
        "findings": PageTable("Findings", {"what": "", "how sure": "", "dataset": ""}, findings),
        "shortcuts": [
            PageTable(
                f"What predicts the label without the face: {name}",
                columns,
                [(one.column, one.method, one.auc, interval(one), verdict(one)) for one in measured],
            )
            for name, measured in audit.shortcuts.items()
        ],
        "counts": PageTable("Videos and crops", _COUNTS, [astuple(one) for one in audit.counts]),
    }
    page = render_page(title, "audit.html", values, package="facemill.pipeline.audit", generator=_GENERATOR)
    write_atomically(path, page)


def interval(one: Shortcut) -> str:
    return "not known" if one.interval is None else f"{one.interval[0]:.2f} to {one.interval[1]:.2f}"


def verdict(one: Shortcut) -> str:
    return "predicts fakes" if one.found else "not certain" if one.auc > LIMIT else ""
