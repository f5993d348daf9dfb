"""The page of an audit: one HTML file without scripts or links, which a browser shows offline."""

from dataclasses import astuple
from pathlib import Path

from facemill.manifests.storage import write_atomically
from facemill.pipeline.audit.findings import Audit
from facemill.pipeline.audit.shortcuts import LIMIT, Shortcut
from facemill.pipeline.figures.page import PageTable, render_page

__all__ = ["GENERATOR", "interval", "verdict", "write_page"]

GENERATOR = "facemill audit"
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
    page = render_page(title, "audit.html", values, package="facemill.pipeline.audit", generator=GENERATOR)
    write_atomically(path, page)


def interval(one: Shortcut) -> str:
    return "not known" if one.interval is None else f"{one.interval[0]:.2f} to {one.interval[1]:.2f}"


def verdict(one: Shortcut) -> str:
    return "predicts fakes" if one.found else "not certain" if one.auc > LIMIT else ""
