"""The section on the last runs, and the CSV files that the page holds."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dcal.tracking.tracker import flatten_params
from dcal.visual.curves import list_panels, select_panel
from dcal.visual.report import PastRun, ReportInputs, render_report
from dcal.visual.report.comparison import NUM_NAMED, build_comparison
from tests.visual.fixtures import change, make_config, make_inputs
from tests.visual.test_report import Page


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return make_inputs(tmp_path_factory.mktemp("run"), num_classes=8, per_class=6)


def make_past(inputs: ReportInputs, **changes: str) -> PastRun:
    """Return an earlier run; keywords, with two underscores for a dot, change parameters."""
    params = flatten_params(inputs.config.model_dump(mode="json"))
    params |= {key.replace("__", "."): value for key, value in changes.items()}
    return PastRun(
        run_id="0" * 32,
        fingerprint="b1b2c3d4e5f6",
        started="2026-01-01T03:04:05+00:00",
        experiment=None,
        data_digest=inputs.index_report.digest,
        num_warnings=0,
        params=params,
        metrics={"test/sa/top1_accuracy": 0.25, "test/both/top1_accuracy": 0.5},
    )


def read_csvs(html: str) -> dict[str, pd.DataFrame]:
    """Return what a click on each CSV link of a page would save."""
    tables = {}
    for tag, attributes in Page(html).tags:
        if tag == "a" and attributes.get("download"):
            head, encoded = str(attributes["href"]).split(",", 1)
            assert head == "data:text/csv;charset=utf-8;base64"
            tables[str(attributes["download"])] = pd.read_csv(
                io.BytesIO(base64.b64decode(encoded, validate=True))
            )
    return tables


def test_a_run_is_told_by_its_score_its_distance_and_what_it_had_otherwise(
    inputs: ReportInputs,
) -> None:
    past = [
        make_past(inputs, model__top_r="0.1", train__lr="0.5"),
        replace(make_past(inputs), experiment="bold-finch", data_digest="other", num_warnings=2),
    ]
    section = build_comparison(replace(inputs, past_runs=past))
    own, first, second = section["rows"]
    ours = inputs.metrics["test/both/top1_accuracy"]
    assert own["is_own"] and own["gain"] == "" and own["score"] == f"{100 * ours:.1f} %"
    assert first["gain"] == f"{100 * (ours - 0.5):+.1f}" and first["score"] == "50.0 %"
    assert first["differing"] == [
        {"key": "model.top_r", "theirs": "0.1", "ours": "0.3"},
        {"key": "train.lr", "theirs": "0.5", "ours": "0.001"},
    ]
    assert second["name"] == "bold-finch" and second["remarks"] == ("other pictures", "2 warnings")
    assert second["same"] == "the same parameters"
    assert section["params"] == [
        ["model.top_r", "0.3", "0.1", "0.3"],
        ["train.lr", "0.001", "0.5", "0.001"],
    ]
    html = render_report(replace(inputs, past_runs=past))
    assert Page(html).open == [] and "bold-finch" in html and "0.1 &rarr; 0.3" in html
    table = read_csvs(html)["scores_of_runs.csv"].set_index("score")
    assert table.loc["test/both/top1_accuracy"].to_list() == [ours, 0.5, 0.5]
    assert list(table) == ["a1b2c3d4e5f6", "b1b2c3d4e5f6", "bold-finch"]


def test_equal_scores_differ_by_zero_without_a_sign(inputs: ReportInputs) -> None:
    past = replace(make_past(inputs), metrics=inputs.metrics)
    assert build_comparison(replace(inputs, past_runs=[past]))["rows"][1]["gain"] == "0.0"


def test_more_differences_than_a_row_holds_are_counted_and_listed_below(
    inputs: ReportInputs,
) -> None:
    keys = ("seed", "model.top_r", "model.stride", "train.lr", "train.epochs", "loss.weighting")
    past = make_past(inputs, **{key.replace(".", "__"): "7" for key in keys})
    section = build_comparison(replace(inputs, past_runs=[past]))
    assert len(section["rows"][1]["differing"]) == NUM_NAMED
    assert section["rows"][1]["more"] == len(keys) - NUM_NAMED
    assert {row[0] for row in section["params"]} == set(keys)


def test_keys_of_another_version_are_in_the_table_and_not_called_different(
    inputs: ReportInputs,
) -> None:
    past = make_past(inputs, model__top_k="3")
    past = replace(past, params={k: v for k, v in past.params.items() if k != "model.top_r"})
    section = build_comparison(replace(inputs, past_runs=[past]))
    assert section["rows"][1]["differing"] == []
    assert section["params"] == [["model.top_r", "0.3", ""], ["model.top_k", "", "3"]]


@pytest.mark.parametrize(
    ("weights", "told"),
    [("none", "other code"), ("/home/someone/a.safetensors", "other starting weights")],
)
def test_runs_of_the_same_parameters_tell_what_else_may_differ(
    inputs: ReportInputs, weights: str, told: str
) -> None:
    assert inputs.config.model.weights == "none"
    section = build_comparison(
        replace(inputs, past_runs=[make_past(inputs, model__weights=weights)])
    )
    assert section["rows"][1]["same"] == f"the same parameters, {told}"
    assert "someone" not in str(section)


def test_runs_of_one_name_have_columns_of_their_own(inputs: ReportInputs) -> None:
    past = [make_past(inputs, seed="3"), make_past(inputs, seed="4")]
    names = build_comparison(replace(inputs, past_runs=past))["names"]
    assert names == ["a1b2c3d4e5f6", "b1b2c3d4e5f6 (1)", "b1b2c3d4e5f6 (2)"]


def test_folders_of_a_machine_are_no_difference(inputs: ReportInputs) -> None:
    past = make_past(inputs, dataset__source="/home/someone/birds")
    html = render_report(replace(inputs, past_runs=[past]))
    assert "/home/someone" not in html and "the same parameters" in html


def test_without_another_run_the_page_says_how_there_would_be_one(inputs: ReportInputs) -> None:
    html = render_report(inputs)
    assert "Git holds no run of birds before this one." in html and 'class="runs"' not in html


def test_a_model_that_was_given_is_compared_with_nothing(inputs: ReportInputs) -> None:
    given = change(
        inputs,
        training=None,
        past_runs=[make_past(inputs)],
        config=make_config(evaluate={"weights": "model.safetensors"}),
    )
    assert build_comparison(given) is None
    assert 'id="compared"' not in render_report(given)


def test_every_figure_has_its_numbers_as_csv(inputs: ReportInputs) -> None:
    tables = read_csvs(render_report(inputs))
    history = inputs.training.history
    panels = {
        f"{panel.title.lower().replace(' ', '_')}.csv": panel for panel in list_panels(history)
    }
    assert set(tables) == {
        "scores.csv", "classes.csv", "confusion.csv", "confused_pairs.csv", "localization.csv",
        "overlays.csv", *panels,
    }  # fmt: skip
    for name, panel in panels.items():
        expected = select_panel(history, panel).reset_index(drop=True)
        pd.testing.assert_frame_equal(tables[name], expected, check_dtype=False)
    pd.testing.assert_frame_equal(tables["classes.csv"], inputs.classes, check_dtype=False)
    pd.testing.assert_frame_equal(tables["confusion.csv"], inputs.confusion, check_dtype=False)
    scores = tables["scores.csv"].set_index("branch")["top1_accuracy"]
    assert scores.to_dict() == {
        branch: inputs.metrics[f"test/{branch}/top1_accuracy"] for branch in ("sa", "glca", "both")
    }


def test_pictures_that_may_not_be_passed_on_are_in_no_csv(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, num_classes=4, per_class=3, dataset={"remote": "private"})
    assert "overlays.csv" not in read_csvs(render_report(inputs))
