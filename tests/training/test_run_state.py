"""What is remembered of a run's attempts."""

from __future__ import annotations

import pytest

from dcal.training.run_state import Attempt, RunState


def describe(*attempts: tuple[int, dict[str, str]]) -> str | None:
    state = RunState(run_key="a" * 32, started="2026-01-01T00:00:00.000+00:00")
    for from_step, conditions in attempts:
        state = state.begin_attempt(Attempt(started="", from_step=from_step, conditions=conditions))
    return state.describe_changes()


@pytest.mark.parametrize(
    "attempts",
    [
        (),
        ((0, {"torch": "1"}),),
        ((0, {"torch": "1"}), (5, {"torch": "1"}), (9, {"torch": "1"})),
        ((0, {"torch": "1"}), (0, {"torch": "2"})),  # the first left no step
        ((0, {}), (5, {"torch": "1"})),
    ],
)
def test_without_a_change_there_is_nothing_to_say(
    attempts: tuple[tuple[int, dict[str, str]], ...],
) -> None:
    assert describe(*attempts) is None


def test_each_condition_that_changed_is_named_with_what_it_was() -> None:
    here = {"device": "cpu", "threads": "2", "torch": "2.14.1"}
    there = {"device": "NVIDIA H100", "threads": "2", "torch": "2.15.0"}
    assert describe((0, here), (7, there)) == (
        "device cpu before, NVIDIA H100 now; torch 2.14.1 before, 2.15.0 now"
    )


def test_a_change_is_said_by_every_later_attempt() -> None:
    assert describe((0, {"torch": "1"}), (5, {"torch": "2"}), (9, {"torch": "2"})) == (
        "torch 1 before, 2 now"
    )
    assert describe((0, {"torch": "1"}), (5, {"torch": "2"}), (9, {"torch": "3"})) == (
        "torch 1, 2 before, 3 now"
    )
