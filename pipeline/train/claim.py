"""Claim of a run's folder: a new run, one that goes on, or one that is extended."""

from pathlib import Path

from facemill import ConfigError
from facemill.manifests.storage import sha256_of
from facemill.pipeline.runs.folder import CONFIG_FILE, MODEL_FILE, RunConfig, read_config, write_config

__all__ = ["claim_folder", "with_initial_weights"]


def claim_folder(out: Path, config: RunConfig, *, resume: bool) -> str | None:
    """Write the run's configuration into a new folder, or check that the run in it is the same but for more epochs.

    Returns:
        one sentence on what stays, if the run is extended; its configuration is then rewritten.

    Raises:
        ConfigError: if the folder holds something else, another run, or the same and it is not to be resumed.
    """
    if not (out / CONFIG_FILE).is_file():
        if out.is_dir() and any(out.iterdir()):
            raise ConfigError(f"{out} is not empty and holds no training run: choose another --out.")
        write_config(out, config)
        return None
    if not resume:
        raise ConfigError(f"{out} holds a training run: add --resume to go on with it, or choose another --out.")
    earlier = read_config(out)
    # A dataset may have been moved: its hash is compared, not its path. Changed code is told, not refused.
    same = {name: getattr(earlier, name) for name in ("data", "crop", "recipe", "init_from", "code")}
    if config.init_sha256 is None:
        same["init_sha256"] = earlier.init_sha256
    config = config.model_copy(update=same)
    before, epochs = earlier.train.epochs, config.train.epochs
    longer = earlier.model_copy(update={"train": earlier.train.model_copy(update={"epochs": max(before, epochs)})})
    if config != longer:
        changed = [key for key in RunConfig.model_fields if getattr(config, key) != getattr(longer, key)]
        raise ConfigError(
            f"The run in {out} was started with different settings ({', '.join(changed)}): "
            f"use those of {out / CONFIG_FILE} to resume it (train.epochs may be higher), or choose another --out."
        )
    if epochs == before:
        return None
    write_config(out, config)
    return (
        f"The run in {out} is extended from {before} to {epochs} epochs: weights, optimiser state and log.csv stay; "
        f"{_schedule(config, before)}"
    )


def _schedule(config: RunConfig, before: int) -> str:
    s = config.train.schedule
    if s.name == "cosine":
        return f"from now on the learning rate follows a cosine of {config.train.epochs} epochs, not {before}."
    if s.name == "step":
        return f"the learning rate is still multiplied by {s.gamma:g} every {s.every} epochs."
    return "the learning rate stays constant."


def with_initial_weights(config: RunConfig, run: Path) -> RunConfig:
    """Add to a configuration that the weights start from those of a finished run.

    Raises:
        ConfigError: if there is no such run.
    """
    read_config(run)
    weights = run / MODEL_FILE
    if not weights.is_file():
        raise ConfigError(f"The run in {run} has not finished: continue it with `facemill train … --resume` first.")
    return config.model_copy(update={"init_from": str(run.absolute()), "init_sha256": sha256_of(weights)})
