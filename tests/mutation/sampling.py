"""The mutants that are tried: a seeded sample of those that mutmut makes."""

import re
from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import NamedTuple

import libcst
from mutmut.mutation.file_mutation import Mutation, create_mutations, deep_replace

from tests.mutation.equivalent import EQUIVALENT

__all__ = ["AREAS", "ROOT", "Mutant", "modules", "sample"]

ROOT = Path(__file__).parents[2]
AREAS = {
    "masks": ["masks"],
    "manifests": ["manifests"],
    "build": [f"pipeline/{name}" for name in ("build", "clips", "decode", "extract", "tracking")],
    "data": ["pipeline/data"],
}


class Mutant(NamedTuple):
    """A changed file; the change begins in `line`, which counts from 1."""

    area: str
    path: str
    line: int
    old: str
    new: str
    code: str


def modules(*areas: str) -> list[str]:
    """Paths of the modules of areas."""
    found = (path for area in areas for folder in AREAS[area] for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


@cache
def mutations_of(path: str) -> tuple[libcst.Module, list[Mutation]]:
    """Changes inside functions; texts with spaces are messages, whose words do not matter."""
    module, mutations, *_ = create_mutations(path, (ROOT / path).read_text())
    inside = [one for one in mutations if one.contained_by_top_level_function]
    return module, [one for one in inside if " " not in getattr(one.original_node, "raw_value", "")]


def mutant_of(area: str, path: str, rng: Random) -> Mutant | None:
    """One mutant of a file; None if there is none, or if it does the same."""
    module, mutations = mutations_of(path)
    if not mutations:
        return None
    mutation = rng.choice(mutations)
    changed = deep_replace(module, mutation.original_node, mutation.mutated_node)
    assert isinstance(changed, libcst.Module)
    sides = module.code.splitlines(), changed.code.splitlines()
    start = next(n for n, (one, other) in enumerate(zip_longest(*sides)) if one != other)
    same = next(n for n, (one, other) in enumerate(zip_longest(*map(reversed, sides))) if one != other)
    old, new = (" ".join(map(str.strip, side[start : max(len(side) - same, start + 1)])) for side in sides)
    return None if _effect(old) == _effect(new) else Mutant(area, path, start + 1, old, new, changed.code)


def _effect(line: str) -> str:
    """A line without `strict` and `non_blocking`, which change no result, and with None for False: both are false."""
    return re.sub(r",( (strict|non_blocking)=\w+)? *(?=\))", "", line).replace("=False", "=None")


def sample(count: int, seed: int) -> Iterator[Mutant]:
    """As many mutants of each area, of files drawn by their length; a small sample is the beginning of a large one.

    Equivalent ones are left out.
    """
    for area in AREAS:
        rng, paths = Random(f"{seed} {area}"), modules(area)
        lengths = [(ROOT / path).stat().st_size for path in paths]
        drawn: set[tuple[str, str, str]] = set()
        while len(drawn) < -(-count // len(AREAS)):
            [path] = rng.choices(paths, lengths)
            one = mutant_of(area, path, rng)
            if one is not None and (change := (one.path, one.old, one.new)) not in {*EQUIVALENT, *drawn}:
                drawn.add(change)
                yield one
