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
import os

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import Markdown, display

from dcal import load_config
from dcal.analysis.ranking_tables import (
    build_confusions,
    build_ranking_table,
    find_worst_queries,
    select_queries,
)
from dcal.data.datamodule import open_pictures
from dcal.inference.camera_pairs import compare_cameras, measure_nearest_right
from dcal.inference.retrieval import (
    build_query_table,
    find_lists,
    rank_branches,
    read_test_features,
)
from dcal.visual.figures import BRANCH_COLOURS, BRANCH_NAMES, house_style
from dcal.visual.ranked_lists import build_lists, draw_ranked_lists

# %% tags=["parameters"]
project = ".."  # the folder of params.yaml, results/ and runs/
show_pictures = True  # False: tables only, where pictures may not be passed on
num_worst = 5  # queries to look at

# %%
os.chdir(project)
config = load_config("params.yaml")
pictures = open_pictures(config.dataset)
features = read_test_features("runs/evaluate/features.safetensors", pictures)
results = rank_branches(features, config.evaluate)
queries = build_query_table(features, results)
branches = list(results)
main = branches[-1]
splits = {split: features.table[features.table["split"] == split] for split in ("query", "gallery")}

# %% [markdown]
# ## Scores by branch

# %%
scores = pd.DataFrame(
    {
        BRANCH_NAMES[branch]: {
            "mean AP": result.mean_ap,
            "rank-1": result.cmc[0],
            "rank-5": result.cmc[4],
            "mean INP": result.mean_inp,
        }
        for branch, result in results.items()
    }
).T
display(scores.map(lambda share: f"{100 * share:.1f} %"))

# %% [markdown]
# ## From camera to camera
#
# For each pair of cameras: the share of queries of the first whose nearest picture *of the second*
# is right, among those of whom the second camera has a picture.

# %% alt="Rank-1 from each query camera to each gallery camera"
memory_limit = config.evaluate.memory_mb << 20
nearest = compare_cameras(features, branch=main, memory_limit=memory_limit)
has_cameras = len(nearest) > 0
if has_cameras:
    shares = nearest.assign(is_right=nearest["is_right"].astype(float)).pivot_table(
        index="query_camera", columns="camera", values="is_right", aggfunc="mean"
    )
    with house_style():
        side = max(3.6, 0.45 * len(shares.columns))
        figure, axes = plt.subplots(figsize=(1.0 + side, side), layout="constrained")
        sns.heatmap(
            shares, annot=True, fmt=".2f", vmin=0, vmax=1, cmap="Blues", cbar=False, ax=axes
        )
        axes.set(xlabel="camera of the gallery", ylabel="camera of the query")
else:
    display(Markdown("Cameras are not known, so there is nothing to compare."))

# %% [markdown]
# ## Is there a distance below which one may believe it?
#
# Distances of the nearest right and of the nearest wrong picture of each query. Where the two
# overlap, no threshold tells them apart.

# %% alt="Distances of the nearest right and the nearest wrong picture of the queries"
wrong = find_lists(features, branch=main, num=1, rule="identity", memory_limit=memory_limit)
distances = {
    "nearest right": measure_nearest_right(features, branch=main),
    "nearest wrong": wrong.distances[:, 0],
}
pairs = pd.DataFrame(distances).melt(var_name="which", value_name="distance").dropna()
with house_style():
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    sns.histplot(
        pairs, x="distance", hue="which", element="step", bins=30, ax=axes,
        palette={"nearest right": "#2b7a3b", "nearest wrong": "#b3261e"},
    )  # fmt: skip
    axes.set(xlabel="squared Euclidean distance", ylabel="queries")
    axes.get_legend().set_title(None)

# %% [markdown]
# ## Average precision by branch
#
# Each point is a query. Off the diagonal one branch finds what the other does not.

# %% alt="Average precision of each query by SA and by GLCA"
if {"sa", "glca"} <= set(branches):
    with house_style():
        figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        sns.scatterplot(
            queries, x="sa_average_precision", y="glca_average_precision", s=14,
            color=BRANCH_COLOURS["both"], ax=axes,
        )  # fmt: skip
        axes.set(xlabel="SA", ylabel="GLCA", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")

# %% [markdown]
# ## The worst queries

# %% alt="Ranked lists of the queries of lowest average precision"
precisions = queries[f"{main}_average_precision"].to_numpy()
worst = find_worst_queries(precisions, num=num_worst)
lists = find_lists(features, branch=main, num=8, rule="junk", memory_limit=memory_limit)
table = build_ranking_table(splits["query"], splits["gallery"], lists)
shown = select_queries(table, queries, worst)
if not len(worst):
    display(Markdown("No query has an average precision below 1."))
elif show_pictures:
    root = pictures.root
    figure = draw_ranked_lists(build_lists(shown, query_root=root, gallery_root=root))
    display(figure)
else:
    display(shown[["query", "rank", "path", "distance", "is_right"]])

# %% [markdown]
# ## Nearest wrong identities

# %%
confusions = build_confusions(splits["query"], splits["gallery"], wrong, results[main].first_ranks)
columns = ["identity", "wrong_identity", "num_queries", "num_ahead", "distance"]
display(confusions[columns].head(10).style.hide(axis="index").format({"distance": "{:.3f}"}))

# %% [markdown]
# ## Answer

# %%
ahead = confusions["num_ahead"]
text = (
    f"{int(ahead.sum())} of {results[main].num_valid_queries} queries have a wrong picture first; "
    f"the {min(5, len(confusions))} commonest mix-ups make up {int(ahead.head(5).sum())} of them."
)
if has_cameras:
    low = shares.stack()
    place = low.idxmin()
    text += (
        f" The weakest way is from camera {place[0]} to camera {place[1]} ({low.min():.2f}), the "
        f"strongest reaches {low.max():.2f}."
    )
display(Markdown(f"**{text}**"))
