"""Which keys change nothing unless another key has a certain value (design of the method; ours).

A search over such a key would spend trials on noise and rank that noise among the causes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dcal.config import Config
from dcal.tuning.space import get_value


class Need(NamedTuple):
    """What a key needs so that it changes anything."""

    keys: tuple[str, ...]  # any one of them is enough
    values: tuple[str, ...]  # empty: anything but 0 and none
    reason: str

    def is_met(self, config: Config) -> bool:
        """Say whether one of the keys has a value that lets the needing key matter."""
        return any(self._allows(get_value(config, key)) for key in self.keys)

    def describe(self) -> str:
        """Return the need for the middle of a sentence."""
        return f"{' or '.join(self.keys)} is {' or '.join(self.values) or 'on'}"

    def _allows(self, value: object) -> bool:
        return value in self.values if self.values else value not in (0, None, "none")


def _need(key: str, *values: str, reason: str) -> Need:
    return Need((key,), values, reason)


_GLCA = _need("model.glca_blocks", reason="without GLCA blocks there is no GLCA branch")
_PWCA = _need("model.pwca_blocks", reason="without PWCA blocks there is no PWCA branch")
_BRANCHES = Need(
    ("model.glca_blocks", "model.pwca_blocks"), (), "the loss of a single branch has no weight"
)
_LEARNED = _need("loss.weighting", "uncertainty", reason="fixed weights are not learned")
_FIXED = _need("loss.weighting", "fixed", reason="learned weights do not read it")

_LOCAL = _need(
    "model.readout",
    "local",
    "class_local",
    reason="with model.readout=class GLCA reads its class token alone, and the patches that top_r "
    "selects cannot change the output",
)

NEEDS: Mapping[str, tuple[Need, ...]] = {
    "model.top_r": (_GLCA, _LOCAL),
    "model.patch_selection": (_GLCA, _LOCAL),
    "model.readout": (_GLCA,),
    "model.distractor": (_PWCA,),
    "model.stream": (_PWCA,),
    "model.side_scale": (
        _need("model.side_information", reason="it scales the side information, which is off"),
    ),
    "loss.weighting": (_BRANCHES,),
    "loss.log_variance_lr": (_LEARNED, _BRANCHES),
    "loss.initial_log_variances.sa": (_LEARNED, _BRANCHES),
    "loss.initial_log_variances.glca": (_LEARNED, _GLCA),
    "loss.initial_log_variances.pwca": (_LEARNED, _PWCA),
    "loss.fixed_weights.sa": (_FIXED, _BRANCHES),
    "loss.fixed_weights.glca": (_FIXED, _GLCA),
    "loss.fixed_weights.pwca": (_FIXED, _PWCA),
    "loss.triplet_margin": (
        _need("loss.triplet", "margin", reason="no other triplet loss has a margin"),
    ),
    "train.momentum": (_need("train.optimizer", "sgd", reason="no other optimiser reads it"),),
    "train.warmup_lr_ratio": (_need("train.warmup_epochs", reason="there is no warm-up"),),
    "train.min_lr_ratio": (
        _need("train.schedule", "cosine", reason="a constant learning rate has no last value"),
    ),
    "transforms.pad": (_need("transforms.train_crop", "pad", reason="no other crop pads"),),
}


# No weight depends on when something is written, or on who reads the pictures.
IDLE = ("train.log_every", "train.checkpoint_minutes", "train.workers")


def find_unmet_need(key: str, config: Config) -> Need | None:
    """Return what keeps a key from changing anything in a config; None where it matters."""
    return next((need for need in NEEDS.get(key, ()) if not need.is_met(config)), None)
