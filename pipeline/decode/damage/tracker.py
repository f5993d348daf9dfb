"""Which decoded frames are intact.

FFmpeg conceals errors: it returns a smeared or black frame, flags only some of these frames, and flags none of the
later frames that were predicted from them. The content of such a frame even depends on the number of decoder threads.
None of them belongs in a dataset, so a frame counts as decoded only if every frame that it may be predicted from,
back to the last keyframe, was decoded without an error.
"""

from collections import deque
from collections.abc import Collection, Iterator

__all__ = ["DamageTracker"]


class DamageTracker:
    """Classifies frames as intact or damaged, in decode order, as soon as all earlier ones are decoded or given up.

    Args:
        keyframes: display indices of the frames at which decoding can start.
        disposable: display indices of the frames that no other frame is predicted from.
        after_loss: display indices of the frames whose packets follow missing packets.
    """

    def __init__(
        self, keyframes: Collection[int], disposable: Collection[int], after_loss: Collection[int] = ()
    ) -> None:
        self._keyframes = keyframes
        self._disposable = disposable
        self._after_loss = after_loss
        self._damaged: set[int] = set()
        self._waiting: deque[int] = deque()
        self._settled: set[int] = set()
        self._clean: dict[int, bool] = {}
        self._key = -1
        self._intact = True
        self._leading_intact = True

    def sent(self, index: int) -> None:
        """Record that the packet of a frame was sent to the decoder."""
        self._waiting.append(index)

    def mark_damaged(self, index: int) -> None:
        """Record that the packet of a frame is damaged, also if the frame has no flag or is already classified."""
        self._damaged.add(index)
        if index in self._settled and index not in self._disposable:
            self._intact = self._leading_intact = False

    def arrived(self, index: int, *, clean: bool) -> None:
        """Record that a frame came out of the decoder."""
        self._clean[index] = clean

    def settle(self, patience: int) -> Iterator[tuple[int, bool]]:
        """Yield the display index of each frame that can be classified by now, and whether it is intact.

        Args:
            patience: number of packets sent after a frame's own packet before a frame that has not come out is
                given up.
        """
        while self._waiting and (self._waiting[0] in self._clean or len(self._waiting) > patience):
            index = self._waiting.popleft()
            self._settled.add(index)
            if index in self._keyframes:
                self._settled = {index}
            yield index, self._is_intact(index, self._clean.pop(index, False) and index not in self._damaged)

    def _is_intact(self, index: int, clean: bool) -> bool:
        if index in self._after_loss:
            self._intact = False
        if not clean:
            if index not in self._disposable:
                self._intact = False
            return False
        if index in self._keyframes:
            # Frames sent after an open-GOP keyframe but shown before it also depend on the previous group.
            self._key, self._leading_intact, self._intact = index, self._intact, True
            return True
        return self._intact and (index > self._key or self._leading_intact)
