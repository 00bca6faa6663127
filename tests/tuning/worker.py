"""A worker with a process of its own: `python -m tests.tuning.worker NUMBER LOG`.

Number 1 hangs in its first trial until it is killed; the others take milliseconds for one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from optuna.trial import Trial

from dcal.config import Config
from tests.tuning.factory import make_plan, open_worker, score

PLAN = make_plan(name="kills", num_trials=12)


def main() -> None:
    """Run trials until the budget is spent."""
    number, log = int(sys.argv[1]), Path(sys.argv[2])

    def run(config: Config, trial: Trial) -> dict[str, float]:
        if number == 1:
            log.write_text("1 hangs")
            time.sleep(600)
        # The other worker starts at its own pace and needs a trial to hang in.
        while number == 0 and not log.exists():
            time.sleep(0.01)
        time.sleep(0.01)
        return score(config, trial)

    open_worker(PLAN, run, announce=print).run()


if __name__ == "__main__":
    main()
