from facemill.manifests.checks.facts_checks import ALIGNMENTS
from facemill.masks import AlignmentKind


def test_the_kinds_of_alignment_are_those_of_the_masks() -> None:
    assert set(ALIGNMENTS) == set(AlignmentKind)
