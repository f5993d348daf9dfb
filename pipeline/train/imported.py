"""`facemill import-checkpoint`: a run folder from a checkpoint of a detector's authors."""

from pathlib import Path

from safetensors.torch import save_model

from facemill import ConfigError, DetectorError
from facemill.detectors.forgery import options_of
from facemill.detectors.forgery.released import Released, convert
from facemill.detectors.weights import read_tensors
from facemill.manifests.storage import atomic_path, sha256_of
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.runs.folder import MODEL_FILE, RunConfig, write_config, write_model
from facemill.pipeline.train.card import write_imported_card

__all__ = ["import_checkpoint"]


def import_checkpoint(detector: str, file: str | Path, out: str | Path) -> Released:
    """Write a run folder, which can be evaluated and explained, with the weights of a released checkpoint.

    Only tensors are read from the file, never code. The run's training settings and crops are those of the detector's
    recipe; its list of training videos is unknown.

    Args:
        detector: `mat`, `etd` or `sia`.
        file: as the release's training script saves it: a state dict, or a dict that holds one as `state_dict`.
        out: the run's folder, new or empty.

    Raises:
        ConfigError: if `out` is not empty.
        DetectorError: if the file is missing or damaged, or not a checkpoint of this detector's release.
    """
    file, out = Path(file), Path(out)
    if not file.is_file():
        raise DetectorError(f"There is no file {file}: give a checkpoint of {detector}'s release.")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty: choose another --out.")
    released = convert(detector, read_tensors(file))
    recipe = load_recipe(detector)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / MODEL_FILE) as temporary:
        save_model(released.detector, str(temporary))
    config = RunConfig(
        detector=detector,
        options=options_of(detector, released.options).model_dump(mode="json"),
        train=recipe.train,
        seed=recipe.seed,
        data=(),
        dataset_sha256=(),
        crop=recipe.crop.model_dump(mode="json", exclude={"size"}),
        recipe=recipe.build_values(),
        init_from=str(file.absolute()),
        init_sha256=sha256_of(file),
    )
    write_model(out, config, released.detector)
    write_imported_card(out, config)
    write_config(out, config)
    return released
