"""Ranked lists: what is drawn is what the table says, and shapes are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dcal.inference.recipe import open_embedder
from dcal.visual.confusion import draw_confusion
from dcal.visual.figures import figure_to_svg
from dcal.visual.picture_labels import label_paths, shorten
from dcal.visual.picture_page import RIGHT, WRONG, Shown
from dcal.visual.ranked_lists import (
    RankedList,
    build_lists,
    build_search_lists,
    draw_ranked_lists,
    require_drawable,
    save_figure,
)
from dcal.visual.ranked_rollouts import add_rollouts
from tests.data.factory import write_picture
from tests.inference.model_files import write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, size in enumerate([(64, 32), (30, 90), (400, 300)]):
        write_picture(tmp_path / f"{number}.png", seed=number, size=size)
    return tmp_path


def make_table(**changes) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "query": ["0.png", "0.png", "2.png"],
            "query_identity": pd.array([4, 4, None], dtype="Int64"),
            "query_camera": pd.array([1, 1, None], dtype="Int64"),
            "rank": [1, 2, 1],
            "path": ["1.png", "2.png", "1.png"],
            "distance": [0.125, 0.25, 0.5],
            "identity": pd.array([4, 5, 4], dtype="Int64"),
            "camera": pd.array([2, -1, 2], dtype="Int64"),
            "is_right": pd.array([True, False, None], dtype="boolean"),
        }
    )
    return table.assign(**changes)


def build(folder: Path, table: pd.DataFrame, **options) -> list[RankedList]:
    return build_lists(table, query_root=folder, gallery_root=folder, **options)


def read_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_a_list_holds_the_pictures_and_what_the_table_says(folder: Path) -> None:
    first, second = build(folder, make_table(), notes={"0.png": "AP 0.500"})
    assert first.query.lines == ("0.png", "identity 4", "camera 1", "AP 0.500")
    assert [answer.lines for answer in first.answers] == [
        ("1.png", "identity 4", "camera 2", "distance 0.125"),
        ("2.png", "identity 5", "camera unknown", "distance 0.250"),
    ]
    assert [answer.is_right for answer in first.answers] == [True, False]
    assert second.query.lines == ("2.png", "identity unknown", "camera unknown")
    assert second.answers[0].is_right is None
    assert first.query.image.shape == (64, 32, 3)
    assert second.query.image.shape == (240, 180, 3)


def test_numbers_stay_whole_where_a_csv_file_has_made_them_decimal(folder: Path) -> None:
    make_table(identity=pd.array([4, None, 4], dtype="Int64")).to_csv(folder / "lists.csv")
    table = pd.read_csv(folder / "lists.csv")
    assert table["query_camera"].dtype == table["identity"].dtype == float
    first, second = build(folder, table)
    assert first.query.lines == ("0.png", "identity 4", "camera 1")
    assert first.answers[0].lines[1:3] == ("identity 4", "camera 2")
    assert first.answers[1].lines[1:3] == ("identity unknown", "camera unknown")
    assert second.query.lines == ("2.png", "identity unknown", "camera unknown")


def test_cameras_may_be_texts(folder: Path) -> None:
    (first, _) = build(folder, make_table(camera=["c1", None, "1.0"]))
    assert [one.lines[2] for one in first.answers] == ["camera c1", "camera unknown"]


def test_where_no_camera_is_known_none_is_spoken_of(folder: Path) -> None:
    nothing = pd.array([None] * 3, dtype="Int64")
    lists = build(folder, make_table(camera=nothing, query_camera=nothing))
    lines = [
        line for ranked in lists for one in (ranked.query, *ranked.answers) for line in one.lines
    ]
    assert not any("camera" in line for line in lines)


def test_right_and_wrong_differ_in_colour_in_dashes_and_by_a_mark(folder: Path) -> None:
    figure = draw_ranked_lists(build(folder, make_table()), title="Three")
    spines = [axes.spines["left"] for axes in figure.axes]
    colours = [tuple(np.round(np.array(spine.get_edgecolor()[:3]) * 255)) for spine in spines]
    assert len(spines) == 5
    expected = [tuple(int(code[i : i + 2], 16) for i in (1, 3, 5)) for code in (RIGHT, WRONG)]
    assert colours[1:3] == expected
    assert spines[1].get_linestyle() in ("solid", "-")
    assert spines[2].get_linestyle() not in ("solid", "-")
    texts = read_texts(figure)
    assert [texts.count(mark) for mark in ("\u2713", "\u2717")] == [1, 1]
    assert texts[:4] == ["Three", "query", "1", "2"]


def test_pictures_keep_their_shape_and_stay_on_the_page(folder: Path) -> None:
    figure = draw_ranked_lists(build(folder, make_table()))
    width, height = figure.get_size_inches()
    for axes in figure.axes:
        place = axes.get_position()
        image = axes.images[0].get_array()
        drawn = (place.height * height) / (place.width * width)
        assert drawn == pytest.approx(image.shape[0] / image.shape[1], rel=1e-6)
        assert 0 <= place.x0 and place.x1 <= 1 and 0 <= place.y0 and place.y1 <= 1


def test_texts_do_not_run_into_their_neighbours(folder: Path) -> None:
    long = f"{'m' * 80}.png"
    (folder / "1.png").rename(folder / long)
    table = make_table(path=[long, "2.png", long]).assign(
        identity=["w" * 60, "5", "6"], query_identity="m" * 70
    )
    figure = draw_ranked_lists(build(folder, table))
    figure.savefig(folder / "drawn.png")
    boxes = [text.get_window_extent() for text in figure.texts]
    page = figure.bbox
    for number, box in enumerate(boxes):
        assert box.x0 >= page.x0 and box.x1 <= page.x1
        same_line = [
            other for other in boxes[:number] if abs(other.y0 - box.y0) < 1 and other.x0 < box.x0
        ]
        assert all(other.x1 <= box.x0 for other in same_line)


def test_a_query_without_answers_says_so() -> None:
    shown = Shown(np.zeros((8, 4, 3), dtype=np.uint8), ("q.png",))
    figure = draw_ranked_lists([RankedList(shown, ())])
    assert "no gallery picture is left" in read_texts(figure)
    with pytest.raises(ValueError, match="expected at least one query; got none"):
        draw_ranked_lists([])


def test_a_search_of_own_pictures_has_no_frames_of_right_and_wrong(folder: Path) -> None:
    table = pd.DataFrame(
        {
            "query": [str(folder / "0.png")] * 2 + [str(folder / "1.png")],
            "rank": [1, 2, 1],
            "name": ["1.png", "2.png", "2.png"],
            "distance": [0.1, 0.2, 0.3],
            "cosine": [0.95, 0.9, 0.85],
        }
    )
    lists = build_search_lists(table, gallery_root=folder, num_queries=1)
    assert len(lists) == 1
    assert lists[0].answers[1].lines == ("2.png", "distance 0.200")
    assert lists[0].answers[1].is_right is None
    texts = read_texts(draw_ranked_lists(lists))
    assert not {"\u2713", "\u2717"} & set(texts)


def make_search(folder: Path) -> pd.DataFrame:
    names = ["carA/1.png", "carB/1.png", "2.png"]
    for number, name in enumerate(names):
        write_picture(folder / name, seed=number)
    return pd.DataFrame(
        {"query": str(folder / "0.png"), "rank": [1, 2, 3], "name": names, "distance": 0.5}
    )


def test_answers_of_one_file_name_are_told_apart_by_their_folders(folder: Path) -> None:
    (ranked,) = build_search_lists(make_search(folder), gallery_root=folder, num_queries=8)
    assert ranked.query.lines == ("0.png",)
    assert [one.lines[0] for one in ranked.answers] == ["carA/1.png", "carB/1.png", "2.png"]


def test_a_gallery_picture_that_is_gone_is_a_tile_that_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = make_search(folder)
    (folder / "carA/1.png").unlink()
    lists = build_search_lists(table, gallery_root=folder, num_queries=8)
    (gone, *there) = lists[0].answers
    assert gone.lines == ("carA/1.png", "distance 0.500")
    assert len(np.unique(gone.image.reshape(-1, 3), axis=0)) == 1
    assert f"{folder}: pictures no longer there, drawn as empty tiles: 1" in caplog.text
    figure = draw_ranked_lists(lists)
    written = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert written == [[], ["no longer there"], [], []]
    assert not any(one.inside for one in there)
    (folder / "2.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match=r"2.png: cannot be decoded"):
        build_search_lists(table, gallery_root=folder, num_queries=8)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_names_of_letters_that_the_font_lacks_are_drawn_without_a_warning(
    folder: Path, suffix: str
) -> None:
    name = "\u8eca\U0001f697.png"
    (folder / "1.png").rename(folder / name)
    figure = draw_ranked_lists(build(folder, make_table(path=[name, "2.png", name])))
    save_figure(folder / f"drawn{suffix}", figure)  # a warning would be an error
    assert name in read_texts(figure)
    with pytest.warns(UserWarning, match="missing from font"):
        figure.savefig(folder / f"elsewhere{suffix}")


def test_class_names_of_other_scripts_reach_a_page_without_a_warning() -> None:
    figure = draw_confusion(np.eye(2, dtype=int), ["\u8eca", "car"], branch="sa")
    assert "\u8eca" in figure_to_svg(figure, description="two classes")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_figure_is_written_whole(folder: Path, suffix: str) -> None:
    figure = draw_ranked_lists(build(folder, make_table()))
    save_figure(folder / f"drawn{suffix}", figure)
    assert (folder / f"drawn{suffix}").stat().st_size > 1000
    assert not list(folder.glob(".part-*"))


def test_another_suffix_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"a.jpg: expected a name that ends in .png, .svg, .pdf"):
        require_drawable(folder / "a.jpg")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0001_c1s1_000051_00.jpg", "0001_c1s1_000051_00.jpg"),
        ("a very long name of a picture 017.png", "a very lon...re 017.png"),
        ("0041_c12s1_000002_00.jpg", "0041_c12s1...002_00.jpg"),
        ("0000041_c0123_000002_00.jpg", "0000041_c0123..._00.jpg"),
        ("-1_c2_" + "7" * 30 + ".jpg", "-1_c2_7777...777777.jpg"),
        ("9" * 40 + "_c1.jpg", "9" * 16 + "....jpg"),
    ],
)
def test_long_names_are_cut_in_their_middle_behind_identity_and_camera(
    name: str, expected: str
) -> None:
    assert shorten(name) == expected
    assert len(shorten(name)) <= 23


def test_a_picture_is_called_by_as_much_of_its_path_as_tells_it_from_the_others() -> None:
    paths = ["carA/1.jpg", "carB/1.jpg", "old/carB/1.jpg", "carB/2.jpg", "/a/x/3.jpg", "/b/x/3.jpg"]
    assert label_paths(reversed(paths)) == {
        "carA/1.jpg": "carA/1.jpg",
        "carB/1.jpg": "carB/1.jpg",
        "old/carB/1.jpg": "old/carB/1.jpg",
        "carB/2.jpg": "2.jpg",
        "/a/x/3.jpg": "a/x/3.jpg",
        "/b/x/3.jpg": "b/x/3.jpg",
    }


@pytest.mark.parametrize("place", range(0, 40, 3))
def test_long_names_that_differ_anywhere_still_differ_when_cut(place: int) -> None:
    names = [f"{'o' * place}{letter}{'o' * (40 - place)}/1.jpg" for letter in "ab"]
    labels = label_paths(names)
    # Four characters stay at either end: what is 16 from both ends cannot be shown by one cut.
    assert (len(set(labels.values())) == 2) == (place < 16 or place > 40 + len("a/1.jpg") - 17)
    assert all(len(label) == 23 for label in labels.values())


def test_rollouts_stand_below_the_pictures_they_are_of(folder: Path) -> None:
    model, transform, _ = open_embedder(write_model(folder / "model.safetensors"))
    lists = build(folder, make_table())
    both = add_rollouts(lists, model, transform, device=torch.device("cpu"))
    assert both[::2] == lists
    for ranked, looking in zip(lists, both[1::2], strict=True):
        assert looking.query.lines == ()
        assert [one.is_right for one in looking.answers] == [one.is_right for one in ranked.answers]
        # The model's input of 16 x 24, enlarged.
        assert looking.query.image.shape == (213, 320, 3)
        assert not np.array_equal(looking.query.image, looking.answers[0].image)
    shallow = add_rollouts(lists, model, transform, device=torch.device("cpu"), num_blocks=1)
    assert not np.array_equal(shallow[1].query.image, both[1].query.image)
    assert len(draw_ranked_lists(both).axes) == 10
