"""F3-Net as a whole: its streams, where they are mixed, and its switches."""

from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from torch import Tensor

from facemill import ConfigError
from facemill.detectors.forgery.f3net.network import F3Net, F3NetOptions

ABLATION: dict[str, dict[str, Any]] = {
    "fad, fixed": {"lfs": False, "mix": False, "learnable": False},
    "fad": {"lfs": False, "mix": False},
    "lfs": {"fad": False, "mix": False},
    "both": {"mix": False},
    "whole": {},
}


def on_meta(**options: Any) -> F3Net:
    with torch.device("meta"):
        return F3Net(F3NetOptions(**options)).eval()


def small(**options: Any) -> F3Net:
    torch.manual_seed(0)
    return F3Net(F3NetOptions(**{"backbone": "tinynet_e", "size": 64, "positions": (3, 5), **options})).eval()


def images(count: int = 2, side: int = 64) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_streams_are_mixed_after_blocks_7_and_12_where_their_maps_have_one_size() -> None:
    detector = on_meta()
    seen: list[list[torch.Size]] = []
    for mix in detector.mixes.values():
        mix.register_forward_pre_hook(lambda _m, x: seen.append([one.shape for one in x]))
    ran: list[str] = []
    sides: list[int] = []
    for name, stream in detector.streams.items():
        for index, stage in enumerate(stream.stages):
            stage.register_forward_hook(lambda *_, at=f"{name} {index}": ran.append(at))
        stream.stages[0].register_forward_hook(lambda _m, _x, y: sides.append(y.shape[-1]))
    for at, mix in detector.mixes.items():
        mix.register_forward_hook(lambda *_, at=at: ran.append(f"mix {at}"))
    assert detector(torch.empty(2, 3, 299, 299, device="meta")).logit.shape == (2,)
    assert sides == [147, 145]
    assert seen == [[(2, 728, 19, 19)] * 2, [(2, 1024, 10, 10)] * 2]
    for at in (7, 12):
        assert ran.index(f"mix {at}") == ran.index(f"lfs {at}") + 1 == ran.index(f"fad {at}") + 2


def test_its_weights_are_those_of_two_xceptions_and_of_its_parts() -> None:
    with torch.device("meta"):
        whole = sum(
            w.numel() for name, w in timm.create_model("legacy_xception").named_parameters() if "fc" not in name
        )
    stems = 32 * 9 * (9 - 3) + 32 * 9 * (6 - 3)
    mixes = sum(4 * (channels**2 + channels) + 2 for channels in (728, 1024))
    expected = 2 * whole + stems + 3 * 299**2 + 6 * 10**2 + mixes + 4096 + 1
    assert sum(weight.numel() for weight in on_meta().parameters()) == expected


def test_streams_see_the_parts_of_the_image_and_the_statistics_of_its_luma() -> None:
    detector = small(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    seen: dict[str, Tensor] = {}
    for name, stream in detector.streams.items():
        stream.stages[0].register_forward_pre_hook(lambda _m, x, name=name: seen.update({name: x[0]}))
    crops = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    x = detector.input_spec.normalise(crops)
    with torch.no_grad():
        detector(x)
        torch.testing.assert_close(seen["fad"], detector.views["fad"](x))
        luma = 255 * (0.299 * crops[:, :1] + 0.587 * crops[:, 1:2] + 0.114 * crops[:, 2:])
        torch.testing.assert_close(seen["lfs"], detector.views["lfs"](luma), atol=1e-3, rtol=0)


@pytest.mark.parametrize("row", ABLATION)
def test_every_row_of_the_ablation_learns(row: str) -> None:
    detector = small(**ABLATION[row]).train()
    detector(images(3)).logit.square().sum().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in detector.parameters())
    assert list(detector.streams) == (["fad", "lfs"] if row in ("both", "whole") else [row.split(",")[0]])
    assert (len(detector.mixes) == 2) == (row == "whole")
    assert detector.classifier.in_features == 1280 * len(detector.streams)
    learned = [name for name, _ in detector.named_parameters() if name.startswith("views.")]
    assert learned == [] if "fixed" in row else [f"views.{name}.weights" for name in detector.streams]


def test_a_fourth_part_and_other_bands_widen_the_stems() -> None:
    detector = small(all_band=True, bands=4)
    assert [stream.stages[0][0].in_channels for stream in detector.streams.values()] == [12, 4]


@pytest.mark.parametrize("mix", [True, False])
def test_maps_that_differ_by_a_cell_are_brought_to_one_size(mix: bool) -> None:
    detector = small(mix=mix)
    sides: list[int] = []
    for stream in detector.streams.values():
        stream.stages[3].register_forward_hook(lambda _m, _x, y: sides.append(y.shape[-1]))
    with torch.no_grad():
        assert torch.isfinite(detector(images(1, 65)).logit).all()
    assert sides == [9, 8]


def test_switches_and_positions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="must be true"):
        F3NetOptions(fad=False, lfs=False)
    with pytest.raises(ValidationError, match="set mix=false"):
        F3NetOptions(lfs=False)
    with pytest.raises(ConfigError, match="no position 40: its last stage is 8"):
        small(positions=(3, 40))
