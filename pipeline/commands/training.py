"""The commands that train and explain forgery detectors."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facemill import ConfigError
from facemill.pipeline.commands.interrupts import interrupts
from facemill.pipeline.commands.logfile import keep_log
from facemill.pipeline.commands.places import free_file, free_folder, free_names, local_path
from facemill.pipeline.commands.printing import echo, echo_json
from facemill.pipeline.commands.shared import AsJson, Data, Device, MayOverwrite, Overrides, Quiet, Run, Split, Workers

if TYPE_CHECKING:
    from facemill.pipeline.config.recipe import Recipe
    from facemill.pipeline.train.trials import RateLoss

__all__ = ["experiments", "explain", "export_model", "import_checkpoint", "train"]

LOG_FILE = "train.log"


def train(
    detector: Annotated[str, typer.Argument(help="See `facemill detectors`; or your own, as module:Class.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the run.", parser=local_path)],
    recipe: Annotated[
        str | None, typer.Option(help="Recipe whose train section is used; by default the detector's.")
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")] = False,
    device: Device = "auto",
    devices: Annotated[int | None, typer.Option(min=1, help="GPUs to train on (DDP); by default all.")] = None,
    workers: Workers = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Run the detector through torch.compile.")] = False,
    init_from: Annotated[
        Path | None, typer.Option(help="Finished run, of any detector, from whose weights to start.", parser=local_path)
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Use the fakes of these methods only, and all reals.", metavar="A,B")
    ] = None,
    without: Annotated[str | None, typer.Option(help="Leave out the fakes of these methods.", metavar="A,B")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Train once with each seed, in seed-0, seed-1, ... of --out.", metavar="0,1,2")
    ] = None,
    limit: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the crops to use, for a first look.")
    ] = None,
    overfit: Annotated[
        int | None, typer.Option(min=2, help="Train and validate on this many crops: does the loss fall?")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="One step of everything, saving included; writes nothing to --out.")
    ] = False,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Print the loss over growing learning rates; writes nothing to --out.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train a forgery detector and keep the weights of the best validation AUC.

    --resume continues a run, and extends it if train.epochs is higher.
    """
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from facemill.pipeline.config.recipe import available_recipes, load_recipe
    from facemill.pipeline.train.trials import dry_run as try_run
    from facemill.pipeline.train.trials import find_rates

    page = recipe or (detector if detector in available_recipes() else "default")
    names = {"methods": methods, "without": without}
    values: dict[str, object] = {name: None if text is None else text.split(",") for name, text in names.items()}
    values |= {"limit": limit, "overfit": overfit}
    more = [f"train.{name}={json.dumps(value)}" for name, value in values.items() if value is not None]
    settings = load_recipe(page, [*(overrides or ()), *more], purpose="train")
    interrupts.advice = "Interrupted: nothing was written."
    if find_lr:
        _print_rates(find_rates(detector, data, settings, device=device, workers=workers or 0))
        return
    options: dict[str, Any] = {"device": device, "devices": devices, "workers": workers}
    options |= {"compiled": compiled, "init_from": init_from}
    if dry_run:
        try_run(detector, data, settings, progress=False, **options)
        if rank_zero_only.rank == 0:
            echo("dry run: a step, a validation batch, saving and loading worked")
        return
    interrupts.advice = "Interrupted: the same command with --resume continues from the last finished epoch."
    if seeds is None:
        _train(detector, data, out, settings, resume=resume, progress=not quiet, **options)
        return
    runs = _seed_folders(out, seeds, device, devices)
    if not resume:
        free_folder(out, is_own=lambda folder: False)
    for seed, run_folder in runs.items():
        seeded = settings.model_copy(update={"seed": seed})
        _train(detector, data, run_folder, seeded, resume=resume, progress=not quiet, **options)


