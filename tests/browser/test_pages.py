"""Pages as people see them: drawn without errors or a network, usable by keyboard, readable by all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Opened
from tests.pipeline.report.hostile import MARKUP

pytestmark = pytest.mark.browser
Visit = Callable[..., Opened]
PAGES = ("dataset", "hostile")


def heights(page: Any, figure: str) -> list[list[float]]:
    """Shares of a figure's curves, by curve and bin."""
    script = "id => document.getElementById(`plot-${id}`).data.map(one => Array.from(one.y))"
    return list(page.evaluate(script, figure))


def span(page: Any, figure: str) -> float:
    """Width of a figure's axis."""
    script = "id => { const [a, b] = document.getElementById(`plot-${id}`)._fullLayout.xaxis.range; return b - a }"
    return float(page.evaluate(script, figure))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_a_page_is_drawn_without_errors_network_or_scrolling_sideways(
    reports: dict[str, Path], visit: Visit, name: str, width: int, scheme: str
) -> None:
    opened = visit(reports[name], width=width, scheme=scheme)
    assert opened.page.locator(".plot svg.main-svg").count() >= 2 * 8
    assert opened.told == []
    assert opened.requests == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "Array.from(document.images).filter(one => !one.complete || !one.naturalWidth).length"
    assert opened.page.evaluate(broken) == 0


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(reports: dict[str, Path], visit: Visit, name: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra `browser` is not installed")
    opened = visit(reports[name], scheme=scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    found = axe.Axe().run(opened.page).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []


def test_figures_are_filtered_and_compared(reports: dict[str, Path], visit: Visit) -> None:
    page = visit(reports["dataset"]).page
    real, fake = heights(page, "sharpness")
    assert sum(real) == pytest.approx(100)
    page.get_by_label("two", exact=True).uncheck()
    assert heights(page, "sharpness")[0] == real
    assert heights(page, "sharpness")[1] != fake
    assert page.locator("#state").inner_text() == "Shown: 3 of 3 splits, 2 of 3 methods."
    page.get_by_label("Compare").select_option("splits")
    assert page.locator("#key").inner_text().split() == ["train", "val", "test"]
    for name in ("train", "val", "test"):
        page.get_by_label(name, exact=True).uncheck()
    assert heights(page, "sharpness") == []
    assert "choose a split" in page.locator("#state").inner_text()
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("document.getElementById('plot-sharpness').data.length === 2")
    assert heights(page, "sharpness") == [real, fake]


def test_everything_works_without_a_mouse(reports: dict[str, Path], visit: Visit) -> None:
    page = visit(reports["dataset"]).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"compare", "plot-face-size", "plot-pair-offset", "SUMMARY", "INPUT", "A"} <= seen
    page.locator("#methods input").nth(1).focus()
    page.keyboard.press("Space")
    assert "2 of 3 methods" in page.locator("#state").inner_text()
    whole = span(page, "face-size")
    page.locator("#plot-face-size").focus()
    page.keyboard.press("+")
    assert span(page, "face-size") == pytest.approx(0.6 * whole)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("0")
    assert span(page, "face-size") == pytest.approx(whole)


def test_a_figure_tells_its_numbers_when_it_is_pointed_at_and_zooms(reports: dict[str, Path], visit: Visit) -> None:
    page = visit(reports["dataset"]).page
    plot = page.locator("#plot-pair-offset")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    plot.locator(".hoverlayer .legendtext").first.wait_for()
    assert "144 of 144 crops, 0)" in plot.locator(".hoverlayer").text_content()
    before = span(page, "pair-offset")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert span(page, "pair-offset") < before


def test_hostile_names_are_shown_as_they_are(reports: dict[str, Path], visit: Visit) -> None:
    opened = visit(reports["hostile"])
    opened.page.get_by_label("Compare").select_option("methods")
    assert MARKUP in opened.page.locator("#methods").inner_text()
    assert MARKUP in opened.page.locator("#key").inner_text()
    plot = opened.page.locator("#plot-face-size")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    plot.locator(".hoverlayer .legendtext").first.wait_for()
    assert "<img src=x onerror" in plot.locator(".hoverlayer").text_content()
    assert opened.page.locator(".plot a").count() == 0
    assert opened.told == []


def test_scripts_that_are_not_the_page_s_do_not_run(reports: dict[str, Path], visit: Visit) -> None:
    opened = visit(reports["dataset"])
    append = (
        "const one = document.createElement('script'); one.textContent = 'window.ran = 1'; document.body.append(one)"
    )
    opened.page.evaluate(f"() => {{ {append} }}")
    assert opened.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in line for line in opened.told)
