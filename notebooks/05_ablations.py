# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What does each part give, and can it be told from chance?
#
# Every grid in `results/ablate` (`make ablate GRID=...`) is shown: each arm over its seeds, and its
# difference from the baseline, paired by seed, because a lucky seed is lucky for both. An interval
# that holds 0 says that so few seeds tell no difference, and not that there is none. `p (Holm)` is
# raised for the number of rows that are compared at once.

# %%
# %matplotlib inline
import os

from IPython.display import Markdown, display

from dcal import load_config
from dcal.analysis.ablation_results import count_compared, measure_cost, read_ablations
from dcal.analysis.ablation_texts import (
    describe,
    format_cost,
    format_table,
    list_settings,
    tell_differences,
    tell_other_scores,
    warn_of_other_data,
)
from dcal.tracking import find_runs
from dcal.visual.ablations import describe_forest, draw_cost, draw_forest, draw_seeds, name_score
from dcal.visual.notebook_figures import DescribedFigure

# %% tags=["parameters"]
project = ".."  # the folder of params.yaml and results/
show_pictures = True  # no picture of the data set is shown here in any case
root = "results/ablate"  # below the project

# %%
os.chdir(project)
config = load_config("params.yaml")
grids, left_out = read_ablations(root)
for name, reason in left_out.items():
    display(Markdown(f"**Grid {name} is not shown: {reason}.**"))
for grid in grids:
    name, score, baseline = grid.head["grid"], grid.score, grid.baseline
    warning = warn_of_other_data(grid, config.dataset.name)
    display(Markdown(f"## {name}: {grid.head['question']}\n\n{warning} {describe(grid)}"))
    display(Markdown("\n".join(f"- `{line}`" for line in list_settings(grid))))
    display(format_table(grid))
    display(
        Markdown(
            f"{name_score(score)} on the test split, %, over seeds. {count_compared(grid)} "
            f"rows are compared with {baseline} at once. Other branches of an arm are the same "
            "trained model, read in another way."
        )
    )
    forest = draw_forest(grid.table, score=score, baseline=baseline)
    display(DescribedFigure(forest, describe_forest(grid.table, score=score)))
    rows = grid.table[grid.table["metric"] == score]
    order = list(zip(rows["arm"], rows["branch"], strict=True))
    display(
        DescribedFigure(
            draw_seeds(grid.scores, score=score, order=order), "The score of each seed, by row"
        )
    )
    display(Markdown(f"### Cost, {name}"), format_cost(measure_cost(grid), baseline=baseline))
    cost = draw_cost(measure_cost(grid), score=score, baseline=baseline)
    display(DescribedFigure(cost, "Score of each arm over its time of training, as in the table"))
    display(Markdown("Seconds are those of the machine as it was, beside whatever else it did."))

# %% [markdown]
# ## These runs in MLflow
#
# By seed, the first letters of each run's id in the MLflow of this place (`make ui`).

# %%
for grid in grids:
    runs = find_runs(grid.head["dataset"], list(grid.trainings["fingerprint"]))
    ids = grid.trainings["fingerprint"].map({key: run_id[:8] for key, run_id in runs.items()})
    name, known = grid.head["grid"], grid.trainings.assign(run=ids).dropna(subset="run")
    said = (
        f"{name}: {len(known)} of {len(grid.trainings)} trainings are in the MLflow of this place"
    )
    where = ", each below the run of the grid that asked for it first" if len(known) else ""
    display(Markdown(f"{said}{where}."))
    if len(known):
        table = known.pivot(index="arm", columns="seed", values="run").fillna("")
        display(table.reindex([arm for arm in grid.arms if arm in table.index]))

# %% [markdown]
# ## Answer

# %%
answers = [
    f"- {grid.head['grid']}, {line}"
    for grid in grids
    for line in (*tell_differences(grid), tell_other_scores(grid))
    if line
]
display(
    Markdown(
        "Points of the score that counts, less the baseline:\n\n" + "\n".join(answers)
        if grids
        else f"No grid was run here: {root} holds none. Run `make ablate`."
    )
)
