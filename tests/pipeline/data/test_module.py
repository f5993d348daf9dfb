"""The data module, by itself and in Lightning's own loop."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from facemill import DatasetError
from facemill.detectors.forgery import ForgeryBatch
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data import FaceDataModule
from tests.pipeline.data.built import build, samples_of, video

SETTINGS = TrainSettings(batch=8)


def module(roots, settings=SETTINGS, *, epoch=0, rank=0, world=1, **options) -> FaceDataModule:
    made = FaceDataModule(roots, settings, **options)
    made.trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, world_size=world)
    made.setup("fit")
    return made


def indices(loader) -> list[int]:
    return [index for batch in loader for index in batch.index.tolist()]


def test_training_is_balanced_in_full_batches(root):
    batches = list(module(root).train_dataloader())
    assert [batch.size for batch in batches] == [8] * 4  # 18 reals, repeated, and 18 fakes; the last 4 are left out
    assert abs(sum(int(batch.labels.sum()) for batch in batches) - 16) <= 4


def test_a_lone_batch_is_kept_though_it_is_not_full(root):
    assert [batch.size for batch in module(root, TrainSettings(batch=50)).train_dataloader()] == [36]


def test_frames_every_and_balance_concern_training(root):
    data = module(root, TrainSettings(batch=4, every=3, frames=1, balance="none"))
    assert len(indices(data.train_dataloader())) == 4  # one of five, in a batch of four
    assert sorted(indices(data.val_dataloader())) == list(range(12))


def test_the_order_is_that_of_the_epoch_whenever_it_starts(root):
    def order(epoch: int) -> list[int]:
        return indices(module(root, epoch=epoch, seed=4).train_dataloader())

    running = module(root, seed=4)
    loader = running.train_dataloader()
    orders = []
    for epoch in range(3):
        running.trainer.current_epoch = epoch
        orders.append(indices(loader))
    assert orders == [order(0), order(1), order(2)]
    assert len({str(order) for order in orders}) == 3


def test_neither_workers_nor_the_format_change_the_order(root, parquet):
    assert indices(module(root, workers=2).train_dataloader()) == indices(module(parquet).train_dataloader())


def test_ranks_share_both_splits(root):
    ranks = [module(root, TrainSettings(batch=5, balance="none"), rank=rank, world=2) for rank in range(2)]
    training = [indices(data.train_dataloader()) for data in ranks]
    assert sorted(training[0] + training[1]) == list(range(30))
    validation = [indices(data.val_dataloader()) for data in ranks]
    assert sorted(validation[0] + validation[1]) == list(range(12))


def test_several_datasets_are_trained_on_together(parquet, tar):
    assert sorted(indices(module([parquet, tar]).val_dataloader())) == list(range(24))
    assert len(module([parquet, parquet]).train_dataloader()) == 72 // 8


def test_masks_may_be_left_out(root):
    assert all(batch.masks is None for batch in module(root, fields=()).train_dataloader())


def test_a_missing_validation_split_is_told_with_its_remedy(tmp_path):
    build(tmp_path, samples_of([video("a", 0), video("b", 1)]))
    with pytest.raises(DatasetError, match=r"no samples of split 'val', it has train: build it .*--split identity"):
        module(tmp_path)


class Recorder(LightningModule):
    """Learns nothing, and writes down which samples it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.epochs: dict[int, list[int]] = {}

    def training_step(self, batch: ForgeryBatch, _: int) -> torch.Tensor:
        self.epochs.setdefault(self.current_epoch, []).extend(batch.index.tolist())
        return self.weight * batch.images.float().mean()

    def validation_step(self, batch: ForgeryBatch, _: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers and log intervals
def test_a_resumed_run_sees_what_an_undisturbed_one_sees(root, tmp_path):
    def fit(epochs: int, checkpoint=None) -> tuple[Recorder, Trainer]:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(
            max_epochs=epochs, accelerator="cpu", use_distributed_sampler=False, enable_checkpointing=False, **quiet
        )
        recorder = Recorder()
        data = FaceDataModule(root, SETTINGS, seed=1, workers=1)
        trainer.fit(recorder, data, ckpt_path=checkpoint)
        return recorder, trainer

    undisturbed, _ = fit(3)
    first, trainer = fit(2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second, _ = fit(3, tmp_path / "last.ckpt")
    assert {**first.epochs, **second.epochs} == undisturbed.epochs
    assert sorted(second.epochs) == [2]
