"""Scores of any videos and images with a finished run, whose labels nobody knows."""

from facemill.pipeline.score.job import Scored, score

__all__ = ["Scored", "score"]
