"""The commands of `facemill`, grouped by subject; `facemill.pipeline.commands.cli` assembles them."""

__all__: list[str] = []
