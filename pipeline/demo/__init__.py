"""A small FaceForensics++-shaped corpus, made on the spot: no download, no dataset agreement."""

from facemill.pipeline.demo.corpus import make_corpus
from facemill.pipeline.demo.run import run_demo

__all__ = ["make_corpus", "run_demo"]
