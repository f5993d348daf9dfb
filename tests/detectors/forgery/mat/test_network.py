from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from facemill.detectors.forgery import ForgeryBatch, create_objective
from facemill.detectors.forgery.mat.losses import region_vectors
from facemill.detectors.forgery.mat.network import MAT, MATOptions
from tests.detectors.forgery.losses import loss_of
from tests.detectors.forgery.mat import loops

SIDE = 64


def small(**options: Any) -> MAT:
    return MAT(MATOptions(**{"backbone": "tinynet_e", "size": SIDE, **options}))


def some_batch(seed: int = 0) -> ForgeryBatch:
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return ForgeryBatch(image=images, label=torch.tensor([0.0, 1.0, 1.0, 0.0]))


@pytest.fixture(scope="module")
def trained() -> MAT:
    """A small network of the paper's full method, in eval mode."""
    torch.manual_seed(0)
    return small().eval()


def test_the_papers_network_has_its_parameters_and_shapes() -> None:
    with torch.device("meta"):
        detector = MAT(MATOptions()).eval()
        parameters = sum(parameter.numel() for parameter in detector.parameters())
        assert parameters == pytest.approx(18.4e6, rel=0.01)
        for side, grid, shallow in ((380, 24, 95), (256, 16, 64)):
            output = detector(torch.empty(2, 3, side, side))
            assert output.logit.shape == output.score.shape == (2,)
            assert output.attentions.shape == (2, 4, grid, grid)
            assert output.pooled.shape == (2, 32, grid, grid)
            taps = detector.backbone.taps(torch.empty(1, 3, side, side), (2, 5, 8))
            assert [tuple(tap.shape[1:]) for tap in taps] == [
                (32, shallow, shallow),
                (160, grid, grid),
                (1792, grid // 2, grid // 2),
            ]
    assert detector.input_spec.size == 380


@pytest.mark.parametrize(
    ("backbone", "channels"),
    [
        ("tf_efficientnet_b4", {"L2": 32, "L3": 56, "L4": 112, "L5": 160}),
        ("legacy_xception", {"L2": 128, "L3": 256, "L4": 728, "L5": 728}),
        ("tinynet_e", {"L2": 16, "L3": 24, "L4": 40, "L5": 56}),
    ],
)
def test_taps_of_every_backbone(backbone: str, channels: dict[str, int]) -> None:
    with torch.device("meta"):
        for texture, attention in (("L2", "L4"), ("L3", "L5")):
            options = MATOptions(backbone=backbone, texture_tap=texture, attention_tap=attention)  # type: ignore[arg-type]
            detector = MAT(options).eval()
            convolution = detector.attention[0]
            assert isinstance(convolution, nn.Conv2d)
            assert convolution.in_channels == channels[attention]
            output = detector(torch.empty(1, 3, 128, 128))
            assert output.pooled.shape[:2] == (1, channels[texture])
            assert output.attentions.shape[2:] == (8, 8)


@pytest.mark.parametrize("heads", [1, 2, 3, 5])
def test_number_of_attentions(heads: int) -> None:
    alone: dict[str, str] = {"loss": "none", "agda": "none"} if heads == 1 else {}
    detector = small(num_attentions=heads, **alone).eval()
    with torch.no_grad():
        assert detector(some_batch().images).attentions.shape == (4, heads, 4, 4)


@pytest.mark.parametrize("options", [{}, {"agda": "none"}, {"loss": "ams", "agda": "none"}, {"loss": "none"}])
def test_a_single_attention_takes_neither_region_loss_nor_augmentation(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="loss=none and agda=none"):
        MATOptions(num_attentions=1, **options)


@pytest.mark.parametrize(
    ("loss", "agda", "terms"),
    [
        ("none", "none", {"classification"}),
        ("ams", "none", {"classification", "ams"}),
        ("ril", "hard", {"classification", "ril", "agda"}),
        ("ril", "soft", {"classification", "ril", "agda"}),
    ],
)
def test_a_training_step_of_every_loss(loss: str, agda: str, terms: set[str]) -> None:
    torch.manual_seed(0)
    detector, batch = small(loss=loss, agda=agda), some_batch()
    found = loss_of(detector, batch)
    assert set(found.terms) == terms
    torch.testing.assert_close(found.total, torch.stack(list(found.terms.values())).sum())
    found.total.backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_classification_is_the_cross_entropy_of_two_classes(trained: MAT) -> None:
    batch = some_batch()
    logits: list[Tensor] = []
    hook = trained.classifier.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
    with torch.no_grad():
        terms = loss_of(trained, batch).terms
    hook.remove()
    torch.testing.assert_close(terms["classification"], nn.functional.cross_entropy(logits[0], batch.labels.long()))
    assert set(terms) == {"classification", "ril"}  # nothing is augmented in eval mode


def test_the_head_gets_the_regions_textures_and_the_attended_last_map_of_the_kept_heads() -> None:
    """P and G by loops from the maps that went in; a dropped head is missing from both."""
    torch.manual_seed(1)
    detector = small(attention_dropout=0.5)
    seen: dict[str, Tensor] = {}
    watched = {"texture": detector.texture, "last": detector.backbone.stages[-1]}
    for name, module in watched.items():
        module.register_forward_hook(lambda _m, _i, output, name=name: seen.update({name: output}))
    for name, module in {"matrix": detector.local_projection, "mean": detector.global_projection}.items():
        module.register_forward_pre_hook(lambda _m, inputs, name=name: seen.update({name: inputs[0]}))
    with torch.no_grad():
        attentions = detector(some_batch().images).attentions.double().numpy()
    texture, last = seen["texture"][0].double().numpy(), seen["last"].double().numpy()
    kept = seen["matrix"].norm(dim=-1).round().numpy()  # 2 where a head is kept, as half of them are dropped
    assert set(kept.flatten()) == {0, 2}
    for sample in range(4):
        matrix = loops.attention_pool(texture[sample], attentions[sample]) * kept[sample, :, None]
        np.testing.assert_allclose(seen["matrix"][sample], matrix, atol=1e-5)
        weights = loops.bilinear((attentions[sample] * kept[sample, :, None, None]).sum(0), 2, 2)
        mean = (last[sample] * weights).sum((1, 2)) / weights.sum()
        np.testing.assert_allclose(seen["mean"][sample], mean, atol=1e-4)


def test_the_second_pass_is_one_forward_and_leaves_the_centres() -> None:
    torch.manual_seed(0)
    detector, batch = small(), some_batch()
    seen: list[Tensor] = []
    detector.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    output = detector(batch.images)
    without = small(agda="none")
    without.load_state_dict(detector.state_dict())
    objectives = [create_objective(model) for model in (detector, without)]
    for model, objective in zip((detector, without), objectives, strict=True):
        loss_of(model, batch, output, objective)
        objective.after_step()
    one, other = (objective.region_loss.centres for objective in objectives)
    assert len(seen) == 2
    assert not seen[1].requires_grad
    assert not torch.equal(seen[1], batch.images)
    torch.testing.assert_close(one, other)
    vectors = region_vectors(output.pooled, output.attentions)
    torch.testing.assert_close(one, 0.05 * vectors.mean(0).detach())


@pytest.mark.parametrize("alive", [0, 1])
def test_dead_attention_heads_train_without_nan(alive: int) -> None:
    torch.manual_seed(0)
    detector, batch = small(attention_dropout=0.9), some_batch()
    norm = detector.attention[1]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.bias[alive:] = -100  # below zero everywhere: ReLU leaves nothing
    output = detector(batch.images)
    assert (output.attentions[:, alive:] == 0).all()
    found = loss_of(detector, batch, output)
    found.total.backward()
    assert found.total.isfinite()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in detector.parameters())


