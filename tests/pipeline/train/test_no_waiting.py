"""A training step never makes the CPU wait for the GPU: checked without one, on tensors that have a device but no data.

Every read of a tensor's value, and every copy from or to the GPU that blocks, is an error. `tests/gpu` checks the same
on a GPU, with what needs one: the backward pass, the optimizer, noise and JPEG compression.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from facemill.detectors.forgery import ForgeryBatch, create
from facemill.pipeline.config.train_settings import AugmentSettings, TrainSettings
from facemill.pipeline.train.module import ForgeryModule
from facemill.pipeline.train.ranks import Means

NETWORKS = {
    "etd": {"size": 64, "backbone": "resnet18", "width": 8},
    "f3net": {"size": 80, "backbone": "tinynet_e", "positions": (3, 5)},
    "lrl": {"size": 160, "backbone": "resnet18"},
    "mat": {"size": 64, "backbone": "tinynet_e"},
    "recce": {"size": 64, "backbone": "tinynet_e", "stages": (4, 5, 6)},
    "sia": {"size": 64, "backbone": "tinynet_e"},
    "sola": {"size": 128, "supervision": "full"},
    "spsl": {"size": 64, "backbone": "tinynet_e", "drop": ()},
    "resnet18": {"size": 64},
    "temporal": {"size": 64, "backbone": "tinynet_e", "clip": 3},
    "video_resnet": {"size": 64, "clip": 3},
}
AUGMENT = AugmentSettings(flip=0.5, affine=1, jpeg=0, noise=0, blur=1, colour=1, gray=0.5, mixup=0.5)
SIDE, COUNT = 80, 4


class BlockingError(Exception):
    pass


class NoBlockingCopies(TorchDispatchMode):
    """Refuses copies between devices for which the CPU waits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name == "aten::_local_scalar_dense" and args[0].device.type == "cpu":
            return True if args[0].dtype == torch.bool else 1  # a check of values that never were on the GPU
        if name in ("aten::_to_copy", "aten::copy_"):
            source = args[-1 if len(args) == 1 else 1] if name == "aten::copy_" else args[0]
            target = args[0].device if name == "aten::copy_" else torch.device(kwargs.get("device") or source.device)
            quick = kwargs.get("non_blocking") or (name == "aten::copy_" and len(args) > 2 and args[2])
            if source.device.type != target.type and not (quick and target.type == "cuda"):
                here = [f"{f.filename}:{f.lineno}" for f in traceback.extract_stack() if "facemill" in f.filename]
                raise BlockingError(f"a copy from {source.device} to {target} at {here[-1:]}")
        return func(*args, **kwargs)


def put_on_gpu(module: nn.Module) -> None:
    """Replace all parameters and buffers by such as are said to be on a GPU."""
    moved: dict[int, Tensor] = {}
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in moved:
                    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")
                    learned = isinstance(tensor, nn.Parameter)
                    moved[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if learned else empty
                tensors[name] = moved[id(tensor)]


def batch_on_gpu(clip: int | None = None) -> ForgeryBatch:
    time = () if clip is None else (clip,)

    def empty(*shape: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(*shape, dtype=dtype, device="cuda")

    return ForgeryBatch(
        image=empty(COUNT, *time, 3, SIDE, SIDE, dtype=torch.uint8),
        mask=empty(COUNT, *time, 1, SIDE, SIDE, dtype=torch.uint8),
        label=empty(COUNT, dtype=torch.int64),
        has_mask=empty(COUNT, *time, dtype=torch.bool),
        index=empty(COUNT, dtype=torch.int64),
    )


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device: generator())
    with torch.backends.cudnn.flags(enabled=False), FakeTensorMode():  # some of cuDNN's functions cannot do without
        try:
            torch.empty(2, device="cuda")[:1]
        except torch.AcceleratorError:
            pytest.skip("this torch asks the driver also about tensors that do not exist, as 2.8 does")
        yield


def step(module: ForgeryModule, take: Callable[[], ForgeryBatch] = batch_on_gpu) -> Tensor:
    """A step of the training loop whose loss is not looked at, without the backward pass and the optimizer."""
    means = Means()
    with NoBlockingCopies():
        loss, terms = module(take, 0, 3)
        means.add({"train_loss": loss} | dict(terms), COUNT)
        module.after_step()
    return loss


@pytest.fixture
def module(request: pytest.FixtureRequest) -> ForgeryModule:
    name = getattr(request, "param", "resnet18")
    return ForgeryModule(create(name, **NETWORKS[name]), TrainSettings(augment=AUGMENT), seed=0).train()


@pytest.mark.heavy
@pytest.mark.parametrize("forgeries", ["sbi", "xray"])
def test_forgeries_do_not_wait(forgeries: Literal["sbi", "xray"], monkeypatch: pytest.MonkeyPatch) -> None:
    def take() -> ForgeryBatch:
        landmarks = torch.empty(COUNT, 5, 2, device="cuda")
        return batch_on_gpu().replace(landmarks=landmarks, subject=torch.empty(COUNT, dtype=torch.int64, device="cuda"))

    settings = TrainSettings(augment=AUGMENT, forgeries=forgeries)
    lrl = ForgeryModule(create("lrl", **NETWORKS["lrl"]), settings, seed=0).train()
    with pretended_gpu(monkeypatch):
        put_on_gpu(lrl)
        step(lrl, take)


@pytest.mark.heavy
@pytest.mark.parametrize("module", NETWORKS, indirect=True)
def test_no_network_waits_in_a_step(module: ForgeryModule, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu(monkeypatch):
        put_on_gpu(module)
        assert step(module, partial(batch_on_gpu, module.detector.input_spec.clip)).device.type == "cuda"


@pytest.mark.parametrize(
    "wait",
    [
        lambda batch: batch.labels.sum().item(),
        lambda batch: float(batch.images[0, 0, 0, 0]),
        lambda batch: bool((batch.labels == 1).any()),
        lambda batch: batch.labels.nonzero(),
        lambda batch: batch.images[batch.labels == 1],
        lambda batch: batch.labels.cpu(),
        lambda batch: torch.zeros(COUNT).to(batch.labels.device),
        lambda batch: batch.labels.copy_(torch.zeros(COUNT)),
    ],
    ids=["item", "float", "bool", "nonzero", "mask", "to the CPU", "from the CPU", "copy into"],
)
def test_what_waits_is_noticed(
    wait: Callable[[ForgeryBatch], object], module: ForgeryModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take() -> ForgeryBatch:
        batch = batch_on_gpu()
        wait(batch)
        return batch

    with pretended_gpu(monkeypatch):
        put_on_gpu(module)
        with pytest.raises((BlockingError, DataDependentOutputException, DynamicOutputShapeException)):
            step(module, take)
