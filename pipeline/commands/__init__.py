"""What `facemill` can be told to do, by what it is about. `facemill.pipeline.commands.cli` puts it together."""

__all__: list[str] = []
