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
# # What is in this data set, and what in it could mislead a result?
#
# Everything here is read from the index that `prepare` wrote of the data set of `params.yaml`, and
# from its pictures; no model is asked.

# %%
# %matplotlib inline
from IPython.display import Markdown, display

from dcal.analysis.data_counts import (
    count_camera_pairs,
    count_cameras,
    count_splits,
    summarise_groups,
)
from dcal.analysis.data_findings import find_misleading, open_data_set
from dcal.analysis.data_texts import (
    format_sizes,
    format_table,
    list_sentences,
    quote,
    tell_answer,
    tell_contents,
    tell_findings,
)
from dcal.analysis.examples import choose_all_examples
from dcal.analysis.picture_sizes import describe_sizes, find_input_size
from dcal.analysis.project import open_project
from dcal.data.raw import raw_root
from dcal.visual.data_tour import (
    describe_balance,
    describe_sizes_drawn,
    draw_balance,
    draw_camera_pairs,
    draw_sizes,
)
from dcal.visual.examples import describe_examples, draw_examples
from dcal.visual.notebook_figures import DescribedFigure

# %% tags=["parameters"]
project = ".."  # the folder of params.yaml and data/
show_pictures = True  # False: tables and drawings only, where pictures may not be passed on
num_groups = 4  # classes or identities to look at
num_pictures = 3  # of each, of train and as many of test

# %%
config = open_project(project)
data = open_data_set(config)
table, report = data.table, data.report
display(Markdown(quote(tell_contents(data))))

# %% [markdown]
# ## Pictures by split

# %%
display(format_table(count_splits(table, kind=report.kind)))

# %% [markdown]
# ## How even it is
#
# Each line is a split; where it falls far, a score over all pictures is one of the large ones.

# %%
balance = summarise_groups(data.counts)
figure = draw_balance(data.counts, of=data.groups, columns=data.counted)
display(DescribedFigure(figure, describe_balance(balance, of=data.groups)))
display(Markdown(f"Pictures of each {data.group}:"), format_table(balance))
if "cameras" in data.counted:
    seen = summarise_groups(data.counts, column="cameras")
    display(Markdown("Cameras that saw each:"), format_table(seen))

# %% [markdown]
# ## Cameras

# %%
if data.has_cameras:
    display(format_table(count_cameras(table)))
pairs = count_camera_pairs(table)
if data.is_reid and not pairs.empty:
    display(
        Markdown(
            "Pairs of a query and a right gallery picture, by their cameras; those of one camera "
            "are left out of every ranking."
        ),
        DescribedFigure(draw_camera_pairs(pairs), "Right pairs by query and gallery camera"),
    )
if not data.has_cameras:
    display(Markdown("No camera is known." if data.is_reid else "Cameras are of Re-ID alone."))

# %% [markdown]
# ## Sizes
#
# Every picture is resized to the one size of `params.yaml`, whatever its shape. `enlarged`: a side
# grows; `stretched`: it becomes over 1.5 times wider or narrower. Of several numbers the first is
# the smallest, then the median and the largest.

# %%
size = find_input_size(config, is_train=False)
display(format_sizes(describe_sizes(table, config)))
display(DescribedFigure(draw_sizes(table, size), describe_sizes_drawn(size)))

# %% [markdown]
# ## Examples
#
# From the most to the fewest train pictures, with boxes, part points and outlines of parts where
# they are known.

# %%
if show_pictures:
    examples = choose_all_examples(data, num_groups=num_groups, num_pictures=num_pictures)
    figure = draw_examples(examples, root=raw_root(config.dataset), part_names=report.part_names)
    display(DescribedFigure(figure, describe_examples(examples)))
else:
    display(Markdown("These pictures may not be passed on: the rest stands without them."))

# %% [markdown]
# ## Copies
#
# Pictures of a row's split that the column's has too, byte for byte; on the diagonal, those that
# another one of the same split is equal to. Pictures that are nearly equal are not looked for.

# %%
display(format_table(data.copies))

# %% [markdown]
# ## Warnings of `prepare`

# %%
display(Markdown(list_sentences(report.warnings, otherwise="There are none.")))

# %% [markdown]
# ## What could mislead

# %%
findings = find_misleading(data)
display(Markdown(tell_findings(findings)))

# %% [markdown]
# ## Answer

# %%
display(Markdown(tell_answer(data, findings)))
