"""SIA as a whole: where its attentions stand, what they add, and its switches."""

from functools import cache
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from facemill import ConfigError
from facemill.detectors.forgery import ForgeryBatch
from facemill.detectors.forgery.plain import Plain, PlainOptions
from facemill.detectors.forgery.sia.attention import SelfInformationAttention
from facemill.detectors.forgery.sia.network import SIA, Position, SIAOptions
from tests.detectors.forgery.losses import loss_of


def on_meta(**options: Any) -> SIA:
    """Without data: for shapes and counts at full size."""
    with torch.device("meta"):
        return SIA(SIAOptions(**options)).eval()


def small(**options: Any) -> SIA:
    """Two million weights, on 64x64 pixels."""
    torch.manual_seed(0)
    return SIA(SIAOptions(backbone="tinynet_e", size=64, **options))


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@cache
def plain_weights(backbone: str) -> int:
    return weights(on_meta(backbone=backbone, attention="none"))


@pytest.mark.parametrize(
    ("backbone", "positions", "maps"),
    [
        ("tf_efficientnet_b4", None, [(32, 75), (56, 38), (160, 19)]),
        ("tf_efficientnet_b4", (2, 3, 4), [(32, 75), (56, 38), (112, 19)]),
        ("tf_efficientnet_b4", (4, 5, 6), [(112, 19), (160, 19), (272, 10)]),
        ("tf_efficientnet_b4", (2, 5, 7), [(32, 75), (160, 19), (448, 10)]),
        ("tf_efficientnet_b0", None, [(24, 75), (40, 38), (112, 19)]),
        ("legacy_xception", None, [(728, 19)]),
        ("legacy_xception.tf_in1k", None, [(728, 19)]),
        ("mobilenetv2_100", None, [(24, 75), (64, 19)]),
        ("mobilenetv2_100.ra_in1k", None, [(24, 75), (64, 19)]),
    ],
)
def test_attentions_stand_where_the_paper_puts_them(
    backbone: str, positions: tuple[Position, ...] | None, maps: list[tuple[int, int]]
) -> None:
    detector = on_meta(backbone=backbone, positions=positions)
    output = detector(torch.empty(2, 3, 299, 299, device="meta"))
    assert output.logit.shape == (2,)
    assert [information.shape for information in output.informations] == [(2, c, side, side) for c, side in maps]


def test_mobilenet_s_second_attention_follows_its_seventh_block() -> None:
    """The seventh of seventeen is the first of the four with 64 channels."""
    detector = on_meta(backbone="mobilenetv2_100")
    order: list[str] = []
    for stage in detector.backbone.stages[1:-1]:
        for block in stage:
            block.register_forward_hook(lambda *_: order.append("block"))
    for attention in detector.attentions:
        attention.register_forward_hook(lambda *_: order.append("attention"))
    detector(torch.empty(1, 3, 64, 64, device="meta"))
    assert order.count("block") == 17
    assert [order[:index].count("block") for index, name in enumerate(order) if name == "attention"] == [3, 7]


@pytest.mark.parametrize(
    ("options", "added"),
    [
        # W of Eq. 6: 32^2 + 56^2 + 160^2. Aggregation: 32 x 56, 32 x 160, 56 x 160 and two per normalised channel.
        ({}, 29_760 + 15_872 + 2 * (56 + 160 + 160)),
        ({"aggregation": False}, 29_760),
        ({"channel": False, "aggregation": False}, 0),
        ({"spatial": False, "aggregation": False}, 29_760),
        # Two layers, with biases, and C / 16 values between them: 2, 4 and 10.
        ({"attention": "se"}, 2 * (32 * 2 + 56 * 4 + 160 * 10) + (2 + 4 + 10) + 248),
        # Three embeddings and the way back: 2 C^2, their biases 2.5 C, normalisation 2 C.
        ({"attention": "nonlocal"}, 59_520 + 620 + 496),
        # Queries and keys of 512 channels each, values and the way back of C, embeddings of 64 values of distances up
        # to 74, 37 and 18 in columns and in rows, and two per normalised channel.
        ({"attention": "gsa"}, 248 * 1024 + 59_520 + 2 * 64 * (149 + 75 + 37) + 2 * (3 * 1024 + 3 * 248)),
        ({"attention": "none"}, 0),
    ],
)
def test_the_parts_add_as_many_weights_as_their_equations_say(options: dict[str, Any], added: int) -> None:
    assert weights(on_meta(**options)) - plain_weights("tf_efficientnet_b4") == added


def test_the_full_module_is_light() -> None:
    full = on_meta()
    assert weights(full.attentions) + weights(full.aggregations) == 46_384
    assert plain_weights("tf_efficientnet_b4") == 17_550_409  # timm's 19,341,616 with one class instead of a thousand


def test_without_attention_it_is_the_plain_backbone() -> None:
    bare = small(attention="none").eval()
    plain = Plain(PlainOptions(backbone="tinynet_e", size=64)).eval()
    plain.load_state_dict(bare.state_dict())
    with torch.no_grad():
        assert torch.equal(bare(images(2)).logit, plain(images(2)).logit)


