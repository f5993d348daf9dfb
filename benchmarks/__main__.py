"""All benchmarks: `python -m benchmarks [NAME...] [--out DIR]`. Prints a table and writes `benchmarks.json`.

Every figure is a ratio to a named baseline that is measured in the same run.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from dask.system import CPU_COUNT
from rich.console import Console
from rich.table import Table

from benchmarks import (
    build,
    decoders,
    face_detectors,
    feeding,
    ffpp,
    forgery_detectors,
    gpu,
    intervals,
    learning,
    many_workers,
    masks,
    memory,
    planning,
    reporting,
    scanning,
    scoring,
    soak,
    training,
    viewing,
)
from benchmarks.clips import MEDIA, source_clip
from benchmarks.row import Row


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as build or forgery; default: all")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    options = parser.parse_args()
    scratch: Path = options.out
    scratch.mkdir(parents=True, exist_ok=True)
    benchmarks: dict[str, Callable[[], list[Row]]] = {
        "build": lambda: build.measure(scratch, device=device, cores=CPU_COUNT),
        "ffpp": lambda: ffpp.measure(scratch, cores=CPU_COUNT),
        "detectors": lambda: face_detectors.measure(source_clip(scratch), device=device),
        "decoders": lambda: decoders.measure(_videos(scratch)),
        "feeding": lambda: feeding.measure(scratch),
        "forgery": lambda: forgery_detectors.measure(device=device),
        "gpu": lambda: gpu.measure(scratch, cores=CPU_COUNT),
        "intervals": intervals.measure,
        "learning": lambda: learning.measure(scratch),
        "masks": masks.measure,
        "workers": lambda: many_workers.measure(scratch),
        "planning": lambda: planning.measure(scratch),
        "report": lambda: reporting.measure(scratch),
        "scanning": lambda: scanning.measure(scratch),
        "scoring": lambda: scoring.measure(scratch),
        "soak": lambda: soak.measure(scratch),
        "training": lambda: training.measure(scratch, device=device, workers=min(8, CPU_COUNT)),
        "viewing": lambda: viewing.measure(scratch),
        "memory": lambda: memory.measure(scratch),
    }
    if unknown := set(options.names) - set(benchmarks):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(benchmarks)}")
    rows = [row for name in options.names or benchmarks for row in benchmarks[name]()]
    (scratch / "benchmarks.json").write_text(
        json.dumps([asdict(row) | {"met": row.met} for row in rows], indent=1) + "\n"
    )
    _print(rows)


def _videos(scratch: Path) -> list[Path]:
    folder = MEDIA / "videos"
    return sorted(folder.iterdir()) if folder.is_dir() else [source_clip(scratch)]


def _print(rows: list[Row]) -> None:
    table = Table("benchmark", "what", "ratio", "target", "met", "figures")
    for row in rows:
        met = {True: "yes", False: "no", None: ""}[row.met]
        table.add_row(row.benchmark, row.what, f"{row.ratio:.2f}", row.target, met, row.details)
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
