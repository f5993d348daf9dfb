"""Which decoded frames are intact: by the decoder's errors, by keyframes' headers, and by a second decoder."""

__all__: list[str] = []
