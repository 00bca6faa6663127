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
# # At which depth does attention rollout point at the parts that matter?
#
# GLCA selects patches by the rollout over the blocks below it; pictures are usually drawn over
# all blocks. This notebook draws the same test pictures at every depth, and scores each depth on
# the parts that tell the classes apart. Run the pipeline first (`make repro`).

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch

from dcal import load_config
from dcal.inference.localization import score_looking
from dcal.inference.scoring import build_scoring_loader, open_scoring
from dcal.visual.attention_maps import paint_rollout
from dcal.visual.gallery import to_pixels
from pipelines.rollout import build_masks, compute_tolerance

os.chdir(Path(os.environ.get("DCAL_NOTEBOOK_ROOT", "..")))
scoring = open_scoring(load_config("params.yaml"))
depths = range(1, scoring.model.num_blocks + 1)

# %% [markdown]
# ## Four test pictures, block by block

# %%
rows = scoring.pictures.select("test").index[:4].tolist()
images = next(iter(build_scoring_loader(scoring, "test", rows=rows)))["image"]
figure, axes = plt.subplots(
    len(rows), len(depths) + 1, figsize=(2 * len(depths) + 2, 2 * len(rows)), squeeze=False
)
for column, depth in enumerate([None, *depths]):
    maps = None if depth is None else scoring.model.rollout(images, depth)
    for row, image in enumerate(images):
        pixels = to_pixels(image, scoring)
        axes[row, column].imshow(
            pixels if maps is None else paint_rollout(pixels, maps[row].numpy())
        )
        axes[row, column].axis("off")
    axes[0, column].set_title("picture" if depth is None else f"{depth} blocks")

# %% [markdown]
# ## The share of the rollout that lies on the parts, by depth
#
# The dashed line is what a uniform map would get.

# %%
rows = scoring.pictures.select("test").index[:96].tolist()
scores = pd.DataFrame()
if scoring.pictures.report.discriminative_parts:
    tables = [
        score_looking(
            scoring.model,
            build_scoring_loader(scoring, "test", rows=rows),
            build_masks(scoring),
            device=torch.device("cpu"),
            num_blocks=depth,
            tolerance=compute_tolerance(scoring),
        )[0]
        for depth in depths
    ]
    scores = pd.concat(tables).query("branch == 'sa'")
    axes = sns.lineplot(scores, x="num_blocks", y="energy_share", errorbar=("ci", 95), seed=0)
    axes.axhline(scores["area_share"].mean(), linestyle="--", color="grey")

# %% [markdown]
# ## Answer

# %%
if scores.empty:
    print("This data set has no part annotation: look at the pictures above.")
else:
    means = scores.groupby("num_blocks")[["energy_share", "pointing_game"]].mean()
    best = means["energy_share"].idxmax()
    print(means.round(3).to_string())
    print(f"Most of the rollout lies on the parts at {best} of {max(depths)} blocks.")
