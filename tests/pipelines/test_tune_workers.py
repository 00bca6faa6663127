"""A worker that differs from the others, and two that write results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcal.config import load_config
from dcal.tuning.errors import TuningError
from dcal.tuning.locks import lock_storage
from pipelines import fetch, prepare
from pipelines.tune.study import Search, open_search, run_final_round
from tests.pipelines.scored import write_params
from tests.pipelines.tuned import SPACE, make_tuning_project, write_plan

pytestmark = pytest.mark.usefixtures("ready_studies")


@pytest.fixture(autouse=True)
def default_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep studies of a test out of the user's database."""
    monkeypatch.delenv("DCAL_OPTUNA_URL", raising=False)


def test_a_worker_with_other_parameters_data_code_or_space_is_refused_and_told_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_tuning_project(tmp_path, monkeypatch)
    path = write_plan()

    def join() -> Search:
        return open_search(path, should_stop=lambda: None, helps=True)

    join()
    kept = Path("params.yaml").read_text()
    said = r"study\.name: finches in .* was begun with other parameters, data or code"
    write_params(load_config("params.yaml", ["train.weight_decay=0.5"]))
    with pytest.raises(TuningError, match=said + r" \(train\.weight_decay was \S+ and is 0\.5\)"):
        join()
    Path("params.yaml").write_text(kept)
    with monkeypatch.context() as edited:
        for module in ("pipelines.train", "pipelines.origins"):
            edited.setattr(f"{module}.compute_code_digest", lambda places: "f" * 64)
        with pytest.raises(TuningError, match=said + r" \(code was \w{12} and is f{12}\)"):
            join()
    write_plan({**SPACE, "model.drop_path": {"kind": "float", "low": 0.0, "high": 0.1}})
    with pytest.raises(TuningError, match=r"other space \(space\.model\.drop_path was None and is"):
        join()
    write_plan()
    join()
    drawn_anew = {**config.dataset.options, "seed": 1}
    write_params(load_config("params.yaml", [f"dataset.options={json.dumps(drawn_anew)}"]))
    fetch.main()
    prepare.main()
    with pytest.raises(TuningError, match=said + r" \(data was \w+ and is \w+"):
        join()


def test_two_that_write_results_train_the_last_round_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    make_tuning_project(tmp_path, monkeypatch)
    search = open_search(write_plan(), should_stop=lambda: "got SIGTERM")
    key = search.ground.parent_key[:8]
    with lock_storage(f"final-{key}"):
        with pytest.raises(KeyboardInterrupt, match="got SIGTERM"):
            run_final_round(search)
    said = "another process carries out the last round of finches; waiting for it"
    assert caplog.messages.count(said) == 1
