"""Forgeries made of reals: where they differ, what they are blended from, and what depends on what."""

from dataclasses import replace

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F

from facemill import DatasetError
from facemill.detectors.forgery import ForgeryBatch, InputSpec
from facemill.manifests.annotations import Annotation
from facemill.manifests.shards.dataset import read_dataset, write_dataset
from facemill.pipeline.config.train_settings import AugmentSettings, TrainSettings
from facemill.pipeline.data import Augmentation, FaceDataset, TrainingData, face_masks, forge, prepare
from facemill.pipeline.data.face_masks import place_masks, sample_at, similarities
from facemill.pipeline.data.forge import add_forgeries, check_reals, fields_to_read
from tests.manifests.small_dataset import make_sample
from tests.pipeline.data.built import build, samples_of, video

SIDE = 96
FACE = torch.tensor([[0.36, 0.4], [0.64, 0.4], [0.5, 0.55], [0.38, 0.7], [0.62, 0.7]]) * SIDE
ALL = ("mask", "xray")
KINDS = ("sbi", "xray")
STAY = torch.tensor([[1.0, 0, 0], [0, 1, 0]])


def smooth(count: int, side: int = SIDE, seed: int = 0) -> torch.Tensor:
    """Images of large blobs, uint8 [N, 3, side, side], far from black and white."""
    blobs = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return (80 + 90 * F.interpolate(blobs, (side, side), mode="bilinear")).to(torch.uint8)


def reals(count: int = 8, images: torch.Tensor | None = None, **fields: torch.Tensor) -> ForgeryBatch:
    """Crops of as many subjects."""
    return ForgeryBatch(
        image=smooth(count) if images is None else images,
        label=torch.zeros(count, dtype=torch.int64),
        index=torch.arange(count),
        **{"landmarks": FACE.expand(count, 5, 2), "subject": torch.arange(count), **fields},
    )


