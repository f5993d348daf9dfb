"""Averaged weights, and sharpness-aware steps."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facemill import ConfigError
from facemill.detectors.forgery import load_model
from facemill.pipeline.evaluate.scores import read_scores
from facemill.pipeline.train import train
from facemill.pipeline.train.optimizers import at_the_worst
from tests.pipeline.train.tiny import Tiny, recipe, use

DECAY = 0.8
RADIUS = 0.05


class Recorded(Tiny):
    """Writes down its weights and statistics after each step, and those that score."""

    after: list[dict[str, Tensor]]
    scored: list[dict[str, Tensor]]

    def after_step(self) -> None:
        self.after.append({name: value.clone() for name, value in self.state_dict().items()})

    def forward(self, images: Tensor) -> Any:
        if not self.training:
            self.scored.append({name: value.clone() for name, value in self.state_dict().items()})
        return super().forward(images)


def trained(toy: Path, out: Path, *settings: str, **options: Any) -> type[Recorded]:
    Recorded.after, Recorded.scored = [], []
    with pytest.MonkeyPatch.context() as patch:
        train(use(patch, Recorded), [toy], out, recipe(*settings), progress=False, **options)
    return Recorded


def close(found: dict[str, Tensor], expected: dict[str, np.ndarray], names: Any = None) -> None:
    for name, value in expected.items():
        if names is None or name in names:
            np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-5, atol=1e-7, err_msg=name)


def averaged(states: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """The moving average by its definition, in double precision, beginning with the first state."""
    result = {name: value.double().numpy() for name, value in states[0].items() if value.is_floating_point()}
    for state in states[1:]:
        result = {name: DECAY * old + (1 - DECAY) * state[name].double().numpy() for name, old in result.items()}
    return result


def test_validated_and_released_is_the_average_of_all_steps(toy: Path, tmp_path: Path) -> None:
    run = trained(toy, tmp_path, f"train.average={DECAY}", "train.epochs=1")
    expected = averaged(run.after)
    close(run.scored[0], expected)
    with pytest.MonkeyPatch.context() as patch:
        use(patch, Tiny)
        close(load_model(tmp_path).state_dict(), expected)
    assert not torch.allclose(run.after[-1]["conv.weight"], run.scored[0]["conv.weight"])
    assert np.isfinite(read_scores(tmp_path / "validation.parquet")["logit"].to_numpy()).all()


def test_a_resumed_average_goes_on_from_where_it_was(toy: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained(toy, whole, f"train.average={DECAY}")
    trained(toy, parts, f"train.average={DECAY}", "train.epochs=1")
    trained(toy, parts, f"train.average={DECAY}", resume=True)
    assert (whole / "log.csv").read_bytes() == (parts / "log.csv").read_bytes()
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()


def test_a_run_is_not_continued_with_another_average(toy: Path, tmp_path: Path) -> None:
    trained(toy, tmp_path / "run", "train.epochs=1")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    with pytest.raises(ConfigError, match="different settings"):
        trained(toy, tmp_path / "copy", f"train.average={DECAY}", resume=True)


class Bowl(nn.Module):
    """A loss whose gradient is known everywhere: sum of scale * weight**2 / 2, and a count of evaluations."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, -4.0], dtype=torch.float64))
        self.other = nn.Parameter(torch.tensor([[12.0]], dtype=torch.float64))
        self.idle = nn.Parameter(torch.ones(2))
        self.register_buffer("evaluated", torch.zeros(()))

    def forward(self) -> Tensor:
        self.evaluated += 1
        return (self.weight**2).sum() / 2 + (self.other**2).sum() / 2


def test_gradients_are_those_of_the_highest_place_within_the_radius() -> None:
    bowl = Bowl()
    bowl().backward()
    with at_the_worst(bowl, 1.3):
        assert bowl.weight.grad is None
        bowl().backward()
    # The gradient at w is w, of norm 13 over both: the worst place is w + 1.3 w / 13, where the gradient is 1.1 w.
    assert bowl.weight.tolist() == [3, -4]
    np.testing.assert_allclose(bowl.weight.grad, [3.3, -4.4], rtol=1e-9)
    np.testing.assert_allclose(bowl.other.grad, [[13.2]], rtol=1e-9)
    assert bowl.idle.tolist() == [1, 1]
    assert bowl.evaluated == 1


def test_a_sharpness_aware_step_by_hand(toy: Path, tmp_path: Path) -> None:
    """Of two runs that differ in this only, the first step is compared with one computed from the batch itself."""
    plain = ("train.epochs=1", "train.optimizer.name=sgd", "train.optimizer.betas=[0,0]", "train.optimizer.lr=0.5")
    images: list[tuple[Tensor, Tensor]] = []

    class Watched(Recorded):
        def forward(self, batch: Tensor) -> Any:
            if self.training:
                images.append((batch.clone(), self.conv.weight.detach().clone()))
            return super().forward(batch)

    with pytest.MonkeyPatch.context() as patch:
        Watched.after, Watched.scored = [], []
        settings = recipe(f"train.sharpness={RADIUS}", *plain)
        train(use(patch, Watched), [toy], tmp_path / "run", settings, progress=False)
    steps = len(Watched.after)
    assert len(images) == 2 * steps
    for (first, at_first), (second, at_second) in zip(images[::2], images[1::2], strict=True):
        assert torch.equal(first, second)  # the same crops, augmented alike
        assert not torch.equal(at_first, at_second)
    moved = [  # by the radius over all weights, of which these are some
        float((there - here).norm()) for (_, here), (_, there) in zip(images[::2], images[1::2], strict=True)
    ]
    assert max(moved) <= RADIUS * 1.001
    assert max(moved) > RADIUS / 100
    assert [int(state["norm.num_batches_tracked"]) for state in Watched.after] == list(range(1, steps + 1))


def test_sharpness_and_accumulation_go_together(toy: Path, tmp_path: Path) -> None:
    run = trained(toy, tmp_path, f"train.sharpness={RADIUS}", "train.accumulate=2", "train.epochs=1", "train.batch=6")
    assert len(run.after) == 3
    assert [int(state["norm.num_batches_tracked"]) for state in run.after] == [2, 4, 6]
