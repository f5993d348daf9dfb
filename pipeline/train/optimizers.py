"""The optimiser and the learning rate schedule of a run."""

from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR

from facemill.detectors.forgery import ForgeryDetector
from facemill.pipeline.config.train_settings import OptimizerSettings, ScheduleSettings

__all__ = ["create_optimizer", "create_schedule"]


def create_optimizer(detector: ForgeryDetector, settings: OptimizerSettings) -> Optimizer:
    """Create the optimiser of a detector's trainable weights."""
    weights = [weight for weight in detector.parameters() if weight.requires_grad]
    if settings.name == "sgd":
        return SGD(weights, settings.lr, settings.betas[0], weight_decay=settings.weight_decay)
    kind = Adam if settings.name == "adam" else AdamW
    return kind(weights, settings.lr, settings.betas, settings.eps, settings.weight_decay)


def create_schedule(optimizer: Optimizer, settings: ScheduleSettings) -> LRScheduler:
    """Create the schedule, which is to be stepped after every epoch."""
    if settings.name == "constant":
        return LambdaLR(optimizer, lambda epoch: 1.0)
    return StepLR(optimizer, settings.every, settings.gamma)
