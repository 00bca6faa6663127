"""Which process trains what of a grid, through the storage of studies (ours)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from dcal.ablation.arms import Arm
from dcal.ablation.grid import Grid
from dcal.config import Config
from dcal.data.datamodule import Pictures
from dcal.paths import render_json
from dcal.tuning.claims import Claims, open_claims
from dcal.tuning.storage import Heartbeat, open_storage
from pipelines.ablate.store import Finished, find_finished, keep_finished
from pipelines.origins import compute_origins, describe_origins


def open_grid_claims(
    name: str,
    grid: Grid,
    arms: list[Arm],
    pictures: Pictures,
    *,
    helps: bool,
    heartbeat: Heartbeat | None,
) -> Claims:
    """Begin to share a grid, or join those who do.

    Args:
        name: Of the grid.
        grid: What all processes must have alike, with the next two.
        arms: Without those whose epochs follow from a measurement; the baseline first.
        pictures: What is trained on.
        helps: Whether another process decides what the grid is.
        heartbeat: None = that of `dcal.tuning`.

    Raises:
        TuningError: Others carry it out with something else.
    """
    baseline = arms[0].config
    return open_claims(
        open_storage(heartbeat),
        f"grid {name}",
        origins={
            **compute_origins(baseline, pictures),
            "arms, seeds or scores": _digest(_list_parts(grid, arms)),
        },
        described={**describe_origins(baseline, pictures), **_describe(grid, arms)},
        is_led=not helps,
        keep=keep_result,
    )


def keep_result(key: str, result: Any) -> None:
    """Keep what a training gave somewhere in this work root, unless that has it."""
    if find_finished(key) is None:
        keep_finished(key, Finished.model_validate(result))


def find_result(key: str) -> Mapping[str, Any] | None:
    """Return what a training gave in this work root, as the storage keeps it."""
    kept = find_finished(key)
    return None if kept is None else kept.model_dump(mode="json")


def _list_parts(grid: Grid, arms: list[Arm]) -> list[Any]:
    return [
        [[arm.name, arm.overrides] for arm in arms],
        grid.same_time,
        grid.seeds,
        _dump_evaluate(arms[0].config),
    ]


def _describe(grid: Grid, arms: list[Arm]) -> dict[str, str]:
    evaluate = _dump_evaluate(arms[0].config)
    return {
        "arms": " ".join(arm.name for arm in arms),
        "same_time": " ".join(grid.same_time) or "none",
        "seeds": " ".join(map(str, grid.seeds)),
        **{f"evaluate.{key}": str(value) for key, value in evaluate.items()},
    }


def _dump_evaluate(config: Config) -> dict[str, Any]:
    return config.evaluate.model_dump(mode="json")


def _digest(content: Any) -> str:
    return hashlib.sha256(render_json(content).encode()).hexdigest()[:12]
