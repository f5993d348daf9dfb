"""The page of an audit: one HTML file without scripts or links, which a browser shows offline."""

from pathlib import Path
from typing import Any

from facemill.manifests.storage import write_atomically
from facemill.pipeline.audit.findings import Audit
from facemill.pipeline.audit.shortcuts import LIMIT, Shortcut
from facemill.pipeline.figures.page import png_url, render_page

__all__ = ["interval", "is_page", "verdict", "write_page"]

_GENERATOR = "facemill audit"
_PAGE = """\
<p>{{ audit.looked_at }} of {{ audit.crops }} crops were looked at.
{% if audit.findings %}{{ audit.findings | length }} findings.{% else %}Nothing was found.{% endif %}</p>
{% if audit.findings %}
<h2>Findings</h2>
<table>
<tr><th>what</th><th>how sure</th><th>dataset</th></tr>
{% for one in audit.findings %}
<tr><td>{{ one.message }}</td><td>{{ one.sure }}</td><td>{{ one.dataset or "all" }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% for note in audit.notes %}
<p>{{ note }}.</p>
{% endfor %}
{% for name, shortcuts in audit.shortcuts.items() if shortcuts %}
<h2>What predicts the label without the face: {{ name }}</h2>
<p>AUC of a small classifier on crops of originals that it was not fitted to, and 95 % interval by clip groups. A column
is a finding if its interval lies above {{ limit }}. An AUC below 0.5 is no signal: what is balanced as a whole is
unbalanced the other way round in what was held out.</p>
<table>
<tr><th>column</th><th>fakes</th><th class="number">AUC</th><th>95 % interval</th><th></th></tr>
{% for one in shortcuts %}
<tr{% if one.found %} class="found"{% endif %}><td>{{ one.column }}</td><td>{{ one.method }}</td>
<td class="number">{{ "%.2f" | format(one.auc) }}</td><td>{{ one | interval }}</td><td>{{ one | verdict }}</td></tr>
{% endfor %}
</table>
{% endfor %}
{% if audit.duplicates %}
<h2>Nearly equal crops in two splits</h2>
{% for one in audit.duplicates %}
<p>{{ one.crops }} crops; of the two shown, {{ one.bits }} of 64 bits differ, correlation
{{ "%.3f" | format(one.correlation) }}</p>
<div class="pictures">
{% for side in range(2) %}
<figure><img alt="" src="{{ one.images[side] | url }}">
<figcaption>{{ one.places[side][1] }} of {{ one.places[side][0] }}<br>{{ one.samples[side] }}</figcaption></figure>
{% endfor %}
</div>
{% endfor %}
{% endif %}
<h2>Videos and crops</h2>
<table>
<tr><th>dataset</th><th>split</th><th>method</th><th>quality</th>
<th class="number">videos</th><th class="number">crops</th>
<th class="number">crops per video</th><th class="number">faces per video</th></tr>
{% for one in audit.counts %}
<tr><td>{{ one.dataset }}</td><td>{{ one.split }}</td><td>{{ one.method }}</td><td>{{ one.quality }}</td>
<td class="number">{{ one.videos }}</td><td class="number">{{ one.crops }}</td>
<td class="number">{{ "%.1f" | format(one.crops_per_video) }}</td>
<td class="number">{{ "%.2f" | format(one.faces_per_video) }}</td></tr>
{% endfor %}
</table>
"""


def write_page(audit: Audit, path: Path) -> None:
    """Write an audit as one HTML file, atomically."""
    title = f"Audit of {', '.join(audit.datasets)}"
    values = {"audit": audit, "limit": LIMIT}
    filters: dict[str, Any] = {"interval": interval, "verdict": verdict, "url": png_url}
    write_atomically(path, render_page(title, _PAGE, values, generator=_GENERATOR, filters=filters))


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
