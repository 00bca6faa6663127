"""A study's file in experiments/tune/: how it is run, and what it searches (ours)."""

from __future__ import annotations

from pathlib import Path

from dcal.config import Config, Section
from dcal.section_files import read_section
from dcal.tuning.checks import SECTIONS, check_space, require_sections
from dcal.tuning.errors import TuningError
from dcal.tuning.parameters import Parameter, Scalar
from dcal.tuning.presets import list_presets
from dcal.tuning.scores import check_objectives
from dcal.tuning.settings import Hyperband, StudySettings
from dcal.tuning.space import apply


class Plan(Section):
    """Everything a study is given beside the config that its trials change."""

    study: StudySettings
    # What all trainings of the study have otherwise than params.yaml, such as fewer epochs; no
    # part of what the study finds.
    base: dict[str, Scalar] = {}
    space: dict[str, Parameter]


def load_plan(path: str | Path) -> Plan:
    """Read a plan.

    Raises:
        TuningError: No such file, or a key, type or range that is wrong.
    """
    return read_section(Path(path), Plan, TuningError)


def find_base(plan: Plan, config: Config) -> Config:
    """Return the config that trials change: a run's, with what the plan has otherwise.

    Raises:
        ConfigError: The plan's base has a key or a value that the tree refuses.
        TuningError: It has a key that would do nothing, or one that is searched.
    """
    base = apply(config, plan.base, origin=f"plan {plan.study.name}: base")
    require_sections(plan.base, (*SECTIONS, "seed"), place="base")
    searched = next((key for key in plan.base if key in plan.space), None)
    if searched is not None:
        # What is handed on leaves such a key as params.yaml has it, which no trial had.
        raise TuningError(
            f"base: {searched} is searched, too; set it in params.yaml, or take it out of space"
        )
    return base


def check_plan(plan: Plan, base: Config, *, num_blocks: int) -> None:
    """Refuse a plan that does not fit the config that its trials change; see `check_space`.

    Raises:
        TuningError: The space, a goal, the pruner's epochs or a preset does not fit.
    """
    check_space(plan.space, base, num_blocks=num_blocks)
    check_objectives(plan.study.objectives, plan.space, base)
    list_presets(plan.study, plan.space, base, num_blocks=num_blocks)
    pruner = plan.study.pruner
    if not isinstance(pruner, Hyperband):
        return
    last, epochs = pruner.find_max_epochs(base), base.train.epochs
    if not pruner.min_epochs < last <= epochs:
        raise TuningError(
            "study.pruner: expected min_epochs below max_epochs and that at most train.epochs; got "
            f"{pruner.min_epochs}, {last} and {epochs}"
        )
