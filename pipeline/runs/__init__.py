"""Training runs as folders: what trains writes them, and what evaluates, scores and explains reads them."""

from facemill.pipeline.runs.folder import RunConfig, load_run

__all__ = ["RunConfig", "load_run"]
