"""What a page of tables says, in each format."""

import csv
import html
import re
from pathlib import Path

import pytest

from facemill.pipeline.experiments.measure import Measured
from facemill.pipeline.experiments.results import Line, Table, write_tables


@pytest.fixture
def page(tmp_path: Path) -> Path:
    lines = [
        Line("near", "FF++ c23 AUC", 98.3, Measured(97.9, 3, 0.4, (96.8, 99.0))),
        Line("far", "FF++ c23 AUC", 98.3, Measured(90.0, 3, 0.4, (88.9, 91.1))),
        Line("loss", "DFDC log-loss", 0.3379, Measured(0.34, 1, None, (0.33, 0.35))),
        Line("size", "parameters M", 87.97, Measured(87.969)),
        Line("other-size", "parameters M", 22.08, Measured(17.984)),
        Line("none", "FF++ c40 AUC", 90.0, None),
    ]
    tables = [Table("etd/table1", "A paper", "a_b & 5% <c>", lines, ["none: lacks a|b."])]
    [path] = write_tables(tables, tmp_path)
    return path


def test_a_difference_beyond_the_interval_is_marked(page: Path) -> None:
    rows = {row["row"]: row for row in csv.DictReader(page.with_suffix(".csv").read_text().splitlines())}
    marked = {name for name, row in rows.items() if row["deviates"] == "True"}
    assert marked == {"far", "other-size"}
    assert float(rows["far"]["difference"]) == pytest.approx(-8.3)
    assert rows["none"]["ours"] == rows["none"]["difference"] == ""


def test_a_row_with_an_interval_that_is_not_known_is_marked() -> None:
    assert Line("row", "FF++ c23 AUC", 98.3, Measured(98.3, 1, None, None)).deviates


def test_the_paper_ours_and_the_difference_stand_side_by_side(page: Path) -> None:
    text = page.read_text()
    assert "| far | FF++ c23 AUC | 98.3 | 90.00 | 0.40 | 88.90 to 91.10 | -8.30 | deviates |" in text
    assert "| loss | DFDC log-loss | 0.3379 | 0.3400 |  | 0.3300 to 0.3500 | +0.0021 |  |" in text
    assert "| none | FF++ c40 AUC | 90 | not measured |  |  |  |  |" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_text_is_escaped_in_each_format(page: Path) -> None:
    assert r"none: lacks a\|b." in page.read_text()
    latex = page.with_suffix(".tex").read_text()
    assert r"a\_b \& 5\% <c>" in latex
    assert latex.count(r"\begin") == latex.count(r"\end") == 2
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
    shown = page.with_suffix(".html").read_text()
    assert html.escape("a_b & 5% <c>") in shown
    assert shown.count(">deviates</td>") == 2
    assert "default-src 'none'" in shown
