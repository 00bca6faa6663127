"""Between two logged points a run never waits for the device."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dcal.models import build_model
from dcal.training.fit import Outlets, fit
from dcal.training.module import DCALModule
from dcal.training.runtime import resolve_runtime
from tests.training.factory import make_loaders, make_run_config

# On a GPU each of these holds the host up until all that was asked of the device is done.
READING_OPERATIONS = (
    "_local_scalar_dense",  # item, bool, int, float
    "is_nonzero",
    "equal",
    "nonzero",
    "masked_select",
    "repeat_interleave",
    "unique",
    "bincount",
)
# Tensors on a CPU are handed over without an operation.
READING_FUNCTIONS = ("cpu", "numpy", "tolist", "__array__")
# These move what they are given to the device of the run, which here is the host.
MOVERS = ("torch", "lightning")


class Operations(TorchDispatchMode):
    """Count operations that hand a value to Python, or whose shape is a matter of values."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation._schema.name.removeprefix("aten::")
        if name.lstrip("_").startswith(tuple(name.lstrip("_") for name in READING_OPERATIONS)):
            self.counts[name] += 1
        if name.startswith("index") and reads_a_mask(args):
            self.counts[f"{name} by a mask"] += 1
        return operation(*args, **(kwargs or {}))


def reads_a_mask(args):
    indices = [
        index for values in args[1:2] if isinstance(values, list | tuple) for index in values
    ]
    return any(
        isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices
    )


class Functions(TorchFunctionMode):
    """Count calls that take a whole tensor to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in READING_FUNCTIONS:
            self.counts[name] += 1
        if name == "to" and names_the_host((*args[1:], *(kwargs or {}).values())):
            caller = sys._getframe(1).f_globals["__name__"].split(".")[0]
            self.counts["to the host"] += caller not in MOVERS
        return function(*args, **(kwargs or {}))


def names_the_host(arguments):
    devices = (str(a) for a in arguments if isinstance(a, str | torch.device))
    return any(device.startswith("cpu") for device in devices)


def count_reads(num_batches, tmp_path, *, model=None, loss=None, log_every=1000, **train):
    """Return how often an epoch of so many batches reads from the device, by the way it does."""
    config = make_run_config(epochs=1, selection="last", log_every=log_every, **train)
    # Without the checks of a whole tree, in which neck and triplet loss need pictures of Re-ID.
    parts = {"model": model, "loss": loss, "dataset": {"kind": "reid"} if loss else None}
    for name, changes in parts.items():
        part = getattr(config, name).model_copy(update=changes)
        config = config.model_copy(update={name: part})
    has_distractors = config.model.distractor == "noise"
    loaders = make_loaders(
        config, num_train=6 * num_batches, num_val=0, has_distractors=has_distractors
    )
    torch.manual_seed(config.seed)
    network = build_model(config.model, 3)
    outlets = Outlets(tmp_path / f"{num_batches}.csv", lambda values, step: None)
    with Operations() as operations, Functions() as functions:
        result = fit(
            network, config, loaders, runtime=resolve_runtime(config.train), outlets=outlets
        )
    assert result.num_steps == num_batches // config.train.accumulate_steps
    return operations.counts + functions.counts


def find_growth(tmp_path, **changes):
    """Return what a run of two more steps reads more often."""
    few, many = (count_reads(number, tmp_path, **changes) for number in (2, 4))
    assert few["_local_scalar_dense"]  # the epoch's end is read
    return many - few


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"clip_norm": None, "optimizer": "sgd", "accumulate_steps": 2},
        {"ema_decay": 0.9},
        {"precision": "bf16", "model": {"patch_selection": "random"}},
        {"gradient_checkpointing": True, "model": {"distractor": "noise"}},
        {"model": {"neck": "bnneck"}, "loss": {"triplet": "soft"}},
        {"model": {"neck": "bnneck"}, "loss": {"triplet": "margin"}},
    ],
    ids=str,
)
def test_more_steps_read_no_more_from_the_device(tmp_path, changes):
    assert find_growth(tmp_path, **changes) == {}


def test_distractors_of_another_class_are_chosen_before_the_batch_is_on_the_device(
    tmp_path, monkeypatch
):
    counted = find_growth(tmp_path, model={"distractor": "other"})
    assert counted["numpy"] == 2  # labels, while they are on the host
    # The model step itself reads nothing: pairs that are given already are taken as they are.
    pairs = DCALModule.on_before_batch_transfer

    def pair_unseen(self, batch, dataloader_idx):
        with torch._C.DisableTorchFunction():
            return pairs(self, batch, dataloader_idx)

    monkeypatch.setattr(DCALModule, "on_before_batch_transfer", pair_unseen)
    assert find_growth(tmp_path, model={"distractor": "other"}) == {}


def test_each_logged_point_is_read(tmp_path):
    assert find_growth(tmp_path, log_every=1)["tolist"] == 2


@pytest.mark.parametrize(
    "read, name",
    [
        (lambda loss: loss.item(), "_local_scalar_dense"),
        (lambda loss: loss.cpu(), "cpu"),
        (lambda loss: loss.detach().to("cpu"), "to the host"),
        (lambda loss: torch.bincount(loss.detach().long()[None]), "bincount"),
    ],
)
def test_a_read_in_each_step_would_be_counted(tmp_path, monkeypatch, read, name):
    monkeypatch.setattr(
        DCALModule, "on_train_batch_end", lambda self, outputs, *rest: read(outputs["loss"])
    )
    assert find_growth(tmp_path) == {name: 2}


@pytest.mark.parametrize(
    "read, name",
    [
        (bool, "_local_scalar_dense"),
        (torch.nonzero, "nonzero"),
        (torch.unique, "_unique2"),
        (lambda values: values[values > 0], "index by a mask"),
        (lambda values: values.masked_select(values > 0), "masked_select"),
        (lambda values: torch.equal(values, values), "equal"),
        (lambda values: values.tolist(), "tolist"),
        (lambda values: values.numpy(), "numpy"),
        (lambda values: values.to("cpu"), "to the host"),
        (lambda values: values.to(device=torch.device("cpu", 0)), "to the host"),
        (lambda values: torch.bincount(values.long()), "bincount"),
    ],
)
def test_every_way_to_read_is_counted_once(read, name):
    with Operations() as operations, Functions() as functions:
        read(torch.ones(1))
    assert operations.counts + functions.counts == {name: 1}
