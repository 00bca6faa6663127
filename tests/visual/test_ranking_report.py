"""The report of a Re-ID run: its words, links and drawings, and that nothing leaves the column."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dcal.visual.figures import BRANCH_COLOURS
from dcal.visual.ranking_curves import describe_cmc, draw_cmc
from dcal.visual.report import ReportInputs, render_report
from dcal.visual.report.next_steps import build_next_steps
from tests.visual.fixtures import change, make_config, make_inputs
from tests.visual.test_report import Page

BRANCHES = ("sa", "glca", "both")
DATASET = {"name": "vehicles", "kind": "reid", "source_type": "vehicles"}


def make_queries() -> pd.DataFrame:
    table = pd.DataFrame({"path": ["a.png", "b.png", "c.png"], "num_positives": [1, 2, 0]})
    for branch in BRANCHES:
        table[f"{branch}_average_precision"] = [1.0, 0.5, np.nan]
        table[f"{branch}_first_rank"] = [1, 2, 0]
    return table


def make_metrics(*, has_reranked: bool = True) -> dict[str, float]:
    names = ("mean_ap", "mean_inp", "cmc_1", "cmc_5", "cmc_10")
    prefixes = ("", "reranked_") if has_reranked else ("",)
    scores = {f"test/{b}/{prefix}{n}": 1.0 for b in BRANCHES for prefix in prefixes for n in names}
    return scores | {"test/num_queries": 3, "test/num_valid_queries": 2, "test/num_gallery": 6}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    folder = tmp_path_factory.mktemp("run")
    plain = make_inputs(folder, num_classes=4, per_class=4)
    assert plain.training is not None
    held_out = {f"val/{branch}/mean_ap": 0.75 for branch in BRANCHES}
    identities = pd.DataFrame({"identity": [1, 2], "num_queries": [1, 1]})
    pairs = {"identity": [1], "wrong_identity": [2], "num_queries": [1], "num_ahead": [1]}
    for name in ("queries", "worst"):
        Image.new("RGB", (1500, 400)).save(folder / "rollout" / f"{name}.png")
        lists = pd.DataFrame({"query": ["a.png"], "rank": [1], "path": ["b.png"]})
        lists.to_csv(folder / "rollout" / f"{name}.csv", index=False)
    return change(
        plain,
        config=make_config(dataset=DATASET),
        training=replace(plain.training, metrics=held_out),
        metrics=make_metrics(),
        predictions=make_queries(),
        classes=identities.assign(**{f"{branch}_mean_ap": [0.5, 1.0] for branch in BRANCHES}),
        confusion=pd.DataFrame(pairs).assign(distance=0.25),
        gallery=pd.DataFrame(
            {"name": ["queries", "worst"], "title": ["Drawn", "Lowest"], "num_queries": [2, 1]}
        ),
    )


def read(inputs: ReportInputs) -> str:
    return re.sub(r"\s+", " ", Page(render_report(inputs)).text)


def test_the_sections_are_linked_in_their_order_on_the_page(inputs: ReportInputs) -> None:
    tags = Page(render_report(inputs)).tags
    ids = [attributes["id"] for tag, attributes in tags if tag == "section"]
    links = [
        str(attributes["href"])[1:]
        for tag, attributes in tags
        if tag == "a" and "download" not in attributes
    ]
    assert links == ids
    assert "lists" in links


def test_one_query_is_spoken_of_as_one_and_two_as_two(inputs: ReportInputs) -> None:
    html, text = render_report(inputs), read(inputs)
    assert "1 query has no match to be found and is in no score." in text
    assert "of SA + GLCA: 2 queries, 6 gallery pictures." in text
    assert "Drawn: 2 queries, each with what was found for it" in html
    assert "Lowest: 1 query with what was found for it" in html
    other = {"test/num_valid_queries": 1, "test/num_gallery": 1}
    text = read(change(inputs, metrics=inputs.metrics | other))
    assert "2 queries have no match to be found and are in no score." in text
    assert "of SA + GLCA: 1 query, 1 gallery picture." in text
    assert "over 1 query (SA + GLCA)" in text


def test_held_out_scores_say_their_metric_and_their_epoch(inputs: ReportInputs) -> None:
    text = read(inputs)
    assert "Held-out mean AP, epoch 13" in text and "75.0 %" in text
    assert "after the last epoch, 13; the other columns are of the weights of epoch 12." in text
    last = change(inputs, card={**inputs.card, "selected_epoch": 12})
    assert "on the held-out split, by the same weights." in read(last)
    assert inputs.training is not None
    without = change(inputs, training=replace(inputs.training, metrics={}))
    assert "Held-out" not in read(without) and "Held out:" not in read(without)


def test_reranked_rows_are_marked(inputs: ReportInputs) -> None:
    assert read(inputs).count("SA + GLCAre-ranked") == 1
    plain = change(inputs, metrics=make_metrics(has_reranked=False))
    assert "re-ranked" not in read(plain).lower()


def test_a_missing_list_of_the_worst_is_explained_where_lists_were_drawn(
    inputs: ReportInputs,
) -> None:
    sentence = "No query has an average precision below 1, so there is no list of the worst."
    assert sentence not in read(inputs)
    assert sentence in read(change(inputs, gallery=inputs.gallery.head(1)))
    assert sentence not in read(change(inputs, gallery=inputs.gallery.head(0)))


def test_the_advice_is_about_identities_and_that_of_the_readme(
    inputs: ReportInputs, repository: Path
) -> None:
    steps = {step["heading"]: step for step in build_next_steps(inputs)}
    readme = (repository / "README.md").read_text(encoding="utf-8")
    command = steps["Your own pictures"]["command"].removesuffix("\ndvc repro")
    assert "preset=reid dataset=market" in command and command in readme
    assert steps["Search pictures without labels"]["command"] in readme
    assert all(line in readme for line in steps["Compare"]["command"].splitlines())
    assert "for every class" not in read(inputs)


def test_a_given_model_is_the_one_to_search_by_and_its_folder_stays_private(
    inputs: ReportInputs,
) -> None:
    config = make_config(dataset=DATASET, evaluate={"weights": "/home/me/given.safetensors"})
    text = read(change(inputs, config=config, training=None))
    assert "dcal embed /path/to/given.safetensors /path/to/pictures" in text
    assert "/home/me" not in text


@pytest.mark.parametrize(("num_gallery", "last"), [(1, 1), (6, 6), (20, 20), (500, 20)])
def test_cmc_goes_no_further_than_the_gallery_nor_than_rank_20(num_gallery: int, last: int) -> None:
    axes = draw_cmc(make_queries(), num_gallery=num_gallery).axes[0]
    for line in axes.get_lines():
        assert np.asarray(line.get_xdata()).tolist() == list(range(1, last + 1))
        assert np.asarray(line.get_ydata()).tolist() == [0.5, *[1.0] * (last - 1)]
    left, right = axes.get_xlim()
    assert left < 1 and last < right < last + 1
    assert all(1 <= tick <= last for tick in axes.get_xticks())
    said = describe_cmc(make_queries(), num_gallery=num_gallery)
    assert said.endswith("1.000 at rank 10" if last > 10 else f"at rank {last}")


def test_equal_curves_are_all_seen(tmp_path: Path) -> None:
    figure = draw_cmc(make_queries(), num_gallery=6)
    figure.savefig(tmp_path / "cmc.png", dpi=200, facecolor="white")
    with Image.open(tmp_path / "cmc.png") as image:
        width, height = image.size
        # Without the legend, which is below the curves.
        pixels = np.asarray(image.convert("RGB").crop((0, 0, width, height // 2))).reshape(-1, 3)
    for branch in BRANCHES:
        colour = [int(BRANCH_COLOURS[branch][start : start + 2], 16) for start in (1, 3, 5)]
        assert (pixels == colour).all(axis=1).sum() > 200
