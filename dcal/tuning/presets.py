"""What a study tries before it chooses by itself (paper's settings; ours)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from dcal.config import Config
from dcal.tuning.errors import TuningError
from dcal.tuning.parameters import Scalar
from dcal.tuning.settings import StudySettings
from dcal.tuning.space import Overrides, Space, get_value, order_keys

logger = logging.getLogger(__name__)
PAPER_TOP_R = {"fgvc": 0.1, "reid": 0.3}


def list_presets(
    settings: StudySettings, space: Space, base: Config, *, num_blocks: int
) -> list[Overrides]:
    """Return the trials to begin with: the paper's settings, the config as it is, the plan's own.

    Each holds keys of the space only. What it leaves open has the config's value, or, where the
    space does not hold that, the sampler's.

    Raises:
        TuningError: The plan names a key, a value or a combination that is not in the space.
    """
    given: list[Mapping[str, Scalar]] = [find_paper_preset(space, base, num_blocks=num_blocks), {}]
    for number, preset in enumerate(settings.enqueue, start=1):
        _check_preset(preset, space, base, place=f"study.enqueue, entry {number}")
        given.append(preset)
    found = [_complete(preset, space, base) for preset in given]
    return [preset for i, preset in enumerate(found) if preset and preset not in found[:i]]


def find_paper_preset(space: Space, base: Config, *, num_blocks: int) -> Overrides:
    """Return the paper's settings as far as the space holds them, and the config's other values."""
    held = _take_held(describe_paper(base, num_blocks=num_blocks), space)
    return _complete(held, space, base)


def describe_paper(base: Config, *, num_blocks: int) -> Overrides:
    """Return the paper's settings for the keys that plans search."""
    return {
        "model.readout": "class",
        "model.top_r": PAPER_TOP_R[base.dataset.kind],
        "model.glca_blocks": 1,
        "model.pwca_blocks": num_blocks,
        "model.distractor": "any",
        "loss.weighting": "uncertainty",
    }


def _take_held(paper: Overrides, space: Space) -> Overrides:
    held = {key: value for key, value in paper.items() if key in space and space[key].holds(value)}
    for key in paper:
        if key in space and key not in held:
            logger.warning("the paper's %s=%s is not in the space", key, paper[key])
    return held


def _complete(preset: Mapping[str, Scalar], space: Space, base: Config) -> Overrides:
    """Return a preset without what it does not search, and with the config's other values."""
    values: Overrides = {}
    for key in order_keys(space):
        value = preset.get(key, get_value(base, key))
        if space[key].holds(value) and not _is_excluded(key, values, space, base):
            values[key] = value
    return values


def _check_preset(preset: Mapping[str, Scalar], space: Space, base: Config, *, place: str) -> None:
    for key, value in preset.items():
        if key not in space:
            raise TuningError(f"{place}: {key} is not in the space; it has {', '.join(space)}")
        if not space[key].holds(value):
            raise TuningError(f"{place}: {key}={value} is not in the space")
    for key in preset.keys() - _complete(preset, space, base).keys():
        raise TuningError(f"{place}: {key} is not searched beside its other values")


def _is_excluded(key: str, values: Mapping[str, Scalar], space: Space, base: Config) -> bool:
    """Say whether given values keep a key from being searched; those left open do not."""
    for other, allowed in space[key].when.items():
        if other in space and other not in values:
            continue
        value = values[other] if other in space else get_value(base, other)
        if value not in allowed:
            return True
    return False
