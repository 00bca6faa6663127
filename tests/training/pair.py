"""Two gloo processes that go through everything once; `test_processes` looks at what they give.

To start a pair takes longer than all that it does.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from dcal.collectives import gather_rows, get_rank, get_world_size, take_own_rows
from dcal.losses.triplet import compute_batch_hard_triplet
from dcal.models import build_model
from dcal.models.heads import BNNeckHead
from dcal.training.checkpoints import CheckpointFolder
from dcal.training.finite import TrainingBroken
from dcal.training.fit import Outlets, fit
from dcal.training.module import DCALModule
from dcal.training.processes import join, read_place
from dcal.training.resume import TrainingStopped
from dcal.training.runtime import resolve_runtime
from tests.training.factory import make_loaders, make_run_config

NUM_STEPS = 10
RARE = {"checkpoint_minutes": 60.0}
STILL = {**RARE, "optimizer": "sgd", "lr": 1e-30, "weight_decay": 0.0, "epochs": 1}
NO_DROP = {"drop_path": 0.0}
REID = {
    "optimizer": "sgd",
    "lr": 0.008,
    "kind": "reid",
    "model": {**NO_DROP, "neck": "bnneck", "pwca_blocks": 0},
    "loss": {"triplet": "soft"},
    "batch_size": 12,
    "images_per_identity": 2,
}


class Pruned(Exception):
    """Stands for a trial that is behind."""


def train(
    folder: Path, *, num_train: int, num_val: int, points: bool = False, **changes: Any
) -> dict[str, Any]:
    """Train and return losses by step, weights and scores; each process gives its own."""
    stops = changes.pop("stops", lambda: None)
    config = make_run_config(**changes)
    loaders = make_loaders(
        config,
        num_train=num_train,
        num_val=num_val,
        rank=get_rank(),
        world_size=get_world_size(),
        num_classes=12 if config.dataset.kind == "reid" else 3,
    )
    torch.manual_seed(config.seed)
    model = build_model(config.model, 12 if config.dataset.kind == "reid" else 3)
    told: list[tuple[int, dict[str, float]]] = []
    result = fit(
        model,
        config,
        loaders,
        runtime=resolve_runtime(config.train),
        outlets=Outlets(
            folder / "history.csv",
            lambda values, step: told.append((step, values)),
            CheckpointFolder(folder / "checkpoints"),
            stops,
        ),
    )
    return {"told": told, "state": result.model.state_dict(), "scores": result.scores}


def compare_with_one(folder: Path) -> dict[str, Any]:
    """Return what must be as one process has it, whichever number of them calls this."""
    steps = {
        **RARE,
        "epochs": 1,
        "log_every": 1,
        "selection": "last",
        "processes": get_world_size(),
    }
    still = {**STILL, "model": NO_DROP, "processes": get_world_size()}
    found = {
        "fgvc": train(
            folder / "fgvc",
            num_train=6 * NUM_STEPS,
            num_val=0,
            **steps,
            model={**NO_DROP, "pwca_blocks": 0},
            ema_decay=0.7,
            clip_norm=0.5,
        ),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dcal.training.module.draw_pairing", pair_within_shares)
        found["pwca"] = train(
            folder / "pwca", num_train=6 * NUM_STEPS, num_val=0, **steps, model=NO_DROP
        )
        patch.setattr("dcal.training.module.draw_pairing", pair_within_halves)
        reid = {**REID, **steps, "model": {**REID["model"], "pwca_blocks": 6}}
        found["reid"] = train(folder / "reid", num_train=12 * NUM_STEPS, num_val=0, **reid)
    # Nothing moves, so that scores must agree to the last bit: 3 batches, 1 batch.
    for num_val in (9, 3):
        found[f"fgvc, {num_val} scored"] = train(
            folder / f"scored-{num_val}", num_train=6, num_val=num_val, **still
        )
    # 9 batches, and one for both processes.
    for num_val in (36, 4):
        found[f"reid, {num_val} scored"] = train(
            folder / f"ranked-{num_val}",
            num_train=24,
            num_val=num_val,
            **{**REID, **still, "model": REID["model"]},
        )
    return found


def pair_within_shares(batch_size: int, **_: Any) -> torch.Tensor:
    """Pair within shares that were dealt out one by one, as those of pictures are."""
    step = 2 // get_world_size()
    return (torch.arange(batch_size) + step) % batch_size


def pair_within_halves(batch_size: int, **_: Any) -> torch.Tensor:
    """Pair within shares that are halves of a batch, as those of identities are."""
    size = batch_size * get_world_size() // 2
    places = torch.arange(batch_size)
    return places // size * size + (places + 1) % size


def compute_gradients() -> dict[str, torch.Tensor]:
    """Return this process's part of a triplet loss and of a neck over a batch, in float64."""
    torch.manual_seed(3)
    features = torch.randn(8, 5, dtype=torch.float64)
    identities = torch.arange(8) // 2
    weights = torch.randn(8, 4, dtype=torch.float64)
    head = BNNeckHead(5, 4).double()
    mine = take_own_rows(features).clone().requires_grad_()
    loss = compute_batch_hard_triplet(gather_rows(mine), gather_rows(take_own_rows(identities)))
    (triplet,) = torch.autograd.grad(loss, mine)
    logits = head(mine)
    # A mean over the own rows, as cross-entropy is; DDP averages it over the processes.
    (logits * take_own_rows(weights)).mean().backward()
    found = {"triplet": triplet, "neck": mine.grad, "logits": logits.detach()}
    found |= {"neck.weight": head.neck.weight.grad, "classifier": head.classifier.weight.grad}
    found["classifier.start"] = head.classifier.weight.detach()
    return found | {"mean": head.neck.running_mean, "variance": head.neck.running_var}


