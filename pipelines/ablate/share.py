"""Train what is left of a grid beside other processes, and take in what they trained (ours)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from dcal.ablation.grid import GridError
from dcal.tuning.claims import Claim
from pipelines.ablate.claims import find_result, keep_result
from pipelines.ablate.run import Ablation, Cell, carry_out

logger = logging.getLogger(__name__)
POLL_SECONDS = 1.0


def share_out(ablation: Ablation) -> Iterator[None]:
    """Train what no other process has begun until all is trained; yield where there is more of it.

    Raises:
        GridError: Processes died of a training again and again, or memory ran out.
        KeyboardInterrupt: The user or the hours stopped it.
    """
    cells = {cell.key: cell for cell in ablation.list_cells()}
    while True:
        claim = ablation.claims.take()
        if claim is not None:
            _train(ablation, cells[claim.key], claim)
        if take_in(ablation) or claim is not None:
            yield
        if claim is None and not _wait(ablation, cells):
            break
    if left := ablation.list_left():
        raise GridError(
            f"{left[0].name}: the process that trained it died, each time that it was tried; what "
            "is done is kept; see what ends it, and run make ablate again"
        )


def take_in(ablation: Ablation) -> bool:
    """Keep in this work root what other processes trained; say whether there was any."""
    results = ablation.claims.list_results()
    new = [cell.key for cell in ablation.list_left() if cell.key in results]
    for key in new:
        keep_result(key, results[key])
    return bool(new)


def _train(ablation: Ablation, cell: Cell, claim: Claim) -> None:
    left, planned = ablation.list_left(), ablation.list_cells()
    with ablation.claims.hold(claim):
        if ablation.find(cell) is None:  # else its process died before it said so
            done = len(planned) - len(left)
            logger.info("training %d of %d: %s", done + 1, len(planned), cell.name)
            carry_out(ablation, cell)
        result = find_result(cell.key)
        assert result is not None
        claim.finish(result)


def _wait(ablation: Ablation, cells: dict[str, Cell]) -> bool:
    """Wait a moment for other processes; False where there are none."""
    running = ablation.claims.list_running()
    if not running:
        return False
    if reason := ablation.ground.should_stop():
        raise KeyboardInterrupt(reason)
    ablation.claims.say_that_it_waits(" and ".join(cells[key].name for key in running))
    time.sleep(POLL_SECONDS)
    return True
