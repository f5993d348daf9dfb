"""What is printed: text of files and users, made safe; lists; the pace of work."""

from collections.abc import Sequence
from datetime import timedelta

__all__ = ["pace", "printable", "shorten"]


def pace(done: float, total: float | None, seconds: float) -> str:
    """The rate and, with a total, the time left: `12.5/s  0:01:20 left`; empty before anything is done."""
    if not done:
        return ""
    left = "" if total is None else f"  {timedelta(seconds=round((total - done) * seconds / done))} left"
    return f"{done / max(seconds, 1e-3):.1f}/s{left}"


def printable(text: object) -> str:
    """Escape characters that do not print: escape sequences, line ends, direction marks, undecodable bytes."""
    shown = str(text)
    if shown.isprintable():  # at once, for long ones
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in shown)


def shorten(names: Sequence[str], shown: int = 5) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"
