"""Initial weights of a run from another run: everything that fits, by name and shape."""

from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from facemill import ConfigError, DetectorError
from facemill.detectors.forgery import ForgeryDetector, create
from facemill.detectors.forgery.backbones import Backbone, Stages
from facemill.pipeline.runs.folder import MODEL_FILE, RunConfig, read_config

__all__ = ["InitialWeights", "start_from"]

_STEM = "stages.0.0.weight"  # of every backbone


class InitialWeights(NamedTuple):
    """A detector with weights of another run.

    Attributes:
        taken: names of its tensors that have the run's values.
        own: names of those that do not.
        unused: names of the run's tensors that it did not take.
    """

    detector: ForgeryDetector
    taken: list[str]
    own: list[str]
    unused: list[str]

    def describe(self, run: Path) -> str:
        """A sentence on what was taken, and the modules that were not."""
        if not (self.own or self.unused):
            return f"Weights start from those of {run}; optimiser, learning rate and epochs start anew."
        parts = [f"{len(self.taken)} tensors start from those of {run}"]
        if self.own:
            parts.append(f"not in it, or of another shape: {', '.join(_modules(self.own))}")
        if self.unused:
            parts.append(f"not used of it: {', '.join(_modules(self.unused))}")
        return f"{'; '.join(parts)}. Optimiser, learning rate and epochs start anew."


def start_from(config: RunConfig, run: Path) -> InitialWeights:
    """Create a run's detector and load what fits of another run's released weights.

    A layer is taken as a whole, if all of its tensors have the same names and shapes in both; every backbone, whatever
    it is called, also takes the layers of the other detector's (first) backbone, and none if that is another network.
    Pretrained weights of the backbone are only read if a layer of it is not taken.

    Raises:
        ConfigError: if no convolution or linear layer fits.
        DetectorError: if the weights are damaged.
    """
    path = run / MODEL_FILE
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DetectorError(f"{path} cannot be loaded ({error}): train again.") from None
    alone = {name: value for name, value in {"pretrained": False, "weights": None}.items() if name in config.options}
    detector = create(config.detector, **{**config.options, **alone})
    sources = _sources(detector, state, same_backbone=_network(read_config(run)) == _network(config))
    if any(name.startswith(tuple(_backbones(detector))) for name in detector.state_dict() if name not in sources):
        detector = create(config.detector, **config.options)
    if not any(state[source].ndim > 1 for source in sources.values()):
        raise ConfigError(f"No layer of the run in {run} fits {config.detector}: start from another run.")
    detector.load_state_dict({name: state[source] for name, source in sources.items()}, strict=False)
    own, used = detector.state_dict(), set(sources.values())
    return InitialWeights(
        detector,
        taken=list(sources),
        own=[name for name in own if name not in sources],
        unused=[name for name in state if name not in used],
    )


def _network(config: RunConfig) -> str:
    return str(config.options.get("backbone")).partition(".")[0]  # without the tag of its weights


def _sources(detector: ForgeryDetector, state: dict[str, Tensor], *, same_backbone: bool) -> dict[str, str]:
    """Name in `state` for each tensor of the detector that it has a fitting one for."""
    other = next((name.removesuffix(_STEM) for name in state if name.endswith(_STEM)), None)
    backbones = _backbones(detector)
    inside = tuple(backbones)
    sources: dict[str, str] = {}
    for name, module in detector.named_modules():
        prefix = f"{name}." if name else ""
        if not same_backbone and prefix.startswith(inside):
            continue  # layers of another network fit by chance
        own = {part: tensor for part, tensor in module.state_dict().items() if "." not in part}
        places = [prefix]
        if other is not None:
            places += [
                other + theirs + prefix.removeprefix(ours)
                for ours, theirs in backbones.items()
                if prefix.startswith(ours)
            ]
        for place in places:
            if all(place + part in state and state[place + part].shape == own[part].shape for part in own):
                sources |= {prefix + part: place + part for part in own}
                break
    return sources


def _backbones(detector: ForgeryDetector) -> dict[str, str]:
    """Where each backbone, or stage of one, is: prefix in the detector to prefix in a backbone."""
    places = {}
    for name, module in detector.named_modules():
        if isinstance(module, Backbone):
            places[f"{name}."] = ""
        elif isinstance(module, Stages):
            places |= {f"{name}.{index}.": f"stages.{module.first + index}." for index in range(len(module))}
    return places


def _modules(names: list[str]) -> list[str]:
    """The shortest prefixes of two parts of tensors' names, in order, without repetition."""
    return list(dict.fromkeys(".".join(name.split(".")[:2]) if name.count(".") > 1 else name for name in names))
