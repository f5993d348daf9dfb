"""Which decoded frames are intact.

FFmpeg conceals what it cannot decode: it hands out a smeared or black picture, flags some of them,
and flags none of the later ones that were predicted from it. How such a picture looks even depends on
the number of decoder threads. None of them belongs in a dataset, so a frame counts as decoded only
where every picture that it may be predicted from came out clean, back to the last keyframe.
"""

from collections import deque
from collections.abc import Collection, Iterator

__all__ = ["DamageTracker"]


class DamageTracker:
    """Decides about frames in decode order, as soon as every earlier one came out or was given up.

    Args:
        keyframes: display indices of the frames at which decoding can start.
        disposable: display indices of the frames that no other is predicted from.
        after_loss: display indices of the frames before whose packets others are missing.
    """

    def __init__(
        self, keyframes: Collection[int], disposable: Collection[int], after_loss: Collection[int] = ()
    ) -> None:
        self._keyframes = keyframes
        self._disposable = disposable
        self._after_loss = after_loss
        self._doubted: set[int] = set()
        self._waiting: deque[int] = deque()
        self._clean: dict[int, bool] = {}
        self._key = -1
        self._intact = True
        self._leading_intact = True

    def sent(self, index: int) -> None:
        """The packet of a frame went to the decoder."""
        self._waiting.append(index)

    def doubt(self, index: int) -> None:
        """The packet of a frame, the last one sent, is damaged, whatever comes out for it."""
        self._doubted.add(index)

    def arrived(self, index: int, *, clean: bool) -> None:
        """A frame came out of the decoder."""
        self._clean[index] = clean

    def settle(self, patience: int) -> Iterator[tuple[int, bool]]:
        """Display indices of the frames that can be decided by now, and whether each is intact.

        Args:
            patience: how many packets may be sent after that of a frame before the frame, still not
                out, is given up.
        """
        while self._waiting and (self._waiting[0] in self._clean or len(self._waiting) > patience):
            index = self._waiting.popleft()
            yield index, self._is_intact(index, self._clean.pop(index, False) and index not in self._doubted)

    def _is_intact(self, index: int, clean: bool) -> bool:
        if index in self._after_loss:
            self._intact = False
        if not clean:
            if index not in self._disposable:
                self._intact = False
            return False
        if index in self._keyframes:
            # Frames sent after an open keyframe but shown before it lean on the group before, too.
            self._key, self._leading_intact, self._intact = index, self._intact, True
            return True
        return self._intact and (index > self._key or self._leading_intact)
