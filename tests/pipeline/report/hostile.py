"""A small dataset whose names try to be markup, scripts, formulas and escape sequences."""

import dataclasses
from pathlib import Path

from tests.manifests.small_dataset import Parts

MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
ESCAPES = "\x1b]0;title\x07\u202eevil"
HOSTILE = f"{MARKUP}{ESCAPES}%{{x}}<a href='javascript:alert(3)'>&amp;"
LONG = "a-long-name-" * 20


def write_hostile(root: Path) -> Path:
    """Methods, paths, subjects and messages are hostile; ids and splits are what a build accepts."""
    parts = Parts()
    for position, sample in enumerate(parts.samples):
        if sample.record.label:
            parts.change(position, method=HOSTILE, subject_ids=(HOSTILE,))
    parts.videos = [
        dataclasses.replace(video, method=HOSTILE if video.label else video.method, path=f"{HOSTILE}.mp4")
        for video in parts.videos
    ]
    parts.failures = [dataclasses.replace(parts.failures[0], message=f"=1+1 {HOSTILE} {LONG}")]
    return parts.write(root)
