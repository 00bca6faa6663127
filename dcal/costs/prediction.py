"""What a config's training step and inference will cost on this machine (ours)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dcal.costs.imagined import count_step_work
from dcal.costs.rates import Rates, measure_rates, predict_seconds, take_faster
from dcal.costs.work import Work

if TYPE_CHECKING:
    from dcal.config import ModelConfig, TrainConfig

# What a process takes beside its tensors once it has trained a step, above its imports, as seen
# with torch 2.14: torch's own buffers and threads, and the gaps in what malloc keeps. On a GPU only
# tensors are counted.
_OWN_BYTES, _KEPT_BYTES = 42 * 2**20, 118 * 2**20


def count_process_bytes(device: str, *, spares_memory: bool) -> int:
    """Return what a process takes beside its tensors; see `prepare_cpu` for `spares_memory`."""
    if device != "cpu":
        return 0
    return _OWN_BYTES if spares_memory else _KEPT_BYTES


class Cost(NamedTuple):
    """A call's predicted cost."""

    seconds_by_kind: dict[str, float]  # products, attention, moved, calls
    peak_bytes: int  # of all tensors at once, and of the process beside them

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

    Takes some seconds and little memory, whatever the model's size: a block is timed twice, and the
    faster counts; one of large pictures, or of many, is timed on fewer. A compiled step is not
    modelled, nor the loader. `python -m benchmarks.step` holds predictions against measurements.

    Raises:
        ValueError: A model that cannot be built.
    """
    alone = model.model_copy(update={"glca_blocks": 0, "pwca_blocks": 0})
    whole, sa = (
        count_step_work(config, train, num_classes=num_classes, device=device, autocast=autocast)
        for config in (model, alone)
    )
    measured = [measure_rates(whole.shape, device=device, autocast=autocast) for _ in range(2)]
    rates = take_faster(*measured)

    own_bytes = count_process_bytes(device, spares_memory=train.gradient_checkpointing)

    def cost(work: Work) -> Cost:
        return Cost(predict_seconds(work, rates), work.peak_bytes + own_bytes)

    return Prediction(
        training=cost(whole.training),
        inference=cost(whole.inference),
        sa_training=cost(sa.training),
        sa_inference=cost(sa.inference),
        num_parameters=whole.num_parameters,
        rates=rates,
    )