def forged(batch: ForgeryBatch, kind: str = "sbi", seed: int = 0, fields: tuple[str, ...] = ALL) -> ForgeryBatch:
    return add_forgeries(batch, kind, fields, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_differ_within_the_mask_and_its_soft_edge_only(kind: str) -> None:
    batch = forged(reals(32), kind)
    assert batch.images.shape == (64, 3, SIDE, SIDE)
    assert {batch[name].dtype for name in ("image", "mask", "xray")} == {torch.uint8}
    assert batch.labels.tolist() == [0] * 32 + [1] * 32
    assert batch["has_mask"].all()
    assert batch.index.tolist() == 2 * list(range(32))
    real, fake = batch.images.int().chunk(2)
    mask, xray = (batch[name][32:] for name in ALL)
    assert not batch["mask"][:32].any()
    assert not batch["xray"][:32].any()
    outside = ((mask == 0) & (xray == 0)).expand_as(real)
    assert (real - fake)[outside].abs().max() <= 1  # by rounding
    inside = (mask > 0).expand_as(real)
    changed = [bool((real[n] != fake[n])[inside[n]].any()) for n in range(32)]
    assert sum(changed) > 28
    share = mask.bool().float().mean((1, 2, 3))
    assert 0.005 < share.min() < 0.08
    assert 0.2 < share.max() < 0.6


def test_the_target_itself_is_changed_in_half_of_the_pairs() -> None:
    """Otherwise a colour shift or blur anywhere would give the forgery away, without its boundary."""
    before = smooth(200, 32)
    small = reals(200, before, landmarks=(FACE / 3).expand(200, 5, 2), subject=torch.arange(200))
    after = forged(small).images
    same = (before == after[:200]).flatten(1).all(1)
    assert 70 < same.sum() < 130
    edge = after[:, :, 0, 0]  # no mask reaches it
    assert torch.equal(edge[:200], edge[200:])


@pytest.mark.parametrize("kind", KINDS)
def test_masks_lie_on_the_face_wherever_it_is(kind: str) -> None:
    shift = torch.tensor([14.0, -9.0])
    there = forged(reals(), kind)["mask"][8:, 0].float()
    moved = forged(reals(landmarks=(FACE + shift).expand(8, 5, 2)), kind)["mask"][8:, 0].float()
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")

    def centres(mask: torch.Tensor) -> torch.Tensor:
        return torch.stack([(mask * x).sum((1, 2)), (mask * y).sum((1, 2))], 1) / mask.sum((1, 2))[:, None]

    assert torch.allclose(centres(moved) - centres(there), shift.expand(8, 2), atol=2.5)
    low, high = FACE.amin(0) - 8, FACE.amax(0) + 8
    assert ((centres(there) > low) & (centres(there) < high)).all()


def test_masks_are_turned_and_scaled_with_the_face() -> None:
    rng = [np.random.default_rng(4) for _ in range(2)]
    turn = torch.tensor([[0.0, -1], [1, 0]])  # a quarter
    about = torch.tensor([SIDE / 2, SIDE / 2])
    moves = STAY.expand(12, 2, 3)
    upright = place_masks(FACE.expand(12, 5, 2), moves, SIDE, rng[0])
    turned = place_masks(((FACE - about) * 0.8 @ turn + about).expand(12, 5, 2), moves, SIDE, rng[1])
    expected = sample_at(
        torch.rot90(upright, 1, (2, 3)), torch.tensor([[1.25, 0, -12], [0, 1.25, -12]]).expand(12, 2, 3)
    )
    iou = ((turned > 0.5) & (expected > 0.5)).sum((1, 2, 3)) / ((turned > 0.5) | (expected > 0.5)).sum((1, 2, 3))
    assert iou.median() > 0.8  # elastic deformation is not turned


def dense(narrow: float = 1.0) -> torch.Tensor:
    """68 points on a face in `FACE`'s place: a jaw of an ellipse, whose width is that of an adult's times `narrow`."""
    turns = torch.linspace(np.pi, 0, 17)
    jaw = torch.stack([0.5 + 0.3 * narrow * turns.cos(), 0.42 + 0.42 * turns.sin()], 1)
    brows = torch.stack([torch.linspace(0.5 - 0.25 * narrow, 0.5 + 0.25 * narrow, 10), torch.full((10,), 0.32)], 1)
    inner = FACE[[2] * 9 + [0] * 6 + [1] * 6 + [3] * 10 + [4] * 10] / SIDE
    return torch.cat([jaw, brows, inner]) * SIDE


@pytest.mark.parametrize(("narrow", "shift"), [(1.0, 0.0), (0.6, 0.0), (0.8, 9.0)])
def test_masks_are_hulls_of_dense_landmarks(monkeypatch: pytest.MonkeyPatch, narrow: float, shift: float) -> None:
    """Of points that are narrower than an adult's face, or beside the five: masks are as wide, and where they are."""
    monkeypatch.setattr(face_masks, "_SHARES", (1, 0, 0, 0, 0, 0))
    points = dense(narrow) + torch.tensor([shift, 0])
    hull = cv2.fillConvexPoly(np.zeros((SIDE, SIDE)), cv2.convexHull(points.round().int().numpy()), 1) > 0
    given = (FACE.expand(40, 5, 2), STAY.expand(40, 2, 3), SIDE, np.random.default_rng(0))
    masks = place_masks(*given, points.expand(40, 68, 2))[:, 0].numpy() > 0.5
    assert np.mean(masks.mean(0)[~hull] > 0.5) < 0.02
    eroded = hull.any(0).sum() - 7  # by the first blur
    assert masks.any(1).sum(1).mean() == pytest.approx(eroded, abs=4)
    across = np.arange(SIDE) + 0.5
    assert np.average(across, weights=masks.sum((0, 1))) == pytest.approx(SIDE / 2 + shift, abs=2)


def test_a_crop_with_dense_landmarks_has_masks_of_every_part_within_its_face_and_forehead() -> None:
    points = dense()
    batch = forged(reals(64, landmarks68_points=points.flatten().expand(64, 136)))
    mask = batch["mask"][64:, 0] > 0
    assert batch.labels[64:].all()
    high, low = mask[:, : int(0.25 * SIDE)].flatten(1).any(1), mask[:, int(0.72 * SIDE) :].flatten(1).any(1)
    assert 0.1 < high.float().mean() < 0.45  # the forehead's
    assert 0.5 < low.float().mean() < 0.95
    assert not mask[:, :, : int(0.1 * SIDE)].any()
    line = FACE.clone()
    line[:, 1] = line[:, 0]
    flat = forged(reals(2, landmarks=line.expand(2, 5, 2), landmarks68_points=points.flatten().expand(2, 136)))
    assert torch.isfinite(flat.images.float()).all()


def test_masks_are_smooth_and_have_many_shapes() -> None:
    masks = place_masks(FACE.expand(60, 5, 2), STAY.expand(60, 2, 3), SIDE, np.random.default_rng(0))
    steps = torch.maximum(masks.diff(dim=2).abs().amax((1, 2, 3)), masks.diff(dim=3).abs().amax((1, 2, 3)))
    assert steps.max() < 0.8
    assert steps.min() < 0.15
    assert masks.amax((1, 2, 3)).min() > 0.95
    rows = (masks > 0.5).any(3).float()[:, 0]
    assert (rows[:, int(0.3 * SIDE)] == 0).any()  # below the eyes
    assert (rows[:, int(0.72 * SIDE)] == 0).any()  # around the eyes


def test_the_x_ray_is_bright_on_the_mask_s_boundary_alone() -> None:
    batch = forged(reals(16))
    mask, xray = batch["mask"][16:].float() / 255, batch["xray"][16:]
    grown, shrunk = F.max_pool2d(mask, 3, 1, 1), 1 - F.max_pool2d(1 - mask, 3, 1, 1)
    edge = xray[grown > shrunk].float()
    assert edge.min() > 25  # edges of a pixel included
    assert edge.mean() > 150
    deep = -F.max_pool2d(-mask, 25, 1, 12) > 0
    far = F.max_pool2d(mask, 25, 1, 12) == 0
    assert not xray[far].any()
    assert deep.any()
    assert xray[deep].float().mean() < 4


def test_no_border_of_another_colour_comes_in_where_a_face_is_at_the_edge() -> None:
    flat = torch.full((64, 3, SIDE, SIDE), 128, dtype=torch.uint8)
    corner = FACE + torch.tensor([30.0, 30.0]) * torch.tensor([1.0, -1.0])
    for kind in KINDS:
        found = forged(reals(64, flat, landmarks=corner.expand(64, 5, 2)), kind).images
        for image in found:
            assert int(image.float().std((1, 2)).max()) < 30
        assert found.min() > 128 * 0.9 - 20 * 1.1 - 26 - 30  # darkest look, and its sharpening


def test_a_face_outside_its_crop_stays_real() -> None:
    away = FACE + 3 * SIDE
    batch = forged(reals(2, landmarks=torch.stack([FACE, away])))
    assert batch.labels.tolist() == [0, 0, 1, 0]
    assert torch.equal(batch.images[1], batch.images[3])
    assert not batch["mask"][3].any()


def test_chance_is_the_generator_s_alone() -> None:
    first, before = forged(reals()), smooth(8)
    torch.manual_seed(99)
    given = reals()
    again, other = forged(given), forged(reals(), seed=1)
    assert torch.equal(given.images, before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["mask"], other["mask"])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(forged(reals()).images, first.images)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_depend_neither_on_how_many_are_changed_at_once_nor_on_the_box(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    side = 99  # no multiple of the shrunk sides
    noise = torch.randint(0, 256, (24, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    batch = reals(24, noise, landmarks=(FACE * side / SIDE).expand(24, 5, 2), subject=torch.arange(24))
    alone = forged(batch, kind)
    monkeypatch.setattr(forge, "_AT_ONCE", 24)
    monkeypatch.setattr(forge, "_around", lambda _: (slice(0, side), slice(0, side)))
    together = forged(batch, kind)
    assert all(torch.equal(alone[name], together[name]) for name in ("label", *ALL))
    assert (alone.images.int() - together.images.int()).abs().max() <= 1


def test_points_of_masks_are_moved_deformed_and_taken_back_into_the_template() -> None:
    """Point by point, with the waves interpolated as images."""
    rng = torch.Generator().manual_seed(0)
    waves, moves, origin, inverse, scale = (
        torch.randn(3, *shape, generator=rng) for shape in ((2, 12, 12), (2, 3), (2,), (2, 2), (1, 2))
    )
    found = face_masks._grid(waves, moves, origin, inverse, scale, 64)
    there = F.interpolate(waves, (128, 128), mode="bicubic", align_corners=False)
    for n, row, column in ((0, 0, 0), (1, 127, 5), (2, 64, 100), (0, 3, 127)):
        point = torch.tensor([column + 0.5, row + 0.5]) * 64 / 128
        moved = moves[n, :, :2] @ point + moves[n, :, 2] + there[n, :, row, column] - origin[n]
        expected = moved @ inverse[n] - torch.tensor(face_masks._CENTRE) * scale[n, 0]
        assert torch.allclose(found[n, row, column], expected, atol=1e-3, rtol=1e-4)


def test_points_of_masks_are_moved_by_up_to_a_share_of_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    waves, grid = [], face_masks._grid
    monkeypatch.setattr(face_masks, "_grid", lambda *given: waves.append(given[0]) or grid(*given))
    place_masks(FACE.expand(8, 5, 2), STAY.expand(8, 2, 3), SIDE, np.random.default_rng(0))
    assert 0.0149 * SIDE < waves[0].abs().max() <= 0.015 * SIDE


def test_only_the_fields_asked_for_are_made() -> None:
    assert not forged(reals(), fields=()).keys() & {"mask", "xray", "has_mask"}
    assert "xray" not in forged(reals(), fields=("mask",))
    assert fields_to_read(("mask", "pair", "xray"), "sbi") == ("pair", "landmarks")
    assert fields_to_read(("landmarks",), "xray") == ("landmarks", "subject")
    assert fields_to_read((), "sbi", dense=True) == ("landmarks", "landmarks68_points")


def stripes(along: int) -> torch.Tensor:
    """Stripes of eight pixels, uint8 [3, SIDE, SIDE], that vary along y (1) or x (2)."""
    wave = 128 + 60 * torch.sin(torch.arange(SIDE) * (2 * torch.pi / 8))
    return (wave[:, None] if along == 1 else wave[None]).expand(3, SIDE, SIDE).to(torch.uint8)


def test_the_source_is_the_nearest_face_of_another_subject() -> None:
    """The first two crops are of one subject; the third is far from the first, and the fourth farther."""
    images = torch.stack([stripes(1), stripes(1), stripes(2), stripes(1)])
    places = torch.stack([FACE, FACE, FACE + 3, FACE + 9])
    for seed in range(6):
        batch = forged(reals(4, images, landmarks=places, subject=torch.tensor([0, 0, 1, 2])), "xray", seed)
        fake, mask = batch.images[4].float(), batch["mask"][4, 0] > 0
        across = fake.diff(dim=2).abs().mean(0)[:, :][mask[:, 1:]].mean()
        lone = batch.images[0].float().diff(dim=2).abs().mean()
        assert across > lone + 1


def test_a_subject_alone_in_its_batch_is_blended_with_itself() -> None:
    alone = reals(6, subject=torch.zeros(6, dtype=torch.int64))
    itself = forged(alone, "xray")
    assert itself.labels.sum() == 6
    difference = (itself.images.float() - forged(alone, "sbi").images.float()).abs()
    assert difference.max() < 15  # colours within the mask are those before the source was moved
    assert difference.mean() < 0.3


def test_a_source_gets_the_mean_and_deviation_that_each_channel_of_its_target_has_within_the_mask() -> None:
    """Targets are the sources with another brightness and contrast, but for what lies outside their masks."""
    source = smooth(2).float()
    gain, level = (torch.tensor(numbers)[:, None, None] for numbers in ([0.7, 1.3, 0.9], [20.0, -60.0, 0.0]))
    mask = torch.zeros(2, 1, SIDE, SIDE)
    mask[:, :, 20:60, 30:80] = 1
    wanted = source * gain + level
    target = torch.where(mask > 0, wanted, 255)
    assert torch.allclose(forge._with_colours_of(source.clone(), target, mask), wanted, atol=0.1)


def test_colours_stay_within_8_bits_however_they_are_changed() -> None:
    """Of black and white cells, which sharpening takes beyond both."""
    cells = 255 * ((torch.arange(SIDE)[:, None] + torch.arange(SIDE)) // 4 % 2).expand(32, 3, SIDE, SIDE).float()
    forge._Look(32, np.random.default_rng(0)).change(cells, np.ones(32, bool), slice(None))
    assert (cells.min(), cells.max()) == (0, 255)


def test_half_of_the_images_are_sharpened_and_a_quarter_each_shrunk_to_a_half_and_to_a_fourth() -> None:
    """Of cells of two pixels, sharpening adds to the contrast; half the size leaves some of it, and a fourth none."""
    cells = torch.arange(32) // 2 % 2
    images = (80 + 90.0 * (cells[:, None] ^ cells)).expand(800, 3, 32, 32).clone()
    before = images[0, 0].std()
    forge._Look(800, np.random.default_rng(0)).change(images, np.arange(800) % 2 == 0, slice(None))
    contrast = images[:, 0].std((1, 2)) / before
    assert (contrast[1::2] == 1).all()
    counts = np.histogram(contrast[::2], [0, 0.05, 0.6, 1.3, 3])[0]
    assert np.abs(counts - [100, 100, 0, 200]).max() < 20


def test_the_source_is_aligned_with_the_target() -> None:
    """A bright nose of a face elsewhere, larger and turned, comes to lie on the target's nose."""
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    turn = torch.tensor([[0.96, 0.28], [-0.28, 0.96]])
    other = (FACE - SIDE / 2) * 1.15 @ turn + SIDE / 2 + torch.tensor([5.0, -4.0])
    spot = torch.exp(-((x - other[2, 0]) ** 2 + (y - other[2, 1]) ** 2) / 18)
    images = torch.stack([torch.full((3, SIDE, SIDE), 90), 90 + 120 * spot.expand(3, -1, -1)]).to(torch.uint8)
    found = []
    for seed in range(30):
        batch = forged(reals(2, images, landmarks=torch.stack([FACE, other])), "xray", seed)
        change = (batch.images[2].float() - batch.images[0].float()).mean(0)
        if batch["mask"][2, 0, int(FACE[2, 1]), int(FACE[2, 0])] and change.max() > 4:
            peak = torch.tensor(divmod(int(change.argmax()), SIDE)[::-1]) + 0.5
            found.append(peak - FACE[2])
    assert len(found) > 8
    # The jitter moves a nose, near the centre, by up to 3 % of the side and a pixel more; both sides alike.
    assert torch.stack(found).abs().max() < 0.03 * SIDE + 3
    assert torch.stack(found).mean(0).abs().max() < 1.5


def test_similarities_and_sampling_are_what_they_say() -> None:
    turn = torch.tensor([[0.8, 0.6], [-0.6, 0.8]]) * 1.3
    moved = FACE @ turn.T + torch.tensor([4.0, -2.0])
    [found] = similarities(FACE[None], moved[None])
    assert torch.allclose(found, torch.cat([turn, torch.tensor([[4.0], [-2.0]])], 1), atol=1e-3)
    image = torch.rand(1, 3, 16, 16)
    shifted = sample_at(image, torch.tensor([[[1.0, 0, 3], [0, 1, -2]]]))
    assert torch.allclose(shifted[..., 2:, :13], image[..., :14, 3:], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_prepared_masks_and_x_rays_stay_on_their_images(kind: str) -> None:
    """Of images that show the mask and the X-ray themselves, through resizing, flips and affine changes."""
    batch = forged(reals(12), kind)
    shown = torch.cat([batch["mask"], batch["xray"], batch["xray"]], 1)
    augmentation = Augmentation(AugmentSettings(flip=0.5, affine=1), seed=0)
    made = prepare(batch.replace(image=shown), InputSpec(64, (0, 0, 0), (1, 1, 1)), augmentation)
    assert torch.allclose(made["xray"], made.images[:, 1:2], atol=1e-5)
    assert made["xray"].max() > 0.9
    assert ((made.images[:, :1] > 0.5) == (made["mask"] > 0.5)).float().mean() > 0.97


def test_training_reads_reals_alone_in_half_batches(root) -> None:
    data = TrainingData(root, TrainSettings(batch=8, forgeries="sbi"), fields=("mask", "xray"))
    batches = list(data.train_loader)
    assert [batch.size for batch in batches] == [4, 4, 4]  # of twelve reals
    assert not torch.cat([batch.labels for batch in batches]).any()
    assert set(batches[0]) == {"image", "label", "index", "landmarks"}
    assert len(data.val.labels) == 12
    assert data.val.labels.sum() == 6
    assert len(set(torch.cat([batch.index for batch in batches]).tolist())) == 12


def test_dense_landmarks_are_read_where_all_datasets_have_them(tmp_path) -> None:
    entries = [video("a", 0), video("b", 0), video("c", 0, "val"), video("d", 1, "val")]
    plain = build(tmp_path / "plain", samples_of(entries))
    other = [video(f"{entry.video_id}2", entry.label, entry.split) for entry in entries]
    rich = build(tmp_path / "rich", samples_of(other))
    table = pq.read_table(rich / "samples.parquet")
    column = Annotation("float[136]", "points")
    values = pa.array([dense().flatten().tolist()] * len(table), column.type)
    pq.write_table(table.append_column("landmarks68_points", values), rich / "samples.parquet")
    write_dataset(rich, replace(read_dataset(rich), annotations={"landmarks68_points": column}))
    for roots, has in ((rich, True), ([plain, rich], False)):
        batch = next(iter(TrainingData(roots, TrainSettings(batch=4, forgeries="sbi")).train_loader))
        assert ("landmarks68_points" in batch) == has
    both = TrainingData(rich, TrainSettings(batch=4, forgeries="sbi"))
    given = next(iter(both.train_loader))
    made, without = forged(given), forged(ForgeryBatch({k: v for k, v in given.items() if k != "landmarks68_points"}))
    assert not torch.equal(made["mask"], without["mask"])


def test_a_dataset_may_have_no_fake_to_train_on(tmp_path) -> None:
    entries = [video("a", 0), video("b", 0), video("c", 0, "val"), video("d", 1, "val")]
    data = TrainingData(build(tmp_path, samples_of(entries)), TrainSettings(batch=4, forgeries="xray"))
    [first, *_] = data.train_loader
    assert len({data.train[n]["subject"].item() for n in range(12)}) == 2
    assert forged(first, "xray").labels.sum() == 2


def test_subjects_are_the_first_known_ones_or_else_videos(tmp_path) -> None:
    known = [{"subject_ids": ("toy-x", "toy-y")}, {"subject_ids": ("toy-x",)}, {"subject_ids": ("toy-y",)}, {}, {}]
    entries = [video(f"v{n}", 0) for n in range(5)]
    made = [make_sample(entry, 0) for entry in entries]
    samples = [replace(s, record=replace(s.record, **fields)) for s, fields in zip(made, known, strict=True)]
    faces = FaceDataset(build(tmp_path, samples), "train", fields=("subject",))
    order = {row["video_id"]: int(faces[n]["subject"]) for n, row in enumerate(faces.samples.to_pylist())}
    assert order["v0"] == order["v1"]
    assert len({order[name] for name in ("v0", "v2", "v3", "v4")}) == 4


def test_reals_that_cannot_be_blended_are_refused(tmp_path) -> None:
    samples = samples_of([video("a", 0), video("b", 0)])
    whole = FaceDataset(build(tmp_path / "whole", samples), "train").samples
    check_reals(whole, "xray")
    with pytest.raises(DatasetError, match=r"reals are of one subject.*add others, or use sbi"):
        check_reals(whole.slice(0, 6), "xray")
    samples[7] = replace(samples[7], record=replace(samples[7].record, landmarks=(0.0,) * 10))
    lacking = FaceDataset(build(tmp_path / "lacking", samples), "train").samples
    with pytest.raises(DatasetError, match=r"1 real crops have no landmarks, frame 10 of video b of toy first"):
        check_reals(lacking, "sbi")
