# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
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
from dcal.analysis.ablation_results import (
    describe,
    format_table,
    list_grids,
    measure_cost,
    read_ablation,
    tell_differences,
)
from dcal.tracking import find_runs
from dcal.visual.ablations import draw_forest, draw_seeds

# %% tags=["parameters"]
project = ".."  # the folder of params.yaml and results/
show_pictures = True  # no picture of the data set is shown here in any case
root = "results/ablate"  # below the project

# %%
os.chdir(project)
config = load_config("params.yaml")
grids = [read_ablation(folder) for folder in list_grids(root)]
for grid in grids:
    name, score = grid.head["grid"], grid.score
    display(Markdown(f"## {name}: {grid.head['question']}\n\n{describe(grid)}"))
    if grid.head["dataset"] != config.dataset.name:
        display(
            Markdown(
                f"**Another data set than that of params.yaml, which is {config.dataset.name}.**"
            )
        )
    display(
        Markdown(
            "\n".join(
                f"- `{arm}`: "
                + (", ".join(f"{k}={v}" for k, v in values.items()) or "params.yaml as it is")
                for arm, values in ((arm, grid.head["arms"][arm]) for arm in grid.arms)
            )
        )
    )
    display(format_table(grid))
    display(draw_forest(grid.table, score=score, baseline=grid.baseline))
    rows = grid.table[grid.table["metric"] == score]
    order = list(zip(rows["arm"], rows["branch"], strict=True))
    display(draw_seeds(grid.scores, score=score, order=order))
    cost = measure_cost(grid)
    cost.columns = ["epochs", "mean seconds", f"time over {grid.baseline}'s"]
    display(Markdown("Seconds are those of the machine as it was, beside whatever else it did."))
    display(cost.round(2))
    runs = find_runs(grid.head["dataset"], list(grid.trainings["fingerprint"]))
    known = f"{len(runs)} of these {len(grid.trainings)} trainings are in the MLflow of this place"
    display(Markdown(f"{known} (`make ui`, below the run `grid {name}`)."))

# %% [markdown]
# ## Answer

# %%
answers = [f"- {grid.head['grid']}, {line}" for grid in grids for line in tell_differences(grid)]
display(
    Markdown(
        "Points of the score that counts, less the baseline:\n\n" + "\n".join(answers)
        if grids
        else f"No grid was run here: {root} holds none. Run `make ablate`."
    )
)
