"""Several processes that train one model together, as torchrun starts them (ours).

Their group is torch.distributed's: gloo between CPUs; NCCL between GPUs, and gloo beside it for
what lies on the host. One process needs no group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed as dist
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from dcal.collectives import is_distributed

if TYPE_CHECKING:
    from dcal.config import TrainConfig

# A process may keep the others waiting for so long: the first one ranks and writes checkpoints. One
# that hangs for longer ends the job.
PATIENCE = timedelta(minutes=10)
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# How gloo, NCCL and torch's store say that another process did not answer.
_SIGNS_OF_LOSS = (
    "connection closed",
    "connection reset",
    "connection refused",
    "connection was likely closed",
    "broken pipe",
    "timed out",
    "gloo",
    "nccl",
    "socket",
)


class ProcessLost(RuntimeError):
    """Another process of the job does not answer; what was saved is kept."""


class Place(NamedTuple):
    """Which of the processes this one is."""

    rank: int
    world_size: int
    local_rank: int  # among those of this machine
    local_world_size: int

    @property
    def name(self) -> str:
        """Return what messages call it."""
        return f"process {self.rank} of {self.world_size}"


def is_started_in_parallel() -> bool:
    """Say whether torchrun, or what acts like it, started this process."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def read_place(config: TrainConfig) -> Place:
    """Return this process's place, from the environment that torchrun makes.

    Raises:
        ValueError: It is not of as many processes as the config says, or a variable is missing.
    """
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise ValueError(
            f"{missing[0]}: expected in the environment beside WORLD_SIZE, as torchrun sets it; "
            "start the processes with torchrun, or unset WORLD_SIZE and RANK"
        )
    for name in (*VARIABLES[:4], "MASTER_PORT"):
        if not os.environ[name].isdecimal():
            raise ValueError(
                f"{name}: expected a number, as torchrun sets it; got {os.environ[name]!r}"
            )
    place = Place(*(int(os.environ[name]) for name in VARIABLES[:4]))
    if place.world_size != config.processes:
        raise ValueError(
            f"train.processes: expected {place.world_size}, the processes that were started "
            f"(WORLD_SIZE); got {config.processes}. Start that many, or change it, which makes "
            "another run"
        )
    if place.world_size % place.local_world_size:
        raise ValueError(
            "LOCAL_WORLD_SIZE: expected equally many processes on each machine; got "
            f"{place.local_world_size} of {place.world_size} on this one"
        )
    return place


@contextmanager
def join(place: Place, config: TrainConfig) -> Iterator[Store | None]:
    """Be one of the processes inside the block, which share a store; alone, nothing is joined.

    Raises:
        ValueError: Fewer GPUs than processes on this machine.
        ProcessLost: Another process does not answer, now or at any time inside the block.
    """
    if place.world_size == 1:
        yield None
        return
    backend = _choose_backend(place, config)
    with tell_losses(place):
        store, rank, world_size = next(rendezvous("env://", timeout=PATIENCE))
        dist.init_process_group(
            backend,
            store=PrefixStore("group", store),
            rank=rank,
            world_size=world_size,
            timeout=PATIENCE,
        )
        try:
            yield store
        finally:
            leave()


def leave() -> None:
    """Leave the group; whoever waits for this process then notices."""
    if is_distributed():
        dist.destroy_process_group()


def _choose_backend(place: Place, config: TrainConfig) -> str:
    if config.devices == "cpu" or not torch.cuda.is_available():
        return "gloo"
    num_gpus = torch.cuda.device_count()
    if place.local_world_size > num_gpus:
        raise ValueError(
            f"train.processes: {place.local_world_size} on this machine need a GPU each, and "
            f"{num_gpus} can be seen; start fewer here, or set train.devices to cpu"
        )
    torch.cuda.set_device(place.local_rank)
    return "cpu:gloo,cuda:nccl"


@contextmanager
def tell_losses(place: Place) -> Iterator[None]:
    """Turn what an engine says of another process that is gone into `ProcessLost`."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, ProcessLost) or not _is_sign_of_loss(error):
            raise
        raise ProcessLost(
            f"{place.name} stopped, because another one does not answer any more; the same "
            "command goes on from the last checkpoint"
        ) from error


def _is_sign_of_loss(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistError):
        return True
    said = str(error).lower()
    return any(sign in said for sign in _SIGNS_OF_LOSS)


def choose_seed(seed: int, rank: int) -> int:
    """Return the seed of a process's own draws (stochastic depth), which must differ."""
    if rank == 0:
        return seed
    return int(np.random.SeedSequence(seed, spawn_key=(rank,)).generate_state(1)[0])


def choose_devices(accelerator: str) -> dict[str, Any]:
    """Return what Lightning's trainer is told of devices and processes."""
    if not is_distributed():
        return {"devices": 1}
    environment = TorchElasticEnvironment()
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    strategy = DDPStrategy(
        cluster_environment=environment,
        process_group_backend="nccl" if accelerator == "cuda" else "gloo",
        timeout=PATIENCE,
        # Those of the BN neck are equal everywhere, and nothing else in a model has any that move.
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )
    return {"devices": here, "num_nodes": dist.get_world_size() // here, "strategy": strategy}
