"""Which scores a training gives on the held-out split, known before it begins (ours)."""

from __future__ import annotations

from collections.abc import Mapping

from dcal.config import Config
from dcal.tuning.errors import TuningError
from dcal.tuning.settings import COST_KEY, Direction
from dcal.tuning.space import Space, get_value

SPLIT = "val"
# By the kind of data set, with the direction of each.
SCORES: Mapping[str, Mapping[str, Direction]] = {
    "fgvc": {"top1_accuracy": "maximize", "loss": "minimize"},
    "reid": dict.fromkeys(("mean_ap", "mean_inp", "cmc_1", "cmc_5", "cmc_10"), "maximize"),
}
GLCA_BLOCKS = "model.glca_blocks"
WITH_GLCA = ("glca", "both")  # branches that need it


def list_scores(kind: str) -> dict[str, Direction]:
    """Return `val/<branch>/<score>` of a model with GLCA, and which way each is better."""
    return {
        f"{SPLIT}/{branch}/{score}": direction
        for branch in ("both", "sa", "glca")
        for score, direction in SCORES[kind].items()
    }


def check_objectives(objectives: Mapping[str, Direction], space: Space, base: Config) -> None:
    """Refuse a goal that a trial might not have, or that goes the wrong way.

    Args:
        objectives: Of a plan.
        space: What is searched.
        base: The config that trials change.

    Raises:
        TuningError: No such score, one of a branch that some trials lack, or the worst as goal.
    """
    known = list_scores(base.dataset.kind)
    for key, direction in objectives.items():
        if key == COST_KEY:
            continue
        place = f"study.objectives: {key}"
        if key not in known:
            raise TuningError(
                f"{place}: no training of {base.dataset.name} gives this score; there are "
                f"{', '.join(known)}"
            )
        if direction != known[key]:
            raise TuningError(f"{place}: expected {known[key]}, got {direction}")
        branch = key.split("/")[1]
        if branch in WITH_GLCA and _may_lack_glca(space, base):
            raise TuningError(
                f"{place}: with {GLCA_BLOCKS}=0, which this study may try, there is no branch "
                f"{branch}; begin {GLCA_BLOCKS} at 1, or take {key.replace(branch, 'sa', 1)}"
            )


def _may_lack_glca(space: Space, base: Config) -> bool:
    parameter = space.get(GLCA_BLOCKS)
    is_always_searched = parameter is not None and not parameter.when
    own = [] if is_always_searched else [get_value(base, GLCA_BLOCKS)]
    return 0 in own or (parameter is not None and parameter.holds(0))
