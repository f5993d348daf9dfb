"""Text of files and users, made safe to print."""

__all__ = ["printable"]


def printable(text: object) -> str:
    """Escape characters that do not print: escape sequences, line ends, direction marks, undecodable bytes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))
