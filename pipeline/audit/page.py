"""The page of an audit: one HTML file without scripts or links, which a browser shows offline."""

from dataclasses import astuple
from pathlib import Path

from facemill.manifests.storage import write_atomically
from facemill.pipeline.audit.findings import Audit
from facemill.pipeline.audit.shortcuts import LIMIT, Shortcut
from facemill.pipeline.figures.page import png_url, render_page
from facemill.pipeline.figures.page_table import PageTable

__all__ = ["interval", "is_page", "verdict", "write_page"]

_GENERATOR = "facemill audit"
_PAGE = """\
{% from "parts.html" import table %}
<p>{{ audit.looked_at }} of {{ audit.crops }} crops were looked at.
{% if audit.findings %}{{ audit.findings | length }} findings.{% else %}Nothing was found.{% endif %}</p>
{% if findings.rows %}
<h2>Findings</h2>
{{ table(findings) }}
{% endif %}
{% for note in audit.notes %}
<p>{{ note }}.</p>
{% endfor %}
{% for one in shortcuts if one.rows %}
<h2>{{ one.title }}</h2>
<p>AUC of a small classifier on crops of originals that it was not fitted to, and 95 % interval by clip groups. A column
is a finding if its interval lies above {{ limit }}. An AUC below 0.5 is no signal: what is balanced as a whole is
unbalanced the other way round in what was held out.</p>
{{ table(one) }}
{% endfor %}
{% if audit.duplicates %}
<h2>Nearly equal crops in two splits</h2>
{% for one in audit.duplicates %}
<p>{{ one.crops }} crops; of the two shown, {{ one.bits }} of 64 bits differ, correlation
{{ "%.3f" | format(one.correlation) }}</p>
<div class="pictures">
{% for side in range(2) %}
<figure><img alt="A crop of {{ one.places[side] | join(", ") }}" src="{{ one.images[side] | url }}">
<figcaption>{{ one.places[side][1] }} of {{ one.places[side][0] }}<br>{{ one.samples[side] }}</figcaption></figure>
{% endfor %}
</div>
{% endfor %}
{% endif %}
<h2>Videos and crops</h2>
{{ table(counts) }}
"""
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
    write_atomically(path, render_page(title, _PAGE, values, generator=_GENERATOR, filters={"url": png_url}))


def is_page(path: Path) -> bool:
    """Whether a file was written by `write_page`, so that a later run may replace it."""
    with path.open("rb") as file:
        return f'content="{_GENERATOR}"'.encode() in file.read(1000)


def interval(one: Shortcut) -> str:
    """The interval of a shortcut, for people."""
    return "not known" if one.interval is None else f"{one.interval[0]:.2f} to {one.interval[1]:.2f}"


def verdict(one: Shortcut) -> str:
    """What a shortcut's figures mean."""
    return "predicts fakes" if one.found else "not certain" if one.auc > LIMIT else ""
