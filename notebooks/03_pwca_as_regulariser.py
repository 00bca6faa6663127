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
# # Is PWCA a regulariser?
#
# PWCA trains the same weights with keys and values of another picture mixed in, and is gone at
# test. If it regularises, the model fits its training pictures less and loses less on others. The
# arms of a grid in `results/ablate` that differ by PWCA alone are compared, by the SA branch, which
# all of them have, and seed by seed.

# %%
# %matplotlib inline
import os

from IPython.display import Markdown, display

from dcal import load_config
from dcal.analysis.ablation_results import describe, measure_cost
from dcal.analysis.regularisation import (
    HELD_OUT,
    TRAIN,
    compare_at_end,
    compare_at_equal_training_loss,
    compare_pairs,
    count_epochs_to,
    read_pwca_grids,
    tell_regularisation,
)
from dcal.visual.ablations import draw_bands

# %% tags=["parameters"]
project = ".."  # the folder of params.yaml and results/
show_pictures = True  # no picture of the data set is shown here in any case
root = "results/ablate"  # below the project
share = 0.95  # of its best held-out score that a training has to reach

# %%
os.chdir(project)
config = load_config("params.yaml")
grids = read_pwca_grids(root)
if not grids:
    display(Markdown(f"No grid in {root} has arms that differ by PWCA alone: `make ablate`."))

# %% [markdown]
# ## Losses over epochs
#
# A line is the mean over seeds, a band reaches from the lowest to the highest. The loss of training
# is a mean over an epoch in which the weights moved, on augmented pictures; so it begins above the
# held-out loss. Compare arms, not panels.

# %%
titles = {TRAIN: "Training pictures", HELD_OUT: "Held-out pictures"}
for grid in grids:
    display(Markdown(f"### {grid.name}\n\n{describe(grid.ablation)}"))
    if grid.ablation.head["dataset"] != config.dataset.name:
        display(Markdown(f"**params.yaml is of another data set, {config.dataset.name}.**"))
    losses = [(title, grid.select(column)) for column, title in titles.items()]
    display(draw_bands(losses, arms=grid.arms, y_label="cross-entropy of SA", is_log=True))
    gap = [("Held-out less training", grid.select("gap"))]
    display(draw_bands(gap, arms=grid.arms, y_label="difference"))

# %% [markdown]
# ## Gap, and held-out loss where training has come equally far
#
# With PWCA less without, paired by seed. Whoever trains slower has a smaller gap at the same epoch;
# the last row of a pair asks at one and the same loss of training instead.

# %%
for grid in grids:
    display(Markdown(f"### {grid.name}"), compare_pairs(grid).round(4))

# %% [markdown]
# ## What it costs
#
# Epochs until the held-out score is near its best, and time over that of the baseline. Seconds are
# those of the machine as it was, beside whatever else it did.

# %%
for grid in grids:
    reached = count_epochs_to(grid.ablation.curves, f"val/sa/{grid.ablation.score}", share)
    cost = measure_cost(grid.ablation).assign(reached=reached.groupby("arm")["epochs"].mean())
    cost.columns = ["epochs", "mean seconds", "time over the baseline's", f"epochs to {share:.0%}"]
    display(Markdown(f"### {grid.name}"), cost.reindex(grid.arms).round(2))

# %% [markdown]
# ## Weights of the losses
#
# With uncertainty weighting, w of each branch over epochs; its loss is multiplied by exp(-w) / 2.

# %%
key = "train/log_variance/"
for grid in grids:
    curves = grid.ablation.curves
    is_weight = curves["metric"].str.startswith(key) & (curves["arm"] == grid.ablation.baseline)
    weights = curves[is_weight].assign(arm=curves["metric"].str.removeprefix(key))
    if len(weights):
        title = f"{grid.name}: {grid.ablation.baseline}"
        display(draw_bands([(title, weights)], arms=sorted(weights["arm"].unique()), y_label="w"))

# %% [markdown]
# ## Answer

# %%
answers = [
    f"- {grid.name}, "
    + tell_regularisation(
        compare_at_end(grid.gaps, pair, "gap"),
        compare_at_equal_training_loss(grid.gaps, pair),
        pair,
    )
    for grid in grids
    for pair in grid.pairs
]
display(Markdown("\n".join(answers) or f"Nothing to compare in {root} yet: run `make ablate`."))
