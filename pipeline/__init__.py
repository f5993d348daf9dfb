"""How frames flow: from a manifest and a recipe to shards of face crops.

`facemill.pipeline.build.build` is the main job; `facemill.pipeline.commands.cli` is the command line.
"""

__all__: list[str] = []
