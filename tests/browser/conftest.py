"""Pages opened in Chromium, whose messages and requests are kept."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from facemill.pipeline.report import report_dataset
from tests.pipeline.audit.planted import Corpus
from tests.pipeline.report.hostile import write_hostile

CHROMIUM = Path(os.environ.get("FACEMILL_CHROMIUM", "/usr/bin/chromium"))
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run")  # fmt: skip


@dataclass
class Opened:
    """A page in the browser.

    Attributes:
        page: Playwright's.
        told: messages on the console, and errors.
        requests: addresses that the page asked for, other than the page itself and what it holds.
    """

    page: Any
    told: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; tests are skipped without it, or without Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"no Chromium at {CHROMIUM}: set FACEMILL_CHROMIUM")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=[*QUIET])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Opened]]:
    """`visit(path, width=1280, scheme="light")` opens a page without a network."""
    contexts = []

    def open_page(path: Path, *, width: int = 1280, scheme: str = "light") -> Opened:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.told.append(message.text))
        opened.page.on("pageerror", lambda error: opened.told.append(str(error)))
        opened.page.on("dialog", lambda dialog: (opened.told.append(dialog.message), dialog.dismiss()))
        url = path.resolve().as_uri()
        held = ("data:", "blob:", url)
        opened.page.on("request", lambda one: None if one.url.startswith(held) else opened.requests.append(one.url))
        opened.page.goto(url)
        return opened

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by name."""
    root = tmp_path_factory.mktemp("reports")
    folders = {"dataset": Corpus().write(root / "dataset"), "hostile": write_hostile(root / "hostile")}
    pages = {}
    for name, folder in folders.items():
        pages[name] = root / f"{name}.html"
        report_dataset(folder, pages[name])
    return pages
