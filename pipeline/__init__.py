"""How frames flow: from a manifest and a recipe to shards of face crops.

`pipeline.build.build` is the main job; `pipeline.cli` is the command line.
"""

__all__: list[str] = []