def test_every_attention_gets_the_aligned_information_of_all_before_it() -> None:
    detector = small().eval()
    seen: dict[int, Tensor] = {}
    for index, attention in enumerate(detector.attentions):
        attention.register_forward_hook(lambda _, inputs, __, index=index: seen.update({index: inputs[0]}))
    came: dict[int, Tensor] = {}
    for index, stage in ((0, 2), (1, 3), (2, 5)):
        last = detector.backbone.stages[stage][-1]
        last.register_forward_hook(lambda _, __, output, index=index: came.update({index: output}))
    with torch.no_grad():
        informations = detector(images(2)).informations
        assert torch.equal(seen[0], came[0])
        for index in (1, 2):
            added = seen[index] - came[index]
            aligned = [
                nn.functional.interpolate(align(information), added.shape[2:], mode="bilinear")
                for align, information in zip(detector.aggregations[index].aligns, informations, strict=False)
            ]
            assert len(aligned) == index
            torch.testing.assert_close(added, sum(aligned), rtol=1e-4, atol=1e-4)


def test_without_aggregation_attentions_get_the_blocks_output_alone() -> None:
    detector = small(aggregation=False).eval()
    came, seen = [], []
    for stage in (2, 3, 5):
        detector.backbone.stages[stage][-1].register_forward_hook(lambda _, __, output: came.append(output))
    for attention in detector.attentions:
        attention.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    detector(images(2))
    assert [torch.equal(a, b) for a, b in zip(came, seen, strict=True)] == [True, True, True]


@pytest.mark.parametrize(
    "options", [{}, {"information_gradient": True}, {"attention": "se_nonlocal"}, {"attention": "gsa"}]
)
def test_every_weight_learns(options: dict[str, Any]) -> None:
    detector = small(**options).train()
    batch = ForgeryBatch(image=images(4), label=torch.tensor([0.0, 1.0, 0.0, 1.0]))
    loss = loss_of(detector, batch)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert [name for name, weight in detector.named_parameters() if weight.grad is None] == []
    assert all(torch.isfinite(weight.grad).all() for weight in detector.parameters())


def test_a_prediction_does_not_depend_on_the_rest_of_the_batch() -> None:
    detector = small().eval()
    pictures = images(4)
    with torch.no_grad():
        together = detector(pictures)
        alone = [detector(picture[None]) for picture in pictures]
    torch.testing.assert_close(together.logit, torch.cat([one.logit for one in alone]), rtol=1e-4, atol=1e-5)
    for index, information in enumerate(together.informations):
        separate = torch.cat([one.informations[index] for one in alone])
        torch.testing.assert_close(information, separate, rtol=1e-4, atol=1e-4)


def test_information_stays_exact_under_autocast() -> None:
    """bf16 would round it; what is left is the rounding of the features themselves."""
    detector = small(positions=(2,)).eval()
    features: list[Tensor] = []
    detector.attentions[0].register_forward_hook(lambda _, inputs, __: features.append(inputs[0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        information = detector(images(1)).informations[0]
    attention = detector.attentions[0]
    assert isinstance(attention, SelfInformationAttention)
    assert features[0].dtype == torch.bfloat16
    assert torch.equal(information, attention(features[0].float())[1])


def test_explain_shows_the_mean_information_at_each_position() -> None:
    detector = small(positions=(2, (4, 1), 5)).eval()
    with torch.no_grad():
        pictures = detector.explain(images(2))
        informations = detector(images(2)).informations
    assert list(pictures) == ["information 2", "information 4.1", "information 5"]
    for picture, information in zip(pictures.values(), informations, strict=True):
        torch.testing.assert_close(picture, information.mean(1))
    assert small(attention="se").eval().explain(images(1)) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"spatial": False, "channel": False}, "attends to nothing"),
        ({"attention": "se", "channel": False}, "apply only to the attention 'sia'"),
        ({"attention": "none", "aggregation": False}, "apply only to the attention 'sia'"),
        ({"attention": "none", "positions": (2,)}, "leave it out with attention 'none'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SIAOptions(**options)


@pytest.mark.parametrize("positions", [(0,), (9,), (-1,), ((3, 9),), ((3, 0),)])
def test_positions_that_the_backbone_does_not_have_are_refused(positions: tuple[Position, ...]) -> None:
    with pytest.raises(ConfigError, match=r"no position .*: choose among its stages 1 to 8"):
        on_meta(positions=positions)


@pytest.mark.parametrize("positions", [(3, 2), (2, 2), (2, (2, 4))])
def test_positions_out_of_order_are_refused(positions: tuple[Position, ...]) -> None:
    with pytest.raises(ConfigError, match="not in the backbone's order"):
        on_meta(positions=positions)


def test_a_backbone_that_the_paper_says_nothing_of_needs_positions() -> None:
    with pytest.raises(ConfigError, match="no position 5"):
        on_meta(backbone="resnet18")
    assert on_meta(backbone="resnet18", positions=(1, 3)).cuts == (6, 10)  # 4 in the stem, 2 in each layer


def test_a_fifth_of_the_pooled_features_is_dropped_in_training() -> None:
    """EfficientNet-B4's classifier, but for the share, which the paper gives."""
    detector = small()
    seen: list[Tensor] = []
    detector.dropout.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    detector.classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    detector.train()(images(8))
    pooled, kept = seen
    dropped = (kept == 0) & (pooled != 0)
    assert float(dropped.float().mean()) == pytest.approx(0.2, abs=0.03)
    torch.testing.assert_close(kept[~dropped], pooled[~dropped] / 0.8)
    detector.eval()(images(2))
    assert torch.equal(seen[2], seen[3])
