"""What is written down of modules, the files of tests of a short run and mutants without effect, is still true."""

import json
from itertools import chain

from tests.mutation.choice import FILES_OF_MODULES
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.sampling import ROOT


def test_modules_and_their_files_of_tests_exist() -> None:
    chosen = json.loads(FILES_OF_MODULES.read_text())
    gone = [path for path in {*chosen, *chain(*chosen.values())} if not (ROOT / path).is_file()]
    assert not gone, f"Correct {FILES_OF_MODULES.name}, or make it anew: make mutants-files"


def test_lines_whose_mutants_have_no_effect_exist() -> None:
    gone = [line for path, line, _ in EQUIVALENT if line not in map(str.strip, (ROOT / path).read_text().splitlines())]
    assert not gone