def _train(detector: str, data: list[Path], out: Path, settings: "Recipe", *, resume: bool, **options: Any) -> None:
    """Train one run, and print its best epoch."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from facemill.pipeline.runs.folder import CONFIG_FILE
    from facemill.pipeline.train import train as run

    if not (resume or "LOCAL_RANK" in os.environ):  # in a DDP run, the first process has checked
        if (out / CONFIG_FILE).exists():
            raise ConfigError(f"{out} contains a training run: add --resume to continue it, or choose another --out.")
        free_folder(out, is_own=lambda folder: False)
    if rank_zero_only.rank == 0:
        keep_log(out / LOG_FILE, mark=out / CONFIG_FILE)
    report = run(detector, data, out, settings, resume=resume, **options)
    if not report.is_global_zero:
        return
    shown = ", ".join(f"{name} {value:.4f}" for name, value in report.metrics.items() if name.startswith("val_"))
    echo(f"best of {report.epochs} epochs is {report.best_epoch + 1}: {shown} -> {report.run}")


def _seed_folders(out: Path, seeds: str, device: str, devices: int | None) -> dict[int, Path]:
    """The runs' folders by seed.

    Raises:
        ConfigError: for seeds that are no numbers, or on several devices, which start the command again for each.
    """
    from facemill.pipeline.runs.folder import seed_folder
    from facemill.pipeline.train.device import count_processes, uses_gpu

    words = seeds.split(",")
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise ConfigError(f"--seeds {seeds} is no list of different whole numbers: write 0,1,2.")
    if count_processes(devices, on_gpu=uses_gpu(device)) != (1, 1):
        raise ConfigError(
            f"--seeds trains on one device: use --devices 1, or train each seed by a command of its own, with --set "
            f"seed={words[0]} --out {seed_folder(out, int(words[0]))}."
        )
    return {int(word): seed_folder(out, int(word)) for word in words}


def import_checkpoint(
    detector: Annotated[str, typer.Argument(help="mat, etd or sia.")],
    file: Annotated[Path, typer.Argument(help="A checkpoint of the authors' code.", metavar="FILE", parser=local_path)],
    out: Annotated[Path, typer.Option(help="Folder of the run.", parser=local_path)],
) -> None:
    """Make a run folder from a checkpoint of a detector's authors, to evaluate and explain it.

    Tensors of the file that have no place in the detector are listed. Only tensors are read, never code.
    """
    from facemill.pipeline.train.imported import import_checkpoint as run

    released = run(detector, file, free_folder(out, is_own=lambda folder: False))
    for name in released.left_over:
        echo(f"left over: {name}")
    echo(f"{len(released.placed)} tensors placed, {len(released.left_over)} left over -> {out}")


def export_model(
    run: Run,
    out: Annotated[Path, typer.Option(help="File to write: FILE.onnx, or FILE.pt2.", parser=local_path)],
    overwrite: MayOverwrite = False,
) -> None:
    """Export a trained detector as one file for other programs: ONNX, or a program of `torch.export`.

    Input: `crops`, uint8 [B, 3, SIDE, SIDE], RGB, framed as the run's training data, or clips [B, T, 3, SIDE, SIDE].
    Output: log-odds of fake [B].
    Side, framing and version are in the file's metadata. The file's scores are compared with the detector's.
    """
    from facemill.detectors.forgery.exported import export_detector, is_exported
    from facemill.detectors.forgery.saved import describe_model, load_model
    from facemill.manifests.storage import write_atomically

    free_file(out, overwrite=overwrite, is_own=is_exported)
    about = describe_model(run)
    detector = load_model(run)
    write_atomically(out, export_detector(detector, out.suffix, about))
    size, clip = detector.input_spec.size, detector.input_spec.clip
    shape = ", ".join(map(str, ("B", *([] if clip is None else [clip]), 3, size, size)))
    echo(f"{about['detector']}: uint8 crops [{shape}] -> {out}")


def _print_rates(found: "list[RateLoss]") -> None:
    from facemill.pipeline.train.trials import steepest

    echo("learning rate   loss")
    for rate, loss in found[:: max(len(found) // 20, 1)]:
        echo(f"{rate:13.2e}   {loss:.4f}")
    best = steepest(found)
    echo("the loss does not fall" if best is None else f"the loss falls fastest at {best:.2e}")


def explain(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the contact sheets.", parser=local_path)],
    split: Split = "test",
    samples: Annotated[int, typer.Option(min=1, help="Crops shown, spread over the methods.")] = 12,
    seed: Annotated[int, typer.Option(help="Seed of the random choice of crops.")] = 0,
    device: Device = "auto",
    overwrite: MayOverwrite = False,
) -> None:
    """Draw what a trained detector attends to: Grad-CAM and the maps of its paper, over crops."""
    from facemill.detectors.device import resolve_device
    from facemill.own_code import changes
    from facemill.pipeline.data import FaceDataset
    from facemill.pipeline.figures.explain import draw_explanations
    from facemill.pipeline.figures.sheet import is_sheet
    from facemill.pipeline.runs import load_run

    free_names(out, "explanations-*.png", overwrite=overwrite, is_own=is_sheet)
    names = [folder.resolve().name for folder in data]
    if len(set(names)) < len(names):
        raise ConfigError(f"Two datasets have the same name ({', '.join(names)}): explain them one at a time.")
    detector, config = load_run(run)
    for change in changes(config.code):
        echo(f"Note: {change}", err=True)
    for folder, name in zip(data, names, strict=True):
        into = out / name if len(data) > 1 else out
        faces = FaceDataset(folder, split, **detector.options.sampling)
        for sheet in draw_explanations(detector, faces, into, rows=samples, seed=seed, device=resolve_device(device)):
            echo(f"contact sheet -> {sheet}")


experiments = typer.Typer(help="List the rows of the papers' tables; `reproduce` runs them.", no_args_is_help=True)


@experiments.command("list")
def list_experiments(
    prefix: Annotated[str, typer.Argument(help="Only names with this prefix, such as mat/table5.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the experiments with the papers' figures."""
    from facemill.pipeline.experiments import all_experiments

    chosen = [experiment for experiment in all_experiments() if experiment.name.startswith(prefix)]
    if not chosen:
        raise ConfigError(f"No experiment's name starts with {prefix!r}: see `facemill experiments list`.")
    if as_json:
        echo_json([asdict(experiment) for experiment in chosen])
        return
    for experiment in chosen:
        echo(f"{experiment.name:<44} {experiment.summary()}")


@experiments.command("show")
def show_experiment(name: Annotated[str, typer.Argument(help="Name of an experiment.")]) -> None:
    """Show one experiment: its training and test data, its options, and the commands that run it."""
    from facemill.pipeline.experiments import find_experiment

    for line in find_experiment(name).lines():
        echo(line)
