"""What tests read of a page."""

import json
from base64 import b64decode
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


@dataclass
class Page(HTMLParser):
    """A page's tags with their attributes, its text, and the content of its scripts and styles."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    inside: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open = ""

    @classmethod
    def of(cls, path: Path) -> "Page":
        page = cls()
        page.feed(path.read_text("utf-8"))
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style"):
            self.inside.append((self._open, data))
        else:
            self.text += data

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def policy(self) -> str:
        [content] = [one["content"] for one in self.every("meta") if one.get("http-equiv")]
        return str(content)

    @property
    def data(self) -> dict[str, Any]:
        [text] = [text for tag, text in self.inside if tag == "script" and text.startswith("{")]
        return json.loads(text)

    def figure(self, name: str) -> dict[str, Any]:
        [one] = [one for one in self.data["figures"] if one["id"] == name]
        return one

    def saved(self, name: str) -> str:
        """A file that the page offers to save."""
        [url] = {str(one["href"]) for one in self.every("a") if one.get("download") == name}
        return b64decode(url.partition("base64,")[2]).decode()
