"""From a clip's frames to encoded face crops: detect, track, crop, mask, filter, encode."""

__all__: list[str] = []
