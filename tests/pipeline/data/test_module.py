"""The batches of a training run."""

import pytest

from facemill import DatasetError
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data import TrainingData
from tests.pipeline.data.built import build, samples_of, video

SETTINGS = TrainSettings(batch=8)


def module(roots, settings=SETTINGS, *, epoch=0, **options) -> TrainingData:
    made = TrainingData(roots, settings, **options)
    made.set_epoch(epoch)
    return made


def indices(loader) -> list[int]:
    return [index for batch in loader for index in batch.index.tolist()]


def test_training_is_balanced_in_full_batches(root):
    batches = list(module(root).train_loader)
    assert [batch.size for batch in batches] == [8] * 4  # 18 reals, repeated, and 18 fakes; the last 4 are left out
    assert abs(sum(int(batch.labels.sum()) for batch in batches) - 16) <= 4


def test_a_lone_batch_is_kept_though_it_is_not_full(root):
    assert [batch.size for batch in module(root, TrainSettings(batch=50)).train_loader] == [36]


def test_frames_every_and_balance_concern_training(root):
    data = module(root, TrainSettings(batch=4, every=3, frames=1, balance="none"))
    assert len(indices(data.train_loader)) == 4  # one of five, in a batch of four
    assert sorted(indices(data.val_loader)) == list(range(12))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_order_is_that_of_the_epoch_whenever_it_starts(root, workers):
    def order(epoch: int) -> list[int]:
        return indices(module(root, epoch=epoch, seed=4, workers=workers).train_loader)

    running = module(root, seed=4, workers=workers)
    loader = running.train_loader
    orders = []
    for epoch in range(3):
        running.set_epoch(epoch)
        orders.append(indices(loader))
    assert orders == [order(0), order(1), order(2)]
    assert len({str(order) for order in orders}) == 3


def test_neither_workers_nor_the_format_change_the_order(root, parquet):
    assert indices(module(root, workers=2).train_loader) == indices(module(parquet).train_loader)


def test_ranks_share_both_splits(root):
    ranks = [module(root, TrainSettings(batch=5, balance="none"), rank=rank, world=2) for rank in range(2)]
    training = [indices(data.train_loader) for data in ranks]
    assert sorted(training[0] + training[1]) == list(range(30))
    validation = [indices(data.val_loader) for data in ranks]
    assert sorted(validation[0] + validation[1]) == list(range(12))


def test_several_datasets_are_trained_on_together(parquet, tar):
    assert sorted(indices(module([parquet, tar]).val_loader)) == list(range(24))
    assert len(module([parquet, parquet]).train_loader) == 72 // 8


def test_masks_may_be_left_out(root):
    assert all(batch.masks is None for batch in module(root, fields=()).train_loader)


def test_a_missing_validation_split_is_told_with_its_remedy(tmp_path):
    build(tmp_path, samples_of([video("a", 0), video("b", 1)]))
    with pytest.raises(DatasetError, match=r"no samples of split 'val', it has train: build it .*--split identity"):
        module(tmp_path)
