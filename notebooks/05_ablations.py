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
from IPython.display import Markdown, display

from dcal.analysis.ablation_results import count_compared, measure_cost, read_ablations
from dcal.analysis.ablation_texts import (
    describe,
    format_cost,
    format_runs,
    format_table,
    tell_grids,
    tell_runs,
    tell_settings,
    warn_of_other_data,
)
from dcal.analysis.project import open_project
from dcal.tracking import find_runs
from dcal.visual.ablations import describe_forest, draw_cost, draw_forest, draw_seeds, name_score
from dcal.visual.notebook_figures import DescribedFigure

# %% tags=["parameters"]
project = ".."  # the folder of params.yaml and results/
show_pictures = True  # no picture of the data set is shown here in any case
root = "results/ablate"  # below the project

# %%
config = open_project(project)
grids, left_out = read_ablations(root)
for name, reason in left_out.items():
    display(Markdown(f"**Grid {name} is not shown: {reason}.**"))
for grid in grids:
    name, score, baseline = grid.head["grid"], grid.score, grid.baseline
    warning = warn_of_other_data(grid, config.dataset.name)
    display(Markdown(f"## {name}: {grid.head['question']}\n\n{warning} {describe(grid)}"))
    display(Markdown(tell_settings(grid)))
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
    seeds = draw_seeds(grid.scores, score=score, order=grid.score_rows)
    display(DescribedFigure(seeds, "The score of each seed, by row"))
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
    display(Markdown(tell_runs(grid, runs)))
    if runs:
        display(format_runs(grid, runs))

# %% [markdown]
# ## Answer

# %%
display(Markdown(tell_grids(grids, left_out, root)))
