"""The files of tests that a short run takes for each module are there."""

import json
from itertools import chain

from tests.mutation.choice import FILES_OF_MODULES
from tests.mutation.sampling import ROOT


def test_modules_and_their_files_of_tests_exist() -> None:
    chosen = json.loads(FILES_OF_MODULES.read_text())
    gone = [path for path in {*chosen, *chain(*chosen.values())} if not (ROOT / path).is_file()]
    assert not gone, f"Correct {FILES_OF_MODULES.name}, or make it anew: make mutants-files"
