"""`facemill view` as people use it: by mouse and by keyboard, in light and dark, wide and narrow."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from benchmarks.viewing import write_rows
from facemill.manifests.shards.dataset import read_dataset
from facemill.pipeline.data.split import open_split
from facemill.pipeline.view.catalogue import Catalogue
from facemill.pipeline.view.images import SourceFrames
from facemill.pipeline.view.server import Viewed, serve
from tests.browser.conftest import Opened
from tests.pipeline.view.staged import HOSTILE, Staged, stage

pytestmark = pytest.mark.browser
MANY = 300_000
"""Crops of a list that is taller than a browser's elements may be."""
Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    return stage(tmp_path_factory.mktemp("staged"))


@pytest.fixture(scope="module")
def addresses(staged: Staged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of two served datasets: a staged one with scores of a detector, and one of many rows."""
    scores = pa.array(["f-f000000-t0", "f-f000002-t0"]), pa.array([0.9, 0.1])
    many = write_rows(tmp_path_factory.mktemp("many"), MANY)
    served = {
        "staged": Viewed(
            Catalogue(staged.shards, scores),
            SourceFrames(staged.shards, read_dataset(staged.shards), [str(staged.videos)]),
        ),
        "many": Viewed(Catalogue(many), SourceFrames(many, read_dataset(many))),
    }
    found: dict[str, str] = {}
    ready, loop = threading.Event(), asyncio.new_event_loop()

    def tell(name: str) -> Callable[[str], None]:
        return lambda address: (found.__setitem__(name, address), len(found) == len(served) and ready.set())[0]

    async def serve_all() -> None:
        await asyncio.gather(*(serve(viewed, ready=tell(name)) for name, viewed in served.items()))

    task = loop.create_task(serve_all())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.gather(task, return_exceptions=True)))
    thread.start()
    assert ready.wait(20)
    yield found
    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    loop.close()


@pytest.fixture
def gallery(chromium: Any, addresses: dict[str, str]) -> Iterator[Open]:
    """`gallery(path="", name="staged", width=1280, scheme="light")` opens a page, and keeps what it tells and asks."""
    contexts = []

    def open_page(path: str = "", *, name: str = "staged", width: int = 1280, scheme: str = "light") -> Opened:
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        opened, address = Opened(context.new_page()), addresses[name]
        page = opened.page
        page.on("console", lambda message: opened.told.append(message.text))
        page.on("pageerror", lambda error: opened.told.append(str(error)))
        page.on("dialog", lambda dialog: (opened.told.append(dialog.message), dialog.dismiss()))
        own = (address, "blob:")
        page.on("request", lambda one: None if one.url.startswith(own) else opened.requests.append(one.url))
        if name == "many":
            png = cv2.imencode(".png", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
            page.route("**/image/*", lambda route: route.fulfill(body=png, content_type="image/png"))
        page.goto(address + path)
        page.wait_for_selector("#plot svg.main-svg" if path.startswith("video") else ".cell img")
        return opened

    yield open_page
    for context in contexts:
        context.close()


def count(page: Any, text: str) -> None:
    """Wait until the page counts so many crops; its policy lets no test evaluate text again and again."""
    page.locator("#count", has_text=text).wait_for()


def focused(page: Any, sample_id: str) -> None:
    """Wait until the keyboard is at a crop."""
    page.locator(f".cell:focus[title='{sample_id}']").wait_for()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
@pytest.mark.parametrize("path", ["?filter=label%3D1", "video?id=f"])
def test_pages_are_drawn_without_errors_or_other_hosts(gallery: Open, path: str, width: int, scheme: str) -> None:
    opened = gallery(path, width=width, scheme=scheme)
    page = opened.page
    page.wait_for_load_state("networkidle")
    assert (opened.told, opened.requests) == ([], [])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "Array.from(document.images).filter(one => !one.complete || !one.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert HOSTILE.replace("\x1b", "\\x1b") in page.inner_text("body")
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "video?id=f"])
def test_axe_finds_no_serious_violation(gallery: Open, path: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra `browser` is not installed")
    page = gallery(path, scheme=scheme).page
    for open_dialog in (False, True):
        if open_dialog:
            page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
            page.locator(".cell, .frames button").first.click()
            page.wait_for_selector("dialog[open] .frame polygon")
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_filter_and_order(gallery: Open) -> None:
    opened = gallery()
    page = opened.page
    count(page, "24 of 24 crops")
    page.get_by_label("Filter").fill("label=1 frame_index<=4")
    count(page, "3 of 24 crops")
    page.get_by_label("Sort by").select_option("frame_index")
    page.get_by_label("falling").check()
    page.locator(".cell:first-child", has_text="frame_index 4").wait_for()
    assert [cell.split()[-1] for cell in page.locator(".cell .says").all_inner_texts()] == ["4", "2", "0"]
    page.get_by_label("Filter").fill("metod=real")
    page.wait_for_selector("#problem:not(:empty)")
    assert "did you mean 'method'" in page.inner_text("#problem")
    page.get_by_label("Filter").fill("detector_score>0.5")
    count(page, "1 of 24 crops")
    assert page.inner_text("#problem") == ""


def test_a_selection_by_keyboard_is_a_list_that_datasets_take(gallery: Open, staged: Staged, tmp_path: Path) -> None:
    page = gallery().page
    page.keyboard.press("/")
    page.locator("#filter:focus").wait_for()
    page.keyboard.type("label=0")
    count(page, "18 of 24 crops")
    page.keyboard.press("Escape")
    focused(page, "s-f000000-t0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("f")
    page.keyboard.press("ArrowDown")
    focused(page, "s-f000017-t0")  # seven further: one row
    page.keyboard.press("End")
    focused(page, "r-f000010-t0")
    page.keyboard.press("v")
    page.keyboard.press("Home")
    page.keyboard.press("f")
    page.keyboard.press("f")  # and off again
    assert page.locator(".cell[aria-pressed=true]").count() == 1 + 6
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .frame polygon")
    page.keyboard.press("ArrowRight")
    page.locator("#title", has_text="s-f000002-t0").wait_for()
    assert page.get_attribute("#pick", "aria-pressed") == "true"
    page.keyboard.press("Escape")
    focused(page, "s-f000002-t0")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save 2 selected").click()
    download.value.save_as(tmp_path / "ids.txt")
    assert (tmp_path / "ids.txt").read_text() == "r\ns-f000002-t0\n"
    assert len(open_split(staged.shards, "train", exclude=tmp_path / "ids.txt")) == 24 - 6 - 1
    page.reload()
    page.wait_for_selector(".cell[aria-pressed=true]")
    page.get_by_role("button", name="Clear").click()
    assert page.locator(".cell[aria-pressed=true]").count() == 0


def test_the_slider_lays_the_mask_over_fakes(gallery: Open) -> None:
    page = gallery().page
    page.get_by_label("Filter").fill("f-f000002-t0")
    count(page, "1 of 24")
    crop = page.locator(".cell .crop").first

    def pixels() -> np.ndarray:
        page.wait_for_load_state("networkidle")
        return cv2.imdecode(np.frombuffer(crop.screenshot(), np.uint8), cv2.IMREAD_COLOR).astype(int)

    page.keyboard.press("Escape")
    before = pixels()
    page.locator("#opacity").fill("100")
    page.wait_for_timeout(300)
    covered = pixels()
    red = (covered[..., 2] > 200) & (covered[..., :2].max(axis=2) < 90)
    assert 0.1 < red.mean() < 0.5
    assert red[red.shape[0] // 2, red.shape[1] // 2]
    assert np.abs(covered - before)[:10].mean() < 1  # outside the mask nothing changes
    page.locator("#opacity").fill("30")
    page.wait_for_timeout(300)
    assert np.abs(pixels() - covered)[red].mean() > 20


def test_a_crop_is_shown_on_its_frame_beside_its_original(gallery: Open) -> None:
    opened = gallery()
    page = opened.page
    page.get_by_label("Filter").fill("f-f000004-t0")
    count(page, "1 of 24")
    page.locator(".cell").first.click()
    page.wait_for_selector("dialog[open] .frame polygon")
    image, box = (page.locator(f".frame {name}").bounding_box() for name in ("img", ".box"))
    scale = image["width"] / 320
    shown = [box["x"] - image["x"], box["y"] - image["y"], box["width"], box["height"]]
    assert [length / scale for length in shown] == pytest.approx([24, 60, 110, 110], abs=2)
    assert page.locator(".frame .point").count() == 5
    assert "r-f000004-t0" in page.inner_text("#crops")
    values = dict(row.split("\t")[:2] for row in page.inner_text("#values").splitlines() if "\t" in row)
    assert (values["frame_index"], values["source_id"]) == ("4", "r")
    assert opened.told == []


def test_a_timeline_says_why_a_video_has_few_samples(gallery: Open) -> None:
    opened = gallery("video?id=r")
    page = opened.page
    assert "6 of the 12 frames looked at gave none: no face 3, too small 3." in page.inner_text("#summary")
    plot = page.locator("#plot")
    rows = plot.evaluate("plot => plot.data.filter(one => one.yaxis === 'y').map(one => [one.y[0], one.x])")
    assert rows == [["track 0", [0, 2, 4, 6, 8, 10]], ["no face", [13, 15, 17]], ["too small", [19, 21, 23]]]
    cut, least = plot.evaluate("plot => plot.layout.shapes")
    assert (cut["x0"], cut["x1"], least["y0"], least["y1"]) == (17.5, 17.5, 40, 40)
    points = page.locator("#plot .scatterlayer .trace .point")
    points.first.scroll_into_view_if_needed()
    place = points.first.bounding_box()
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    page.wait_for_selector("dialog[open] .frame polygon")
    assert page.inner_text("#title") == "Frame 0: track 0"
    page.get_by_role("button", name="Close").click()
    page.get_by_text("Frames as a list").click()
    page.get_by_role("button", name="21 too small").click()
    page.wait_for_selector("dialog[open] .frame .found")
    assert page.inner_text("#title") == "Frame 21: too small"
    assert opened.told == []


def test_videos_with_few_samples_are_found(gallery: Open) -> None:
    page = gallery().page
    page.get_by_text("Videos with the fewest samples").click()
    page.locator("#fewest li:nth-child(2)", has_text="r 6").wait_for()
    page.locator("#fewest li", has_text="e 0").get_by_role("link").click()
    page.locator("#summary", has_text="no face 12").wait_for()
    page.go_back()
    page.get_by_text("Videos with the fewest samples").click()
    page.locator("#fewest li", has_text="r 6").get_by_role("link").click()
    page.locator("#summary", has_text="too small 3").wait_for()
    page.get_by_role("link", name="its crops").click()
    count(page, "6 of 24 crops")


def test_a_detectors_scores_are_on_the_timeline(gallery: Open) -> None:
    page = gallery("video?id=f").page
    layout = page.evaluate("document.getElementById('plot').layout")
    shown = [value["title"]["text"] for name, value in sorted(layout.items()) if name.startswith("yaxis")]
    assert shown == ["frames", "detection score", "face size, px", "mask coverage", "detector's score"]
    last = page.evaluate("document.getElementById('plot').data.at(-1)")
    assert (last["x"], last["y"]) == ([0, 2], pytest.approx([0.9, 0.1]))


def test_a_video_that_is_not_there_is_one_sentence(gallery: Open, addresses: dict[str, str]) -> None:
    page = gallery().page
    page.goto(addresses["staged"] + "video?id=<b>nobody</b>")
    page.wait_for_selector("#problem:not(:empty)")
    assert "This dataset has no video <b>nobody</b>" in page.inner_text("#problem")


def test_long_lists_scroll_to_their_end_with_few_elements(gallery: Open) -> None:
    opened = gallery(name="many")
    page = opened.page
    count(page, "300,000 of 300,000 crops")
    assert page.evaluate("document.getElementById('cells').offsetHeight") == 8_000_000
    page.locator(".cell").first.focus()
    page.keyboard.press("End")
    page.wait_for_selector(".cell[title='ffpp-real-c23-009370-f000279-t0'], .cell[title$='-c23-009374-f000279-t0']")
    last = page.locator(".cell:focus")
    assert last.get_attribute("title").endswith("-c23-009374-f000279-t0")
    box = last.bounding_box()
    assert box["y"] + box["height"] <= 800
    page.keyboard.press("ArrowUp")
    assert page.locator(".cell:focus").get_attribute("title").endswith("f000216-t0")  # seven before: one row
    frames = page.evaluate(
        """async () => {
          const list = document.getElementById("list"), times = [];
          for (let i = 0, before = performance.now(); i < 60; i++) {
            list.scrollTop = list.scrollHeight * i / 60;
            await new Promise(requestAnimationFrame);
            times.push(performance.now() - before);
            before = performance.now();
          }
          return times;
        }"""
    )
    assert np.median(frames) < 50  # milliseconds, on a machine that does other work too
    page.wait_for_selector(".cell img")
    assert page.locator(".cell").count() < 120
    assert opened.told == []
