"""The command that shows a dataset in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from facemill.pipeline.commands.interrupts import interrupts
from facemill.pipeline.commands.places import local_path
from facemill.pipeline.commands.printing import echo
from facemill.pipeline.commands.shared import Built, Roots

__all__ = ["view"]


def view(
    folder: Built,
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder of a finished evaluation, whose scores are shown.", parser=local_path)
    ] = None,
    roots: Roots = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of this machine; 0 for a free one.")] = 0,
    stop_after: Annotated[
        float | None, typer.Option(min=0, help="Stop if nothing is requested for so many seconds.", metavar="SECONDS")
    ] = None,
) -> None:
    """Show a dataset in a browser: a gallery to filter, sort and select from, and a timeline of each video.

    Prints the address to open, and serves it on this machine only, until Ctrl-C. Nothing is written. A selection is
    saved by the browser, as a list that `facemill build --exclude` takes.
    """
    import asyncio

    import pyarrow.compute as pc

    from facemill.pipeline.view.catalogue import Catalogue
    from facemill.pipeline.view.images import SourceFrames
    from facemill.pipeline.view.server import Viewed, serve

    interrupts.advice = "Interrupted: the pages are no longer served."
    scores = None
    if evaluation is not None:
        from facemill.pipeline.evaluate.evaluation import SCORES_FILE
        from facemill.pipeline.evaluate.scores import NO_CORRUPTION, read_scores

        table = read_scores(evaluation / SCORES_FILE)
        table = table.filter(pc.field("corruption") == NO_CORRUPTION)
        scores = table["sample_id"].combine_chunks(), table["score"].combine_chunks()
    catalogue = Catalogue(folder, scores)
    viewed = Viewed(catalogue, SourceFrames(folder, catalogue.info, roots or ()))
    echo(f"{len(catalogue):,} samples of {folder}, until Ctrl-C:")
    asyncio.run(serve(viewed, port=port, idle_s=stop_after, ready=echo))
