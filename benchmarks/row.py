"""One line of the benchmark table."""

from dataclasses import dataclass

__all__ = ["Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of ours beside that of a named baseline, measured in the same run.

    Attributes:
        ratio: how it is compared; what it means stands in `what`.
        target: the design's own, such as `>= 2`; empty where there is none.
        details: the two figures, with their unit.
    """

    benchmark: str
    what: str
    ratio: float
    target: str = ""
    details: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the ratio meets the target; None where there is none."""
        if not self.target:
            return None
        sign, bound = self.target.split()
        return self.ratio >= float(bound) if sign == ">=" else self.ratio <= float(bound)