def stop_and_go_on(folder: Path) -> dict[str, Any]:
    """Stop where the second process asks for it, go on, and do it once more undisturbed."""
    size = {"num_train": 20, "num_val": 9, "processes": 2, "ema_decay": 0.8, "log_every": 3}
    asked = iter(range(100))

    def stop() -> str | None:
        return "asked to" if next(asked) == 3 and get_rank() == 1 else None

    with pytest.raises(TrainingStopped) as stopped:
        train(folder / "pieces", stops=stop, **size)
    return {
        "said": str(stopped.value),
        "pieces": train(folder / "pieces", **size),
        "whole": train(folder / "whole", **size),
    }


def end_by_the_first(folder: Path) -> tuple[str, str]:
    """Let the first process's question raise, as a pruner does."""

    def stop() -> None:
        if get_rank() == 0:
            raise Pruned("after 1 epochs")

    try:
        train(folder / "pruned", num_train=20, num_val=0, selection="last", processes=2, stops=stop)
    except (Pruned, TrainingStopped) as error:
        return type(error).__name__, str(error)
    return "", ""


def break_in_the_second(folder: Path) -> str:
    """Let one process's loss become no number at step 2."""
    original = DCALModule.training_step

    def training_step(self: Any, batch: Any, batch_index: int) -> torch.Tensor:
        loss = original(self, batch, batch_index)
        is_here = get_rank() == 1 and self.trainer.global_step == 1
        return loss * float("nan") if is_here else loss

    with pytest.MonkeyPatch.context() as patch, pytest.raises(TrainingBroken) as broken:
        patch.setattr(DCALModule, "training_step", training_step)
        train(
            folder / "broken", num_train=20, num_val=0, selection="last", processes=2, log_every=1
        )
    return str(broken.value)


def carry_out(rank: int, port: int, folder: Path) -> None:
    """Be one of the two."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    config = make_run_config(processes=2).train
    with join(read_place(config), config):
        found = {
            "compared": compare_with_one(folder),
            "gradients": compute_gradients(),
            "stopped": stop_and_go_on(folder),
            "ended": end_by_the_first(folder),
            "broken": break_in_the_second(folder),
        }
    torch.save(found, folder / f"{rank}.pt")


def run_pair(folder: Path) -> list[dict[str, Any]]:
    """Return what each of the two gave."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(carry_out, (port, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
