"""The report: one file, complete, honest about its data."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dcal.visual.report import ReportInputs, render_notebook, render_report
from dcal.visual.report.inputs import format_count, format_duration, format_percent
from dcal.visual.report.next_steps import build_next_steps
from tests.visual.fixtures import change, make_config, make_inputs, make_record

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects what the tests ask for, and insists that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return make_inputs(tmp_path_factory.mktemp("run"), num_classes=8, per_class=6)


@pytest.fixture(scope="module")
def html(inputs: ReportInputs) -> str:
    return render_report(inputs)


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(html: str) -> None:
    page = Page(html)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or "#"
            assert value.startswith(
                ("#", "data:image/webp;base64,", "data:image/png;base64,", "data:text/csv;")
            )
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert len(html.encode()) < 3_000_000


def test_every_picture_and_drawing_has_words_for_those_who_do_not_see_it(html: str) -> None:
    page = Page(html)
    assert len(page.images) > 20
    assert all(len(str(image["alt"])) > 10 for image in page.images)
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) == 6
    assert all(len(str(drawing["aria-label"])) > 20 for drawing in drawings)


def test_links_within_the_page_have_their_targets(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {str(attributes["href"]) for tag, attributes in page.tags if tag == "a"}
    links = {link for link in links if not link.startswith("data:text/csv;")}
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_scores_stand_beside_chance(html: str, inputs: ReportInputs) -> None:
    text = Page(html).text
    accuracy = inputs.metrics["test/both/top1_accuracy"]
    assert f"{100 * accuracy:.1f}" in text
    assert f"{round(accuracy * 48)} of 48 pictures right" in text
    assert "Guessing gets 12.5 %" in text


def test_drawn_data_is_called_that(html: str) -> None:
    assert "they say nothing about photographs" in Page(html).text


def test_photographs_are_not_called_drawn(inputs: ReportInputs) -> None:
    config = make_config(dataset={"source_type": "folder", "name": "mine"})
    text = Page(render_report(change(inputs, config=config))).text
    assert "drawn data" not in text.lower() and "drawn by a program" not in text


def test_warnings_are_shown_once(inputs: ReportInputs) -> None:
    warning = inputs.index_report.warnings[0]
    assert inputs.training is not None
    run = make_record().model_copy(update={"warnings": [warning, "something else"]})
    training = replace(inputs.training, run=run)
    text = Page(render_report(change(inputs, training=training))).text
    assert text.count(warning) == 1 and "2 warnings." in text


def test_many_and_long_warnings_are_all_there_and_fold_away(inputs: ReportInputs) -> None:
    assert inputs.training is not None
    warnings = [f"number {i}: " + "x" * 400 for i in range(30)]
    run = make_record().model_copy(update={"warnings": warnings})
    training = replace(inputs.training, run=run)
    report = inputs.index_report.model_copy(update={"warnings": []})
    page = Page(render_report(change(inputs, training=training, index_report=report)))
    assert page.open == []
    assert all(page.text.count(warning) == 1 for warning in warnings)
    assert "30 warnings." in page.text and "and 22 more" in page.text


def test_a_notebooks_page_has_the_reports_look_and_the_runs_name(inputs: ReportInputs) -> None:
    html = render_notebook(inputs, title="A <story>", body="<h1>Told</h1>")
    page = Page(html)
    assert page.open == []
    assert "<h1>Told</h1>" in html and "A &lt;story&gt;" in html
    assert inputs.training is not None and inputs.training.run.fingerprint in page.text
    assert "drawn data" in page.text
    alone = Page(render_notebook(None, title="Grids", body="<h1>Told</h1>"))
    assert alone.open == [] and "Told" in alone.text and "DCAL Workbench" in alone.text
    assert inputs.training.run.fingerprint not in alone.text


def test_a_data_set_that_may_not_be_passed_on_leaves_no_picture_on_the_page(
    inputs: ReportInputs,
) -> None:
    config = make_config(dataset={"remote": "private"})
    page = Page(render_report(change(inputs, config=config)))
    assert page.images == []
    assert "none of its pictures is on this page" in page.text
    assert "taken for" in render_report(inputs)  # while pictures may be shown, they are


def test_selection_on_the_test_split_is_said(inputs: ReportInputs) -> None:
    config = make_config(train={"selection": "test"})
    text = Page(render_report(change(inputs, config=config))).text
    assert "selected on this very test split" in text
    assert "Selected on the test split." in text


def test_a_given_model_is_not_passed_off_as_the_trained_one(inputs: ReportInputs) -> None:
    config = make_config(evaluate={"weights": "other.safetensors"}, train={"epochs": 77})
    given = change(inputs, config=config, training=None, num_parameters=7_654_321)
    page = Page(render_report(given))
    assert page.open == []
    assert "Scores and pictures are of other.safetensors" in page.text
    assert "77 epochs" in page.text and "7\u202f654\u202f321" in page.text
    assert "epoch 12 of 77" in page.text and "trained on" in page.text
    for of_training in (
        "Held-out top-1, epoch 13",
        "Curves of",
        "3 min 11 s",
        "a1b2c3d4",
        "top_r=0.",
    ):
        assert of_training in Page(render_report(inputs)).text
        assert of_training not in page.text


def test_of_a_model_of_other_data_it_is_not_said_that_the_test_split_had_no_part(
    inputs: ReportInputs,
) -> None:
    config = make_config(evaluate={"weights": "other.safetensors"})
    card = {**inputs.card, "dataset": {"name": "finches", "digest": "00" * 32}}
    text = Page(render_report(change(inputs, config=config, training=None, card=card))).text
    assert "val split of finches" in text and "is not known" in text
    assert "had no part in it" not in text


def test_the_advice_for_own_pictures_is_that_of_the_readme(
    inputs: ReportInputs, repository: Path
) -> None:
    (command,) = [step["command"] for step in build_next_steps(inputs) if "own" in step["heading"]]
    assert command in (repository / "README.md").read_text(encoding="utf-8")


def test_a_model_without_glca_is_reported_by_its_only_branch(tmp_path: Path) -> None:
    off = {"glca_blocks": 0, "pwca_blocks": 0}
    inputs = make_inputs(tmp_path, num_classes=4, per_class=4, model=off)
    text = Page(render_report(inputs)).text
    assert "top-1 accuracy of SA:" in re.sub(r"\s+", " ", text)
    assert "SA + GLCA" not in text.replace("SA + GLCA is the mean", "")
    assert "model.glca_blocks=0" not in text  # no advice to turn off what is off
    assert "With five classes or fewer, top-5 is 100 %" in text


def test_the_class_readout_says_that_top_r_has_no_effect(inputs: ReportInputs) -> None:
    config = make_config(model={"readout": "class"})
    text = Page(render_report(change(inputs, config=config))).text
    assert "top_r has no effect" in text and "dvc exp run -S model.top_r" not in text


def test_no_part_annotation_means_no_scores_and_a_word_about_it(inputs: ReportInputs) -> None:
    empty = inputs.localization.head(0)
    text = Page(render_report(change(inputs, localization=empty))).text
    assert "has no part annotation" in text and "pointing game" not in text


def test_names_from_the_data_cannot_become_markup(inputs: ReportInputs) -> None:
    hostile = "<script>alert(1)</script>"
    names = [hostile, *inputs.index_report.class_names[1:]]
    report = inputs.index_report.model_copy(update={"class_names": names})
    confusion = inputs.confusion.replace(inputs.index_report.class_names[0], hostile)
    classes = inputs.classes.replace(inputs.index_report.class_names[0], hostile)
    gallery = inputs.gallery.assign(class_name=hostile)
    changed = change(
        inputs, index_report=report, confusion=confusion, classes=classes, gallery=gallery
    )
    html = render_report(changed)
    assert hostile not in html and "&lt;script&gt;" in html
    assert Page(html).open == []


def test_the_same_inputs_give_the_same_page(inputs: ReportInputs, html: str) -> None:
    assert render_report(inputs) == html


def test_numbers_are_written_for_readers() -> None:
    assert format_percent(0.12345) == "12.3 %"
    assert format_percent(None) == format_percent(float("nan")) == "-"
    assert format_count(1234567) == "1\u202f234\u202f567"
    assert [format_duration(s) for s in (12.4, 191, 7300)] == ["12 s", "3 min 11 s", "2 h 1 min"]


def test_the_page_names_no_folder_of_the_machine_that_made_it(inputs: ReportInputs) -> None:
    config = make_config(
        dataset={"source": "/home/me/pictures/good"},
        model={"weights": "/home/me/start.safetensors"},
        evaluate={"weights": "/home/me/given.safetensors"},
    )
    for training in (inputs.training, None):
        html = render_report(change(inputs, config=config, training=training))
        assert ".../good" in html and ".../start.safetensors" in html
        assert "/home/me" not in html
