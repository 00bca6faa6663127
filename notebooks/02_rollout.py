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
# # At which depth does attention rollout point at the parts that matter?
#
# GLCA selects patches by the rollout over the blocks below it; pictures are usually drawn over
# all blocks. Here the same test pictures are drawn at several depths, and every depth is scored on
# the parts that tell the classes apart.

# %%
# %matplotlib inline
from IPython.display import Markdown, display

from dcal.analysis.depths import format_depths, summarise_depths, tell_depths, tell_model
from dcal.analysis.project import open_project
from dcal.inference.depths import choose_depths, roll_out_depths, score_depths
from dcal.inference.scoring import open_scoring
from dcal.processor import prepare_cpu
from dcal.visual.depths import describe_depths, describe_rollouts, draw_depths, draw_rollouts
from dcal.visual.notebook_figures import DescribedFigure

# %% tags=["parameters"]
project = ".."  # the folder of params.yaml, results/ and runs/, as `make repro` leaves it
show_pictures = True  # False: maps without the pictures, where these may not be passed on
num_drawn = 4  # test pictures to look at
num_scored = 96  # test pictures a depth

# %%
prepare_cpu()
scoring = open_scoring(open_project(project))
display(Markdown(tell_model(scoring)))

# %% [markdown]
# ## Test pictures, block by block
#
# Bright is where the class token's attention came from, over the first block, the first two, and
# so on.

# %%
depths = choose_depths(scoring.model.num_blocks, num=7)
rollouts = roll_out_depths(scoring, num_pictures=num_drawn, depths=depths)
figure = draw_rollouts(rollouts, scoring, show_pictures=show_pictures)
display(DescribedFigure(figure, describe_rollouts(rollouts, show_pictures=show_pictures)))
if not show_pictures:
    display(Markdown("These pictures may not be passed on: the maps stand without them."))

# %% [markdown]
# ## The share of the rollout that lies on the parts, by depth
#
# The band is the 95 % interval over the pictures; the dashed line is what a uniform map would get.

# %%
scores = score_depths(scoring, num_pictures=num_scored)
if scores.empty:
    display(Markdown("No part is annotated on these pictures, so there is nothing to score."))
else:
    display(DescribedFigure(draw_depths(scores), describe_depths(scores)))
    display(format_depths(summarise_depths(scores)))

# %% [markdown]
# ## Answer

# %%
display(Markdown(tell_depths(scores)))
