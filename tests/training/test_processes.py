"""Two processes train, score and stop as one does; what they do is in `pair`."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from dcal.training import processes
from dcal.training.processes import ProcessLost, choose_seed, join, read_place, tell_losses
from tests.training.factory import make_run_config
from tests.training.pair import NUM_STEPS, compare_with_one, compute_gradients, run_pair

KINDS = ["fgvc", "pwca", "reid"]
VARIABLES = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("pair")


@pytest.fixture(scope="module")
def pair(folder: Any) -> list[dict[str, Any]]:
    (folder / "two").mkdir()
    return run_pair(folder / "two")


@pytest.fixture(scope="module")
def alone(folder: Any) -> dict[str, Any]:
    return compare_with_one(folder / "one")


def list_losses(run: dict[str, Any]) -> list[dict[str, float]]:
    names = ("loss", "log_variance", "top1_accuracy")
    return [
        {name: value for name, value in values.items() if any(n in name for n in names)}
        for _, values in run["told"]
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_losses_are_those_of_one_process_for_ten_steps(
    kind: str, pair: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    expected = list_losses(alone[kind])
    found = list_losses(pair[0]["compared"][kind])
    assert len(found) == NUM_STEPS and "train/log_variance/sa" in found[0]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_weights_are_those_of_one_process_and_the_same_in_both(
    kind: str, pair: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    first, second = (half["compared"][kind]["state"] for half in pair)
    for name, expected in alone[kind]["state"].items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    "run", ["fgvc, 9 scored", "fgvc, 3 scored", "reid, 36 scored", "reid, 4 scored"]
)
@pytest.mark.slow
def test_scores_are_exactly_those_of_one_process(
    run: str, pair: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    """Also where one process has a batch more than the other, or the other has none."""
    expected = alone[run]["scores"]
    assert len(expected) > 4
    assert pair[0]["compared"][run]["scores"] == pair[1]["compared"][run]["scores"] == expected


@pytest.mark.slow
def test_only_the_first_process_tells_and_writes(pair: list[dict[str, Any]], folder: Any) -> None:
    for kind in KINDS:
        assert len(pair[0]["compared"][kind]["told"]) == NUM_STEPS
        assert pair[1]["compared"][kind]["told"] == []
        (checkpoint,) = (folder / "two" / kind / "checkpoints").glob("*.ckpt")
        assert checkpoint.name.startswith(f"step-{NUM_STEPS:08d}")


@pytest.mark.slow
def test_gradients_of_triplets_across_processes_are_those_of_the_whole_batch(
    pair: list[dict[str, Any]],
) -> None:
    expected = compute_gradients()["triplet"]
    # DDP divides by the number of processes.
    found = torch.cat([half["gradients"]["triplet"] for half in pair]) / 2
    assert found.abs().sum() > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@pytest.mark.slow
def test_the_neck_is_batch_norm_over_the_whole_batch(pair: list[dict[str, Any]]) -> None:
    first, second = (half["gradients"] for half in pair)
    torch.manual_seed(3)
    features = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(8, 4, dtype=torch.float64)
    norm, linear = nn.BatchNorm1d(5).double(), nn.Linear(5, 4, bias=False).double()
    with torch.no_grad():
        linear.weight.copy_(first["classifier.start"])
    logits = linear(norm(features))
    (logits * weights).mean().backward()
    close = {"rtol": 1e-12, "atol": 1e-16}
    torch.testing.assert_close(torch.cat((first["logits"], second["logits"])), logits, **close)
    both = torch.cat((first["neck"], second["neck"])) / 2
    torch.testing.assert_close(both, features.grad, **close)
    for name, expected in (("neck.weight", norm.weight), ("classifier", linear.weight)):
        mean = (first[name] + second[name]) / 2
        torch.testing.assert_close(mean, expected.grad, **close)
    for half in (first, second):
        torch.testing.assert_close(half["mean"], norm.running_mean, **close)
        torch.testing.assert_close(half["variance"], norm.running_var, **close)


@pytest.mark.slow
def test_a_pair_stops_where_either_is_asked_and_goes_on_to_the_same_bytes(
    pair: list[dict[str, Any]], folder: Any
) -> None:
    for half in pair:
        assert "asked to" in half["stopped"]["said"]
        assert "(step 4), and the same command goes on" in half["stopped"]["said"]
    runs = [half["stopped"][name] for half in pair for name in ("pieces", "whole")]
    for run in runs[1:]:
        assert run["scores"] == runs[0]["scores"]
        assert list(run["state"]) == list(runs[0]["state"])
        assert all(torch.equal(run["state"][name], runs[0]["state"][name]) for name in run["state"])
    tables = [
        pd.read_csv(folder / "two" / name / "history.csv").drop(columns="train/images_per_second")
        for name in ("pieces", "whole")
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.slow
def test_what_the_first_processs_question_raises_ends_both(pair: list[dict[str, Any]]) -> None:
    """So a pruner, which only the first one asks."""
    assert pair[0]["ended"] == ("Pruned", "after 1 epochs")
    assert pair[1]["ended"] == ("TrainingStopped", "training stopped: Pruned: after 1 epochs")


@pytest.mark.slow
def test_a_loss_that_is_no_number_in_one_process_stops_both_there(
    pair: list[dict[str, Any]],
) -> None:
    for half in pair:
        assert "the loss became infinite or no number at step 2 (epoch 1)" in half["broken"]


def test_draws_of_a_process_are_its_own() -> None:
    assert choose_seed(7, 0) == 7
    assert len({choose_seed(seed, rank) for seed in (0, 1) for rank in range(4)}) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WORLD_SIZE": "3"}, r"train\.processes: expected 3, .* \(WORLD_SIZE\); got 2\. Start"),
        ({"MASTER_ADDR": None}, r"MASTER_ADDR: expected in the environment beside WORLD_SIZE"),
        ({"RANK": "x"}, "RANK: expected a number, as torchrun sets it; got 'x'"),
        ({"MASTER_PORT": "abc"}, "MASTER_PORT: expected a number, as torchrun sets it; got 'abc'"),
        ({"LOCAL_WORLD_SIZE": "3"}, r"LOCAL_WORLD_SIZE: expected equally many .*; got 3 of 2"),
    ],
)
def test_an_environment_that_does_not_fit_is_one_sentence(
    changes: dict[str, str | None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**VARIABLES, **changes}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        read_place(make_run_config(processes=2).train)


def test_more_processes_than_gpus_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: 1)
    config = make_run_config(processes=2, devices="auto").train
    with pytest.raises(ValueError, match="2 on this machine need a GPU each, and 1 can be seen"):
        with join(read_place(config), config):
            pass


@pytest.mark.parametrize(
    ("said", "is_lost"),
    [
        ("[../gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:1", True),
        ("NCCL error in: ...", True),
        ("The size of tensor a (3) must match", False),
    ],
)
def test_an_engine_that_lost_a_process_is_told_from_other_errors(said: str, is_lost: bool) -> None:
    place = processes.Place(0, 2, 0, 2)
    expected = "process 0 of 2 stopped, because another one" if is_lost else "The size"
    with pytest.raises(RuntimeError, match=expected) as caught, tell_losses(place):
        raise RuntimeError(said)
    assert isinstance(caught.value, ProcessLost) == is_lost
