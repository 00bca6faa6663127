"""How the keys that make a batch go together (ours)."""

from __future__ import annotations


def check_shares(batch_size: int, processes: int, *, has_distractors: bool) -> None:
    """See that processes can share a batch, each with enough pictures.

    Raises:
        ValueError: They cannot.
    """
    if batch_size % processes:
        raise ValueError(
            f"train.batch_size: expected a multiple of train.processes, which is {processes}, "
            f"because each process takes an equal share of it; got {batch_size}"
        )
    if has_distractors and batch_size < 2 * processes:
        each = " in each process" if processes > 1 else ""
        raise ValueError(
            f"train.batch_size: expected at least {2 * processes} while model.pwca_blocks is on, "
            f"because a picture needs another one as its distractor{each}; got {batch_size}. Raise "
            "it, or set model.pwca_blocks to 0"
        )


def check_identities(
    batch_size: int, processes: int, images_per_identity: int | None, *, has_triplets: bool
) -> None:
    """See that a batch can be of whole identities, and triplets be found in it.

    Raises:
        ValueError: It cannot.
    """
    size = images_per_identity
    if has_triplets and (size is None or size < 2):
        raise ValueError(
            "train.images_per_identity: expected at least 2 while loss.triplet is on, because "
            f"a picture needs another one of its identity in the batch; got {size or 'null'}"
        )
    if size is None:
        return
    if batch_size % size or batch_size == size:
        raise ValueError(
            f"train.batch_size: expected a multiple of train.images_per_identity, which is "
            f"{size}, for two identities at least; got {batch_size}"
        )
    if batch_size % (size * processes):
        raise ValueError(
            f"train.batch_size: expected a multiple of {size * processes}, which is "
            "train.images_per_identity times train.processes, because no identity is divided "
            f"between processes; got {batch_size}"
        )
