"""Text of files and users, made safe to print."""

from collections.abc import Sequence

__all__ = ["printable", "shorten"]

_SHOWN = 5
"""Names listed in a message."""


def printable(text: object) -> str:
    """Escape characters that do not print: escape sequences, line ends, direction marks, undecodable bytes."""
    shown = str(text)
    if shown.isprintable():  # at once, for long ones
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in shown)


def shorten(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
