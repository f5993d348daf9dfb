"""The field's figures for tracking: identity switches, IDF1 and MOTA, where it is known whom each detection shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class TrackingScore:
    """Figures of one or several clips (`+`).

    Attributes:
        switches: how often a person goes on under another id than the one last seen.
        mixed: tracks that show more than one person.
        id_hits: faces that the best one-to-one mapping of people to tracks explains.
        truth, found: faces that there are, and that were detected (false ones too).
        right: detected faces of people.
    """

    switches: int = 0
    mixed: int = 0
    id_hits: int = 0
    truth: int = 0
    found: int = 0
    right: int = 0

    def __add__(self, other: "TrackingScore") -> "TrackingScore":
        return TrackingScore(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def idf1(self) -> float:
        return 2 * self.id_hits / max(self.truth + self.found, 1)

    @property
    def mota(self) -> float:
        return 1 - (self.truth - self.right + self.found - self.right + self.switches) / max(self.truth, 1)


def score_tracks(truth: Sequence[Sequence[str]], linked: Sequence[Sequence[tuple[str | None, int]]]) -> TrackingScore:
    """Score the tracks of one clip.

    Args:
        truth: for each sampled frame the names of those who can be seen.
        linked: for each sampled frame who is shown (None: nobody) by each detection, and its track id.
    """
    switches = 0
    last: dict[str, int] = {}
    for frame in linked:
        for name, track_id in frame:
            if name is not None:
                switches += last.get(name, track_id) != track_id
                last[name] = track_id
    pairs = Counter(pair for frame in linked for pair in frame if pair[0] is not None)
    shown = Counter(track_id for _, track_id in pairs)
    return TrackingScore(
        switches=switches,
        mixed=sum(count > 1 for count in shown.values()),
        id_hits=_best_mapping(pairs),
        truth=sum(map(len, truth)),
        found=sum(map(len, linked)),
        right=sum(pairs.values()),
    )


def _best_mapping(pairs: Mapping[tuple[str | None, int], int]) -> int:
    names = sorted({str(name) for name, _ in pairs})
    ids = sorted({track_id for _, track_id in pairs})
    table = np.array([[pairs.get((name, track_id), 0) for track_id in ids] for name in names]).reshape(len(names), -1)
    rows, columns = linear_sum_assignment(-table)
    return int(table[rows, columns].sum())
