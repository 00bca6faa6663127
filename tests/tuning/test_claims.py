"""Trainings that are known beforehand, shared by processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dcal.tuning.claims import Claims, open_claims
from dcal.tuning.errors import TuningError
from dcal.tuning.storage import Heartbeat, open_storage

KEYS = ["a", "b", "c"]
TAKES_ONE = """
import sys, time
from tests.tuning.test_claims import join
claims = join()
claim = claims.take()
with claims.hold(claim):
    print(claim.key, flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["sqlite", "journal"], autouse=True)
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the environment name a place that is made ready, or made when it is first touched."""
    if request.param == "sqlite":
        request.getfixturevalue("ready_studies")
    else:
        monkeypatch.setenv("DCAL_OPTUNA_URL", f"journal:///{tmp_path}/shared/optuna.journal")


def join(
    keys: list[str] = KEYS,
    *,
    code: str = "c0de",
    is_led: bool = False,
    known: dict[str, Any] | None = None,
    kept: dict[str, Any] | None = None,
) -> Claims:
    """Join those who share the trainings of a grid, as a process of its own would."""
    claims = open_claims(
        open_storage(Heartbeat(1, 2)),
        "grid finches",
        origins={"code": code},
        described={"code": code},
        is_led=is_led,
        keep=(kept if kept is not None else {}).__setitem__,
    )
    claims.enqueue(keys, (known or {}).get)
    return claims


def finish_next(claims: Claims, **result: Any) -> str:
    claim = claims.take()
    assert claim is not None
    with claims.hold(claim):
        claim.finish(result)
    return claim.key


def test_each_training_is_taken_once_in_order_and_its_result_reaches_all() -> None:
    mine, theirs = join(), join()
    assert [finish_next(claims, n=n) for n, claims in enumerate((mine, theirs, mine))] == KEYS
    assert mine.take() is theirs.take() is None
    assert theirs.list_results() == {"a": {"n": 0}, "b": {"n": 1}, "c": {"n": 2}}
    assert join().take() is None


def test_what_one_process_is_at_is_left_to_it() -> None:
    mine, theirs = join(), join()
    claim = mine.take()
    assert claim is not None
    with mine.hold(claim):
        assert theirs.list_running() == ["a"]
        assert finish_next(theirs) == "b"
        claim.finish({"n": 1})
    assert theirs.list_running() == []


def test_a_training_that_was_left_is_taken_by_the_next_however_often() -> None:
    for _ in range(5):
        claims = join(["a"])
        claim = claims.take()
        assert claim is not None
        with pytest.raises(KeyboardInterrupt), claims.hold(claim):
            raise KeyboardInterrupt
    assert finish_next(join(["a"])) == "a"


def test_a_killed_process_leaves_its_training_to_others_at_once(repository: Path) -> None:
    join()
    other = subprocess.Popen(
        [sys.executable, "-c", TAKES_ONE], cwd=repository, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "a\n"
    claims = join()
    assert claims.list_running() == ["a"] and finish_next(claims) == "b"
    other.kill()
    other.communicate()
    assert finish_next(claims) == "a"


def test_a_training_whose_process_died_three_times_waits_for_the_next_start() -> None:
    for _ in range(3):
        claims = join(["a"])
        claim = claims.take()
        assert claim is not None
        # As one of another work root that is silent for too long.
        claims._storage.set_trial_user_attr(claim._trial._trial_id, "owner", "nobody")
        from optuna.trial import TrialState

        trial = claims._storage.get_trial(claim._trial._trial_id)
        claims._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        claims._storage.get_heartbeat_stale_trial_callback()(claims._study, trial)
    assert claims.take() is None and claims.list_running() == []
    assert finish_next(join(["a"])) == "a"


def test_what_was_trained_before_is_not_waited_for() -> None:
    first = join(known={"b": {"n": 7}})
    assert first.list_results() == {"b": {"n": 7}}
    later = join(known={"a": {"n": 8}})
    assert later.list_results() == {"a": {"n": 8}, "b": {"n": 7}}
    assert finish_next(first) == "c"


def test_a_result_that_comes_after_another_process_took_over_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from optuna.trial import TrialState

    claims = join()
    claim = claims.take()
    assert claim is not None
    with claims.hold(claim):
        claims._storage.set_trial_state_values(claim._trial._trial_id, TrialState.FAIL)
        claim.finish({"n": 1})
    assert "gave no sign of life for too long" in caplog.text
    assert claims.list_results() == {}


def test_a_number_is_made_once_for_all() -> None:
    assert join().share("ratio", lambda: 1.5) == 1.5
    assert join().share("ratio", lambda: 9.0) == 1.5


def test_another_code_is_refused_but_for_who_leads_and_then_it_begins_anew() -> None:
    old = join()
    finish_next(old, n=1)
    said = r"^grid finches in .* was begun with other code \(code was c0de and is beef\)"
    with pytest.raises(TuningError, match=said + ".*; go back to those$"):
        join(code="beef")
    claim = old.take()
    assert claim is not None
    with old.hold(claim):
        with pytest.raises(TuningError, match=said + ".* or end the workers that are at it"):
            join(code="beef", is_led=True)
        claim.finish({"n": 2})
    kept: dict[str, Any] = {}
    new = join(code="beef", is_led=True, kept=kept)
    assert kept == {"a": {"n": 1}, "b": {"n": 2}} and new.list_results() == {}
    with pytest.raises(TuningError, match="begun anew by another process"):
        old.take()
    assert finish_next(join(code="beef")) == "a"
