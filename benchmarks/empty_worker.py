"""A worker of a study whose trials train nothing: `python -m benchmarks.empty_worker TRIALS`.

Prints, as JSON, the seconds of imports, of opening the storage and the study, and of its trials.
The storage is that of DCAL_OPTUNA_URL.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping

STARTED = time.perf_counter()

from dcal.config import Config, load_config  # noqa: E402
from dcal.tuning.driver import Worker  # noqa: E402
from dcal.tuning.objective import Trial  # noqa: E402
from dcal.tuning.plan import Plan, load_plan  # noqa: E402
from dcal.tuning.storage import open_storage  # noqa: E402
from dcal.tuning.study import open_study  # noqa: E402

PLAN = "experiments/tune/loss_and_top_r.yaml"
NUM_BLOCKS = 6
IMPORTED = time.perf_counter()


def main() -> None:
    """Run trials until as many as asked for were begun by all workers together."""
    logging.disable(logging.WARNING)
    plan = make_plan(int(sys.argv[1]))
    base = load_config("params.yaml")
    read = time.perf_counter()
    storage = open_storage()
    study = open_study(storage, plan, base, num_blocks=NUM_BLOCKS, fingerprints={}, described={})
    opened = time.perf_counter()
    Worker(study, storage, plan, base, score, announce=lambda line: None).run()
    seconds = {
        "import": IMPORTED - STARTED,
        "open": opened - read,
        "trials": time.perf_counter() - opened,
    }
    print(json.dumps(seconds))


def make_plan(num_trials: int) -> Plan:
    """Return the default plan with another budget and without a pruner."""
    plan = load_plan(PLAN)
    content = plan.model_dump(mode="json")
    content["study"]["budget"] = {"num_trials": num_trials, "minutes": None}
    content["study"]["pruner"] = {"kind": "none"}
    return Plan.model_validate(content)


def score(config: Config, trial: Trial) -> Mapping[str, float]:
    """Return a score that follows from the settings alone."""
    return {"val/both/top1_accuracy": 1.0 - abs(config.model.top_r - 0.4)}


if __name__ == "__main__":
    main()
