"""Pages that show a built dataset, served to a browser of this machine: a gallery of crops and timelines of videos."""

__all__: list[str] = []
