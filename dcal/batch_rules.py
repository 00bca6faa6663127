"""How the keys that make a batch go together (ours)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcal.config import Config


def check_batches(config: Config) -> None:
    """See that processes, distractors and identities can share a batch.

    Raises:
        ValueError: They cannot.
    """
    _check_shares(config)
    _check_identities(config)


def _check_shares(config: Config) -> None:
    size, processes = config.train.batch_size, config.train.processes
    if size % processes:
        raise ValueError(
            f"train.batch_size: expected a multiple of train.processes, which is {processes}, "
            f"because each process takes an equal share of it; got {size}"
        )
    if config.model.pwca_blocks and size < 2 * processes:
        each = " in each process" if processes > 1 else ""
        raise ValueError(
            f"train.batch_size: expected at least {2 * processes} while model.pwca_blocks is on, "
            f"because a picture needs another one as its distractor{each}; got {size}. Raise it, "
            "or set model.pwca_blocks to 0"
        )


def _check_identities(config: Config) -> None:
    train, size = config.train, config.train.images_per_identity
    if config.loss.triplet != "none" and (size is None or size < 2):
        raise ValueError(
            "train.images_per_identity: expected at least 2 while loss.triplet is on, because "
            f"a picture needs another one of its identity in the batch; got {size or 'null'}"
        )
    if size is None:
        return
    if train.batch_size % size or train.batch_size == size:
        raise ValueError(
            f"train.batch_size: expected a multiple of train.images_per_identity, which is "
            f"{size}, for two identities at least; got {train.batch_size}"
        )
    if train.batch_size % (size * train.processes):
        raise ValueError(
            f"train.batch_size: expected a multiple of {size * train.processes}, which is "
            "train.images_per_identity times train.processes, because no identity is divided "
            f"between processes; got {train.batch_size}"
        )
