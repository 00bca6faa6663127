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
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from IPython.display import Markdown, display

from dcal import load_config
from dcal.inference.localization import get_selection_depth, score_looking
from dcal.inference.scoring import build_scoring_loader, open_scoring
from dcal.training.runtime import resolve_runtime
from dcal.visual.attention_maps import enlarge, paint_rollout
from dcal.visual.figures import BRANCH_COLOURS, house_style
from dcal.visual.gallery import to_pixels
from pipelines.rollout import build_masks, compute_tolerance

# %% tags=["parameters"]
project = ".."  # the folder of params.yaml, results/ and runs/, as `make repro` leaves it
show_pictures = True  # False: maps without the pictures, where these may not be passed on
num_scored = 96  # test pictures a depth

# %%
os.chdir(project)
torch.set_flush_denormal(True)
scoring = open_scoring(load_config("params.yaml"))
model = scoring.model
split = "query" if scoring.config.dataset.kind == "reid" else "test"
device = torch.device(resolve_runtime(scoring.config.train).accelerator)
depths = range(1, model.num_blocks + 1)
selecting = get_selection_depth(model)
display(
    Markdown(
        f"Model: {scoring.config.model.backbone}, {model.num_blocks} blocks, on the test split of "
        f"{scoring.config.dataset.name}. "
        + (f"GLCA selects after {selecting} blocks." if model.selects_patches else "")
    )
)

# %% [markdown]
# ## Four test pictures, block by block
#
# Bright is where the class token's attention came from, over the first block, the first two, and
# so on.

# %% alt="Rollouts over more and more blocks, each row one test picture"
rows = scoring.pictures.select(split).index[:4].tolist()
images = next(iter(build_scoring_loader(scoring, split, rows=rows)))["image"]
drawn = sorted({int(depth) for depth in np.linspace(1, model.num_blocks, 7)})
columns = ["picture", *drawn] if show_pictures else drawn
with house_style():
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=(1.6 * len(columns), 1.7 * len(rows)), squeeze=False
    )
with torch.inference_mode():
    maps = {depth: model.to(device).rollout(images.to(device), depth).cpu() for depth in drawn}
for row, image in enumerate(images):
    pixels = enlarge(to_pixels(image, scoring))
    ground = pixels if show_pictures else np.full_like(pixels, 128)
    for place, column in zip(axes[row], columns, strict=True):
        is_map = column != "picture"
        place.imshow(paint_rollout(ground, maps[column][row].numpy()) if is_map else ground)
        place.set_axis_off()
for place, column in zip(axes[0], columns, strict=True):
    name = "1 block" if column == 1 else f"{column} blocks"
    place.set_title(column if column == "picture" else name, fontsize=9)
figure.tight_layout(pad=0.4)
if not show_pictures:
    display(Markdown("These pictures may not be passed on: the maps stand without them."))

# %% [markdown]
# ## The share of the rollout that lies on the parts, by depth
#
# The band is the 95 % interval over the pictures; the dashed line is what a uniform map would get.

# %% alt="Share of the rollout that lies on the parts, by number of blocks"
scores = pd.DataFrame()
if scoring.pictures.report.discriminative_parts:
    rows = scoring.pictures.select(split).index[:num_scored].tolist()
    tables = [
        score_looking(
            model,
            build_scoring_loader(scoring, split, rows=rows),
            build_masks(scoring),
            device=device,
            num_blocks=depth,
            tolerance=compute_tolerance(scoring),
        )[0]
        for depth in depths
    ]
    scores = pd.concat(tables).query("branch == 'sa'")
    with house_style():
        figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
        sns.lineplot(
            scores, x="num_blocks", y="energy_share", errorbar=("ci", 95), seed=0,
            marker="o", color=BRANCH_COLOURS["sa"], ax=axes,
        )  # fmt: skip
        axes.axhline(scores["area_share"].mean(), linestyle="--", color="grey")
        axes.set(xlabel="blocks", ylabel="share on the parts", xticks=depths, ylim=(0, None))
else:
    display(Markdown("This data set has no part annotation, so there is nothing to score."))

# %% [markdown]
# ## Answer

# %%
answer = "Without part annotation the pictures above are all there is to judge the blocks by."
if not scores.empty:
    means = scores.groupby("num_blocks")[["energy_share", "pointing_game"]].mean()
    means.columns = ["share on the parts", "peak on a part"]
    means.index.name = "blocks"
    best, uniform = means["share on the parts"].idxmax(), scores["area_share"].mean()
    display(means.T.map(lambda share: f"{100 * share:.1f} %"))
    answer = (
        f"**The largest share of the rollout lies on the parts at {best} of {model.num_blocks} "
        f"blocks**: {100 * means['share on the parts'][best]:.1f} % of it, against "
        f"{100 * uniform:.1f} % of a uniform map ({scores['row'].nunique()} test pictures). The "
        "smallest is "
        f"{100 * means['share on the parts'].min():.1f} %: depths that lie within the bands above "
        "cannot be told apart."
    )
display(Markdown(answer))
