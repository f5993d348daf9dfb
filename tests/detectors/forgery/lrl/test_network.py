"""Local Relation Learning against loops in float64 written from the paper."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from facemill import ConfigError
from facemill.detectors.forgery import ForgeryBatch
from facemill.detectors.forgery.lrl.modules import patch_similarity
from facemill.detectors.forgery.lrl.network import LRL, LRLOptions
from tests.detectors.forgery.losses import loss_of

TABLE_4 = {
    "rgb": {"frequency": False, "rfam": False, "mpsm": False},
    "rgb-frequency": {"rfam": False, "mpsm": False},
    "rgb-frequency-rfam": {"mpsm": False},
    "rgb-mpsm": {"frequency": False, "rfam": False},
    "full": {},
}


def small(**options):
    torch.manual_seed(0)
    return LRL(LRLOptions(**{"backbone": "tinynet_e", "size": 64, "k": 2, **options}))


@pytest.fixture(scope="module")
def detector():
    """The whole model with normalisation statistics that are not those of birth."""
    model = small(size=96, k=3).train()
    with torch.no_grad():
        model(torch.randn(4, 3, 96, 96))
    return model.eval()


def images(count=2, side=96):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def cross_entropy(logit, label):
    return -(label * math.log(sigmoid(logit)) + (1 - label) * math.log(1 - sigmoid(logit)))


@pytest.fixture(scope="module")
def full_model():
    with torch.device("meta"):
        return LRL(LRLOptions()).eval()


def test_the_full_model_has_55_million_parameters(full_model):
    assert sum(weight.numel() for weight in full_model.parameters()) == pytest.approx(55e6, rel=0.01)


@pytest.mark.parametrize("side", [299, 320])
def test_shapes_at_the_paper_s_size_and_at_another(full_model, side):
    with torch.device("meta"):
        output = full_model(torch.empty(2, 3, side, side))
    assert output.logit.shape == (2,)
    assert output.features.shape == (2, 56 + 160 + 1792, 10, 10)
    assert output.similarity.shape == (2, 25, 25)
    assert full_model.decode(output, (side, side)).shape == (2, 1, side, side)


def test_taps_of_xception():
    with torch.device("meta"):
        model = LRL(LRLOptions(backbone="legacy_xception"))
    assert [model.rgb.channels[tap] for tap in model.taps] == [256, 728, 2048]


def test_attended_maps_go_on_and_their_sum_is_a_feature_map(detector):
    attended, entered = {}, {}
    hooks = []
    for tap in detector.taps[:-1]:
        hooks.append(
            detector.rfam[str(tap)].register_forward_hook(lambda _m, _x, y, tap=tap: attended.update({tap: y}))
        )
        for name in ("rgb", "frequency"):
            stage = getattr(detector, name).stages[tap + 1]
            hooks.append(stage.register_forward_pre_hook(lambda _m, x, at=(tap, name): entered.update({at: x[0]})))
    hooks.append(detector.multi_scale.register_forward_hook(lambda _m, x, _y: entered.update(maps=x[0])))
    detector(images())
    for hook in hooks:
        hook.remove()
    for position, tap in enumerate(detector.taps[:-1]):
        assert torch.equal(entered[tap, "rgb"], attended[tap][0])
        assert torch.equal(entered[tap, "frequency"], attended[tap][1])
        assert torch.equal(entered["maps"][position], attended[tap][0] + attended[tap][1])


def test_the_frequency_stream_sees_luma_without_its_low_frequencies(detector):
    seen = []
    hook = detector.frequency.stages[0].register_forward_pre_hook(lambda _m, x: seen.append(x[0]))
    x = images()
    detector(x)
    hook.remove()
    mean, std = (torch.tensor(values)[:, None, None] for values in (detector.input_spec.mean, detector.input_spec.std))
    levels = (x * std + mean).double() * 255
    luma = 0.299 * levels[:, 0] + 0.587 * levels[:, 1] + 0.114 * levels[:, 2]
    size = 96
    matrix = torch.tensor(
        [
            [math.sqrt((2 - (u == 0)) / size) * math.cos(math.pi * (2 * p + 1) * u / (2 * size)) for p in range(size)]
            for u in range(size)
        ],
        dtype=torch.float64,
    )
    spectrum = matrix @ luma @ matrix.T
    for u in range(size):
        for v in range(size):
            if u / size + v / size < 0.33:
                spectrum[:, u, v] = 0
    expected = matrix.T @ spectrum @ matrix / 255 / np.mean([0.229, 0.224, 0.225])
    torch.testing.assert_close(seen[0][:, 0].double(), expected, atol=1e-5, rtol=0)


def test_the_classifier_reads_the_flattened_similarity(detector):
    output = detector(images())
    flat = output.similarity.detach().double().numpy().reshape(2, 81)
    weight, bias = (value.detach().double().numpy() for value in detector.classifier.parameters())
    np.testing.assert_allclose(output.logit.detach(), flat @ weight[0] + bias[0], atol=1e-5)


@pytest.mark.parametrize("row", TABLE_4)
def test_every_row_of_table_4_learns_from_its_losses(row):
    model = small(**TABLE_4[row])
    x = images(3, 64)
    batch = ForgeryBatch(
        image=x,
        label=torch.tensor([0.0, 1, 1]),
        mask=torch.rand(3, 1, 64, 64),
        has_mask=torch.tensor([True, True, False]),
    )
    loss = loss_of(model, batch)
    loss.total.backward()
    assert ("similarity" in loss.terms) == ("mpsm" in row or row == "full")
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in model.parameters())
    channels = sum(model.rgb.channels[tap] for tap in model.taps)
    width = {"rgb": 1280, "rgb-frequency": 2560, "rgb-frequency-rfam": 1280, "rgb-mpsm": channels, "full": channels}
    assert model.decoder[1].in_channels == width[row]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rgb": False, "frequency": False, "rfam": False}, "must be true"),
        ({"frequency": False}, "set rfam=false"),
        ({"rgb": False}, "set rfam=false"),
    ],
)
def test_switches_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        LRLOptions(**options)


def test_sizes_without_k_patches_are_refused(detector):
    with pytest.raises(ConfigError, match="4x4 cannot be divided into 5x5"):
        small(size=128, k=5)
    with pytest.raises(ConfigError, match="4x4 cannot be divided into 3x3"):
        detector(images(1, 128))


def test_loss_against_equations_9_to_13(detector):
    rng = np.random.default_rng(3)
    masks = (rng.random((4, 1, 96, 96)) > 0.6).astype(np.float32)
    masks[0] = 0
    masks[3, :, :60] = 1
    labels, known = [0.0, 1.0, 1.0, 1.0], [True, True, False, True]
    batch = ForgeryBatch(
        image=images(4), label=torch.tensor(labels), mask=torch.from_numpy(masks), has_mask=torch.tensor(known)
    )
    with torch.no_grad():
        output = detector(batch.images)
        loss = loss_of(detector, batch, output)
        logits = detector.decode(output, (96, 96)).double().numpy()
    chosen = [index for index in range(4) if known[index]]
    classification = np.mean([cross_entropy(logit, y) for logit, y in zip(output.logit.tolist(), labels, strict=True)])
    q = 1 / (1 + np.exp(-logits[chosen]))
    mask = np.mean(-(masks[chosen] * np.log(q) + (1 - masks[chosen]) * np.log(1 - q)))
    errors = []
    for index in chosen:
        p = [masks[index, 0, y : y + 32, x : x + 32].mean(dtype=np.float64) for y in (0, 32, 64) for x in (0, 32, 64)]
        found = output.similarity[index].tolist()
        errors += [(1 - (p[i] - p[j]) ** 2 - found[i][j]) ** 2 for i in range(9) for j in range(9)]
    expected = {"classification": classification, "mask": mask, "similarity": np.mean(errors)}
    assert {name: term.item() for name, term in loss.terms.items()} == pytest.approx(expected, rel=1e-4)
    assert loss.total.item() == pytest.approx(classification + 10 * np.mean(errors) + mask, rel=1e-4)


@pytest.mark.parametrize("masks", [None, torch.ones(2, 1, 96, 96)])
def test_without_known_masks_only_the_classification_counts(detector, masks):
    has_mask = None if masks is None else torch.tensor([False, False])
    batch = ForgeryBatch(image=images(), label=torch.tensor([1.0, 1]), mask=masks, has_mask=has_mask)
    detector.zero_grad()
    loss = loss_of(detector, batch)
    loss.total.backward()
    assert loss.total.item() == loss.terms["classification"].item() > 0
    assert all((weight.grad == 0).all() for weight in detector.decoder.parameters())
    assert any((weight.grad != 0).any() for weight in detector.rgb.parameters())


def test_autocast_spares_similarity_and_classifier(detector):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = detector(images())
    assert output.features.dtype == output.similarity.dtype == output.logit.dtype == torch.float32
    torch.testing.assert_close(output.similarity, patch_similarity(output.features.double(), 3), atol=1e-6, rtol=0)
    batch = ForgeryBatch(
        image=images(),
        label=torch.tensor([0.0, 1]),
        mask=torch.zeros(2, 1, 96, 96),
        has_mask=torch.tensor([True, True]),
    )
    assert torch.isfinite(loss_of(detector, batch, output).total)  # outside autocast


def test_pictures(detector):
    with torch.no_grad():
        pictures, output = detector.explain(images()), detector(images())
    assert {name: tuple(picture.shape) for name, picture in pictures.items()} == {
        "mask": (2, 96, 96),
        "similarity": (2, 3, 3),
    }
    assert ((pictures["mask"] > 0) & (pictures["mask"] < 1)).all()
    mean = np.mean([output.similarity[1, 5, j].item() for j in range(9)])
    assert pictures["similarity"][1, 1, 2].item() == pytest.approx(mean, abs=1e-6)


def test_pictures_without_mpsm():
    with torch.no_grad():
        assert set(small(mpsm=False).eval().explain(images(1, 64))) == {"mask"}


def test_predictions_of_one_do_not_depend_on_the_others(detector):
    x = images(3)
    with torch.no_grad():
        together, alone = detector(x), detector(x[1:2])
    torch.testing.assert_close(together.logit[1:2], alone.logit, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.similarity[1:2], alone.similarity, atol=1e-5, rtol=0)
