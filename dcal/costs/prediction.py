"""What a config's training step and inference will cost on this machine (ours)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dcal.costs.imagined import count_step_work
from dcal.costs.rates import Rates, measure_rates, predict_seconds
from dcal.costs.work import Work

if TYPE_CHECKING:
    from dcal.config import ModelConfig, TrainConfig


class Cost(NamedTuple):
    """A call's predicted cost."""

    seconds_by_kind: dict[str, float]  # products, attention, moved, calls
    peak_bytes: int  # of all tensors at once

    @property
    def seconds(self) -> float:
        """Return the predicted seconds."""
        return sum(self.seconds_by_kind.values())


class Prediction(NamedTuple):
    """Costs of one step of `train.batch_size` pictures."""

    training: Cost
    inference: Cost
    sa_training: Cost  # of the same backbone without GLCA and PWCA
    sa_inference: Cost
    num_parameters: int
    rates: Rates


def predict(
    model: ModelConfig,
    train: TrainConfig,
    *,
    num_classes: int,
    device: str = "cpu",
    autocast: bool = False,
) -> Prediction:
    """Count a step's work and measure, at the model's shapes, how fast this machine does it.

    Takes seconds and little memory, whatever the model's size: a twelfth of a step is run some
    times over. A compiled step is not modelled, nor the loader, nor what the process itself takes
    (on a CPU, 0.1 to 0.2 GiB). `python -m benchmarks.step` holds predictions against
    measurements.

    Raises:
        ValueError: A model that cannot be built.
    """
    alone = model.model_copy(update={"glca_blocks": 0, "pwca_blocks": 0})
    whole, sa = (
        count_step_work(config, train, num_classes=num_classes, device=device, autocast=autocast)
        for config in (model, alone)
    )
    rates = measure_rates(whole.shape, device=device, autocast=autocast)

    def cost(work: Work) -> Cost:
        return Cost(predict_seconds(work, rates), work.peak_bytes)

    return Prediction(
        training=cost(whole.training),
        inference=cost(whole.inference),
        sa_training=cost(sa.training),
        sa_inference=cost(sa.inference),
        num_parameters=whole.num_parameters,
        rates=rates,
    )
