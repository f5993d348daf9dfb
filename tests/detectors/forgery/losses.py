"""The loss of a network's batch, by the paper's objective unless another is given."""

from facemill.detectors.forgery import (
    ForgeryBatch,
    ForgeryDetector,
    ForgeryObjective,
    ForgeryOutput,
    LossTerms,
    TrainingStep,
    create_objective,
)

__all__ = ["loss_of"]


def loss_of(
    network: ForgeryDetector,
    batch: ForgeryBatch,
    output: ForgeryOutput | None = None,
    objective: ForgeryObjective | None = None,
) -> LossTerms:
    objective = (objective or create_objective(network)).train(network.training)
    terms: LossTerms = objective(network(batch.images) if output is None else output, batch, TrainingStep(network))
    return terms
