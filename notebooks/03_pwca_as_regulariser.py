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
# # Is PWCA a regulariser?
#
# PWCA trains the same weights with keys and values of another picture mixed in, and is gone at
# test. If it regularises, the model fits its training pictures less and loses less on others. The
# arms of a grid in `results/ablate` that differ by PWCA alone are compared, by the SA branch, which
# all of them have, and seed by seed.

# %%
# %matplotlib inline
from IPython.display import Markdown, display

from dcal.analysis.ablation_texts import describe, warn_of_other_data
from dcal.analysis.generalisation import compare_over_epochs
from dcal.analysis.project import open_project
from dcal.analysis.regularisation import (
    compare_pairs,
    compare_seconds,
    measure_loss_weights,
    read_pwca_grids,
    select_loss_weights,
)
from dcal.analysis.regularisation_texts import (
    format_loss_weights,
    format_pair,
    format_seconds,
    tell_pwca,
)
from dcal.visual.ablations import draw_bands, draw_differences, draw_loss_weights
from dcal.visual.notebook_figures import DescribedFigure

# %% tags=["parameters"]
project = ".."  # the folder of params.yaml and results/
show_pictures = True  # no picture of the data set is shown here in any case
root = "results/ablate"  # below the project

# %%
config = open_project(project)
grids, left_out = read_pwca_grids(root)
for name, reason in left_out.items():
    display(Markdown(f"Grid {name} is not asked: {reason}."))

# %% [markdown]
# ## Losses over epochs
#
# A line is the mean over seeds, a band reaches from the lowest to the highest. The loss of training
# is a mean over an epoch in which the weights moved, on augmented pictures; so it begins above the
# held-out loss. Compare arms, not panels.

# %%
titles = {"training": "Training pictures", "held_out": "Held-out pictures"}
for grid in grids:
    warning = warn_of_other_data(grid.ablation, config.dataset.name)
    display(Markdown(f"### {grid.name}\n\n{warning} {describe(grid.ablation)}"))
    losses = [(title, grid.select(column)) for column, title in titles.items()]
    curves = draw_bands(losses, lines=grid.arms, y_label="cross-entropy of SA", is_log=True)
    display(
        DescribedFigure(curves, "Losses of training and of held-out pictures over epochs, by arm")
    )

# %% [markdown]
# ## The gap over epochs
#
# Held-out loss less that of training, by arm; below, with PWCA less without, paired by seed, with
# the 95 % interval over the seeds in brackets. Intervals of single epochs are not corrected for
# their number.

# %%
for grid in grids:
    panels = [(f"{grid.name}: held-out less training", grid.select("gap"))]
    gaps = draw_bands(panels, lines=grid.arms, y_label="difference of losses")
    display(DescribedFigure(gaps, "Gap between held-out and training loss over epochs, by arm"))
    differences = [(pair.name, compare_over_epochs(grid.gaps, pair, "gap")) for pair in grid.pairs]
    paired = draw_differences(differences, y_label="gap, paired difference")
    display(
        DescribedFigure(paired, "Paired difference of the gap over epochs, with PWCA less without")
    )

# %% [markdown]
# ## At the end, and where training has come equally far
#
# With PWCA less without, paired by seed. What trains slower has a smaller gap at the same epoch; so
# the held-out loss is also read at one and the same loss of training, the lowest that both reach.
# `p (Holm)` is raised for the number of rows of the grid, and is what the answer goes by.

# %%
for grid in grids:
    display(Markdown(f"### {grid.name}"))
    table = compare_pairs(grid)
    for pair in grid.pairs:
        display(format_pair(table, pair))

# %% [markdown]
# ## What it costs
#
# Time with PWCA over time without, a geometric mean over seeds, and the share of the time that is
# PWCA's. Seconds are those of the machine as it was, beside whatever else it did.

# %%
for grid in grids:
    display(Markdown(f"### {grid.name}"), format_seconds(compare_seconds(grid)))

# %% [markdown]
# ## Weights of the losses
#
# With uncertainty weighting each loss is multiplied by exp(-w) / 2, and w is learned. The table has
# that factor at the end, the mean over seeds.

# %%
factors = {}
for grid in grids:
    weights = select_loss_weights(grid.ablation.curves, grid.arms)
    factors[grid.name] = measure_loss_weights(weights)
    display(Markdown(f"### {grid.name}"))
    if weights.empty:
        display(Markdown("The weights of the losses are fixed."))
    else:
        learned = draw_loss_weights(weights)
        display(DescribedFigure(learned, "w of each branch over epochs, by arm"))
        display(format_loss_weights(factors[grid.name]))

# %% [markdown]
# ## Answer

# %%
display(Markdown(tell_pwca(grids, factors, root)))
