"""How much longer a training step of one config takes than one of another (ours)."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable

import torch

from dcal.attention.pairing import draw_pairing
from dcal.config import Config
from dcal.models import build_model
from dcal.models.dcal import DCAL
from dcal.training.runtime import resolve_runtime


def measure_step_ratio(
    config: Config, other: Config, *, num_classes: int, rounds: int = 8
) -> float:
    """Return the median ratio of a step's time to one of `other`, run in turn.

    Taken in turn, so that another load of the machine slows both alike.

    Args:
        config: Its step is the dividend.
        other: Its step is the divisor.
        num_classes: Of the data set.
        rounds: Pairs that are timed, after one that is not.
    """
    steps = [_build_step(each, num_classes) for each in (config, other)]
    ratios = []
    for _ in range(rounds + 1):
        times = []
        for step in steps:
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios[1:])


def _build_step(config: Config, num_classes: int) -> Callable[[], None]:
    device = torch.device(resolve_runtime(config.train).accelerator)
    model = build_model(config.model.model_copy(update={"side_information": "none"}), num_classes)
    images = torch.randn(config.train.batch_size, 3, *config.model.image_size, device=device)
    distractors: dict[str, torch.Tensor] = {}
    if config.model.pwca_blocks and config.model.distractor in ("any", "other"):
        distractors["distractor_indices"] = draw_pairing(len(images), seed=0, step=0).to(device)
    elif config.model.pwca_blocks:
        distractors["distractor_images"] = images.flip(0)
    return functools.partial(_run_step, model.to(device).train(), images, distractors)


def _run_step(model: DCAL, images: torch.Tensor, distractors: dict[str, torch.Tensor]) -> None:
    output = model(images, **distractors)
    logits = [output.sa_logits, output.glca_logits, output.pwca_logits]
    loss = torch.stack([part.logsumexp(1).mean() for part in logits if part is not None]).sum()
    loss.backward()
    loss.item()  # waits for a GPU