def test_the_rate_of_the_centres_decays_by_epoch() -> None:
    objective = create_objective(small())
    objective.after_epoch()
    objective.after_epoch()
    assert objective.state_dict()["region_loss.epochs"] == 2
    create_objective(small(loss="none")).after_epoch()


def test_explain_gives_every_attention_map(trained: MAT) -> None:
    images = some_batch().images
    with torch.no_grad():
        pictures = trained.explain(images)
        attentions = trained(images).attentions
    assert list(pictures) == ["attention 1", "attention 2", "attention 3", "attention 4"]
    for head, picture in enumerate(pictures.values()):
        torch.testing.assert_close(picture, attentions[:, head])


def test_a_prediction_does_not_depend_on_the_batch(trained: MAT) -> None:
    images = some_batch().images
    with torch.no_grad():
        together = trained(images).logit
        alone = torch.cat([trained(image[None]).logit for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_mixed_precision_trains_and_scores_alike(trained: MAT) -> None:
    images = some_batch().images
    with torch.no_grad():
        exact = trained(images).logit
        with torch.autocast("cpu", torch.bfloat16):
            mixed = trained(images).logit
    torch.testing.assert_close(mixed.float(), exact, atol=0.05, rtol=0)
    torch.manual_seed(0)
    detector, batch = small(), some_batch()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss_of(detector, batch)
    assert all(term.dtype == torch.float32 and term.isfinite() for term in found.terms.values())


@pytest.mark.parametrize("options", [{"num_attentions": 6}, {"num_attentions": 0}, {"size": 32}, {"agda": "medium"}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MATOptions(**options)
