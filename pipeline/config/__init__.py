"""Settings: recipes, which decide a dataset's bytes, and training settings, which decide a run."""

__all__: list[str] = []
