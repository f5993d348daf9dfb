"""The page "How faithful?" names what exists, and its figures are those of the papers and of the networks."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from docs.faithful import PLAIN, Entry, faults, page, read_entries
from facemill.pipeline.experiments import all_experiments
from facemill.pipeline.experiments.measure import count_size
from facemill.registry import FORGERY_DETECTORS

ENTRIES = read_entries()
STATEMENT = {
    "at": "Eq. 1",
    "says": "something",
    "code": ["detectors.forgery.etd.network:ETD.explain", "pipeline/config/recipes/etd.yaml"],
    "tests": ["tests/test_faithful.py::test_everything_that_it_names_exists"],
}


def entry(**values: Any) -> dict[str, Entry]:
    statement = {**STATEMENT, **values}
    return {**ENTRIES, "etd": Entry.model_validate({"paper": "a paper", "statements": [statement]})}


def test_everything_that_it_names_exists() -> None:
    assert list(faults(ENTRIES)) == []
    assert list(faults(entry())) == []


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"code": ["detectors.forgery.etd.network:ETD.explained"]}, "detectors.forgery.etd.network:ETD.explained"),
        ({"code": ["detectors.forgery.etd.nothing:ETD"]}, "detectors.forgery.etd.nothing:ETD"),
        ({"code": ["pipeline/config/recipes/none.yaml"]}, "pipeline/config/recipes/none.yaml"),
        ({"tests": ["tests/test_faithful.py::test_nothing"]}, "test tests/test_faithful.py::test_nothing"),
        ({"tests": ["tests/test_nowhere.py::test_page"]}, "test tests/test_nowhere.py::test_page"),
        ({"tests": ["tests/test_faithful.py::entry"]}, "test tests/test_faithful.py::entry"),  # no test
    ],
)
def test_what_does_not_exist_is_told(values: dict[str, Any], missing: str) -> None:
    wrong = entry(**values)
    assert list(faults(wrong)) == [f"etd, Eq. 1: there is no {missing}."]
    with pytest.raises(ValueError, match=re.escape(missing)):
        page(wrong)


def test_every_detector_of_a_paper_has_an_entry() -> None:
    assert {"etd", "f3net", "lrl", "mat", "recce", "sia", "sola", "spsl"} == set(FORGERY_DETECTORS) - PLAIN
    for name in set(FORGERY_DETECTORS) - PLAIN:
        without = {other: one for other, one in ENTRIES.items() if other != name}
        assert list(faults(without)) == [f"The detector {name} has no entry in docs/faithful."]


@pytest.mark.parametrize("values", [{"tests": []}, {"code": []}, {"page": 3}])
def test_a_statement_has_code_and_tests_and_nothing_else(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        entry(**values)


def test_every_equation_of_the_papers_that_defines_the_method_is_in_it() -> None:
    """Numbers of the equations; ETD's others derive Eqs. 8 and 12."""
    expected = {"etd": {8, 11, 12, 13}, "lrl": set(range(1, 14)), "mat": set(range(1, 8)), "sia": set(range(1, 10))}
    expected["sola"] = set(range(1, 13))
    for name, numbers in expected.items():
        found: set[int] = set()
        for statement in ENTRIES[name].statements:
            for first, last in re.findall(r"Eqs?\. (\d+)\w*(?: (?:to|and) (?:Eq\. )?(\d+))?", statement.at):
                found |= set(range(int(first), int(last or first) + 1))
        assert numbers <= found, name


def test_sizes_of_the_papers_are_those_of_their_tables() -> None:
    """A size that is said to be the paper's is in an experiment's row, whose figures are checked elsewhere."""
    rows = [experiment for experiment in all_experiments() if "parameters M" in str(experiment)]
    for name in ("etd", "sia"):
        text = " ".join(str(row) for row in rows if row.name.startswith(f"{name}/"))
        figures = [figure for size in ENTRIES[name].sizes for figure in re.findall(r"([\d.]+) [MG]\b", size.paper)]
        assert figures
        for figure in figures:
            assert re.search(rf"\b{re.escape(figure.rstrip('0').rstrip('.'))}", text), figure


@pytest.mark.heavy
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_page_shows_sizes_counted_and_every_statement(every: bool) -> None:
    first = {name: one.model_copy(update={"sizes": one.sizes[:1]}) for name, one in ENTRIES.items()}
    text = page(ENTRIES if every else first)
    for figures in ("87.97 M, 14.66 G", "18.39 M, 4.90 G", "17.60 M, 2.91 G", "5.84 M, 14.12 G", "55.09 M, 7.08 G"):
        assert f"| {figures} |" in text
    assert ENTRIES["spsl"].sources in text
    if every:
        macs = count_size("etd", {"n": 7, "local_heads": True}, "macs").mean
        assert f"| 153.40 M, {macs:.2f} G |" in text
    for one in ENTRIES.values():
        for statement in one.statements:
            assert statement.says.replace("|", r"\|") in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert widths == {6, 7}
