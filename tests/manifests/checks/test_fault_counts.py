"""Intact datasets, and faults of many rows."""

import pytest

from facemill.manifests.checks.verify import verify
from tests.manifests.small_dataset import Parts


@pytest.mark.parametrize("format_name", ["parquet", "webdataset"])
def test_a_sound_dataset_has_no_fault_and_nothing_odd(tmp_path, format_name):
    report = verify(Parts().write(tmp_path, format_name, state=True), threads=2)
    assert (report.problems, report.warnings) == ((), ())


def test_many_rows_of_one_fault_are_one_problem(tmp_path):
    parts = Parts()
    for position in range(9):
        parts.change(position, image_sha256="0" * 63 + str(position))
    [problem] = verify(parts.write(tmp_path), threads=2).problems
    assert (problem.check, problem.row, problem.more) == ("image_sha256", 0, 8)
    assert str(problem).endswith("differs from the recorded one, and 8 more like this.")
