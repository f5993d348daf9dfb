"""Settings: recipes determine a dataset's bytes, training settings determine a run."""

__all__: list[str] = []
