"""How much longer an epoch of one config takes than one of another (ours)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from dcal.attention.pairing import draw_pairing
from dcal.config import Config
from dcal.data.datamodule import Loader, Loaders
from dcal.models.dcal import DCAL
from dcal.training.branches import choose_sides
from dcal.training.fit import choose_scored_split
from dcal.training.runtime import resolve_runtime


def measure_epoch_ratio(
    config: Config,
    other: Config,
    *,
    build: Callable[[Config], tuple[Loaders, DCAL]],
    rounds: int = 8,
) -> float:
    """Return the median ratio of an epoch's time to one of `other`.

    An epoch is its steps, pictures read and weights moved, and the scoring of the held-out split.
    One batch of each is timed a round, those of both configs in turn, so that another load of the
    machine slows both alike.

    Args:
        config: Its epoch is the dividend.
        other: Its epoch is the divisor.
        build: Gives the loaders and the new model that a training of a config would have.
        rounds: Pairs that are timed, after one that is not.
    """
    clocks = [_Clock(each, *build(each)) for each in (config, other)]
    ratios = []
    for _ in range(rounds + 1):
        first, second = (clock.estimate_epoch() for clock in clocks)
        ratios.append(first / second)
    return statistics.median(ratios[1:])


class _Clock:
    """Times one batch of training and one of scoring."""

    def __init__(self, config: Config, loaders: Loaders, model: DCAL) -> None:
        runtime = resolve_runtime(config.train)
        self.config = config
        self.device = torch.device(runtime.accelerator)
        self.use_bf16 = runtime.precision == "bf16"
        self.model = model.to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.train, self.num_train = _repeat(loaders.train), len(loaders.train)
        _, scored = choose_scored_split(config, loaders)
        self.scored = _repeat(scored) if scored else None
        self.num_scored = len(scored) if scored else 0

    def estimate_epoch(self) -> float:
        """Return seconds: a batch's, by the number of batches."""
        seconds = self.num_train * _time(self._step)
        return seconds + (self.num_scored * _time(self._score) if self.scored else 0.0)

    def _step(self) -> None:
        batch = next(self.train)
        self.model.train()
        self.optimizer.zero_grad()
        output = self._run(batch, **self._choose_distractors(batch))
        logits = (output.sa_logits, output.glca_logits, output.pwca_logits)
        # Which loss it is costs nothing beside the model.
        loss = torch.stack([part.logsumexp(1).mean() for part in logits if part is not None]).sum()
        loss.backward()
        self.optimizer.step()
        loss.item()  # waits for a GPU

    def _score(self) -> None:
        assert self.scored is not None
        batch = next(self.scored)
        self.model.eval()
        with torch.no_grad():
            self._run(batch).sa_logits.sum().item()

    def _run(self, batch: Mapping[str, Tensor], **distractors: Tensor) -> Any:
        sides = choose_sides(batch, self.config.model, device=self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.use_bf16):
            return self.model(batch["image"].to(self.device), **sides, **distractors)

    def _choose_distractors(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.config.model.pwca_blocks:
            return {}
        if "distractor_image" in batch:
            return {"distractor_images": batch["distractor_image"].to(self.device)}
        pairing = draw_pairing(len(batch["image"]), seed=0, step=0)
        return {"distractor_indices": pairing.to(self.device)}


def _time(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _repeat(loader: Loader) -> Iterator[Mapping[str, Tensor]]:
    while True:
        yield from loader
