"""Settings: recipes determine a dataset's bytes, training settings determine a run."""
