"""Mutants that change nothing that a test could see, each with the reason: path, old line, new line."""

EQUIVALENT: dict[tuple[str, str, str], str] = {}
