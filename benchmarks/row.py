"""One line of the benchmark table."""

from dataclasses import dataclass

__all__ = ["Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of facemill compared with that of a named baseline, measured in the same run.

    Attributes:
        ratio: the result of the comparison; `what` says what it means.
        target: design target, such as `>= 2`; empty if there is none.
        details: both figures, with units.
    """

    benchmark: str
    what: str
    ratio: float
    target: str = ""
    details: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the ratio meets the target; None if there is no target."""
        if not self.target:
            return None
        sign, bound = self.target.split()
        return self.ratio >= float(bound) if sign == ">=" else self.ratio <= float(bound)
