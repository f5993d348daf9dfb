"""From a clip group's videos to encoded face crops: read, detect, track, crop, mask, filter, encode."""

__all__: list[str] = []
