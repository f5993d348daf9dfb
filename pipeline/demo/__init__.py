"""A small FaceForensics++-shaped corpus, made on the spot: no download, no dataset agreement."""

from pipeline.demo.corpus import make_corpus
from pipeline.demo.run import run_demo

__all__ = ["make_corpus", "run_demo"]
