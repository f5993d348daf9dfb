"""The scripts of docs/pages/clusters.md, by title."""

import re
from pathlib import Path

__all__ = ["SCRIPTS"]

PAGE = (Path(__file__).parents[1] / "docs/pages/clusters.md").read_text("utf-8")
SCRIPTS = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
