"""The command line. Each command imports its dependencies when it runs, so that `--help` is fast."""

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from facemill import ClusterError, FacemillError, __version__
from facemill.pipeline.commands import about, dataset, judging, manifest, showing, training, watching
from facemill.pipeline.commands.interrupts import interrupts
from facemill.pipeline.commands.printing import echo
from facemill.pipeline.commands.reproduce import reproduce
from facemill.pipeline.commands.shared import Exit

__all__ = ["app", "main"]

app = typer.Typer(
    name="facemill",
    rich_markup_mode=None,  # plain help: importing rich would take longer than everything else
    help="Turn raw deepfake video datasets into verified, training-ready face datasets.",
    epilog="Exit codes: 0 done, 1 internal error, 2 wrong usage or input, 3 too many failures or a damaged dataset, "
    "4 interrupted (run the same command again to continue).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

_COMMANDS: tuple[Callable[..., None], ...] = (
    *(manifest.merge, manifest.check, manifest.degrade),
    *(dataset.build, watching.status),
    *(dataset.verify, showing.audit, dataset.inspect, showing.report, showing.view, dataset.export),
    *(training.train, judging.evaluate, judging.compare, judging.metrics),
    *(judging.score, training.explain, training.import_checkpoint, training.export_model, reproduce),
    *(about.datasets, about.recipes, about.detectors, about.demo),
)
app.command(cls=manifest.ScanCommand)(manifest.scan)
for _command in _COMMANDS:
    app.command()(_command)
app.add_typer(training.experiments, name="experiments")

TYPER_INTERRUPTED = 130  # exit code that typer gives a KeyboardInterrupt
_debug = False


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    global _debug
    _debug = debug


def _end(code: Exit, message: str) -> NoReturn:
    if _debug:
        traceback.print_exc()
    echo(message, err=True)
    sys.exit(code)


def main() -> None:
    """Entry point: prints every error as one sentence, and exits with a documented code."""
    interrupts.listen()
    logging.getLogger("facemill").propagate = False  # already printed; a library may let the root logger print too
    try:
        app()
    except SystemExit as ending:
        if ending.code == TYPER_INTERRUPTED or (interrupts.heard and ending.code):
            _end(Exit.INTERRUPTED, interrupts.advice)
        raise
    except BaseException as error:
        if interrupts.heard or isinstance(error, KeyboardInterrupt):
            _end(Exit.INTERRUPTED, interrupts.advice)
        _end(*_ending(error))


def _ending(error: BaseException) -> tuple[Exit, str]:
    """The exit code and the message for an error."""
    if isinstance(error, ClusterError):
        return Exit.INTERRUPTED, f"Error: {error}"
    if isinstance(error, FacemillError):
        return Exit.USAGE, f"Error: {error}"
    if isinstance(error, ModuleNotFoundError):
        return Exit.USAGE, f'Error: this command needs the package {error.name}: pip install "facemill[train,demo]".'
    if isinstance(error, OSError) and error.strerror:  # filename may be None, for example when a disk is full
        return Exit.USAGE, f"Error: {'' if error.filename is None else f'{error.filename}: '}{error.strerror}."
    fault = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):
        return Exit.USAGE, f"Error: there is too little memory ({fault}): give it more, and run the same command again."
    return Exit.INTERNAL_ERROR, f"Internal error ({fault}): run `facemill --debug …` and report what it prints."
