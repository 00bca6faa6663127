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
# # Where does a Re-ID model go wrong: at a camera, at an identity, or at a threshold?
#
# A run of a Re-ID data set (`preset=reid`) is taken as `dvc repro` leaves it. Its embeddings are
# read from `runs/evaluate/features.safetensors`, so nothing is embedded again.

# %%
# %matplotlib inline
from IPython.display import Markdown, display

from dcal.analysis.project import open_project
from dcal.analysis.ranking_texts import (
    format_confusions,
    format_scores,
    tabulate_cameras,
    tell_errors,
)
from dcal.inference.ranking_errors import (
    ask_cameras,
    count_confusions,
    list_worst,
    measure_nearest,
    open_ranking,
)
from dcal.visual.notebook_figures import DescribedFigure
from dcal.visual.ranked_lists import build_lists, draw_ranked_lists
from dcal.visual.ranking_errors import (
    describe_camera_shares,
    describe_nearest,
    describe_precisions,
    draw_camera_shares,
    draw_nearest,
    draw_precisions,
)

# %% tags=["parameters"]
project = ".."  # the folder of params.yaml, results/ and runs/
show_pictures = True  # False: tables only, where pictures may not be passed on
num_worst = 5  # queries to look at
num_shown = 8  # gallery pictures of each

# %%
ranking = open_ranking(open_project(project))

# %% [markdown]
# ## Scores by branch

# %%
display(format_scores(ranking.results))

# %% [markdown]
# ## From camera to camera
#
# For each pair of cameras: the share of queries of the first whose nearest picture *of the second*
# is right, among those of whom the second camera has a picture.

# %%
shares = tabulate_cameras(ask_cameras(ranking))
if shares.empty:
    display(Markdown("Cameras are not known, or show nobody twice: nothing to compare."))
else:
    display(DescribedFigure(draw_camera_shares(shares), describe_camera_shares(shares)))

# %% [markdown]
# ## Is there a distance below which one may believe it?
#
# Distances of the nearest right and of the nearest wrong picture of each query. Where the two
# overlap, no threshold tells them apart.

# %%
distances = measure_nearest(ranking)
display(DescribedFigure(draw_nearest(distances), describe_nearest(distances)))

# %% [markdown]
# ## Average precision by branch
#
# Each point is a query. Off the diagonal one branch finds what the other does not.

# %%
if {"sa", "glca"} <= set(ranking.results):
    figure = draw_precisions(ranking.queries)
    display(DescribedFigure(figure, describe_precisions(ranking.queries)))
else:
    display(Markdown("The model has one branch, so there is nothing to compare."))

# %% [markdown]
# ## The worst queries

# %%
worst = list_worst(ranking, num=num_worst, num_shown=num_shown)
if worst.empty:
    display(Markdown("Every query finds all of its pictures first."))
elif show_pictures:
    lists = build_lists(worst, query_root=ranking.root, gallery_root=ranking.root)
    said = (
        "Ranked lists of the queries of lowest average precision, right and wrong pictures marked"
    )
    display(DescribedFigure(draw_ranked_lists(lists), said))
else:
    display(worst[["query", "rank", "path", "distance", "is_right"]])

# %% [markdown]
# ## Nearest wrong identities
#
# Whose picture is the nearest wrong one, by the identity of the queries.

# %%
confusions = count_confusions(ranking)
display(format_confusions(confusions, num=10))

# %% [markdown]
# ## Answer

# %%
display(Markdown(tell_errors(confusions, shares, num_queries=ranking.num_valid_queries)))
