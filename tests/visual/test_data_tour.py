"""Drawings of an index: what is painted lies where the index has it, whatever it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dcal.analysis.data_counts import count_camera_pairs, count_groups, summarise_groups
from dcal.analysis.examples import Example, choose_across_cameras, choose_examples
from dcal.analysis.picture_sizes import InputSize
from dcal.visual.data_tour import describe_balance, draw_balance, draw_camera_pairs, draw_sizes
from dcal.visual.examples import BOX_COLOUR, choose_colour, draw_examples, paint_annotation
from tests.analysis.indexes import build_classes, build_vehicles, draw_vehicles
from tests.analysis.test_data_findings import build_data

SIZE = InputSize(height=64, width=32, key="model.image_size")
PARTS = ["beak", "tail"]


def write_pictures(table: pd.DataFrame, root: Path) -> None:
    for row in table.to_dict("records"):
        (root / row["path"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (row["width"], row["height"])).save(root / row["path"])


def test_balance_is_a_line_a_split_and_a_panel_a_column() -> None:
    groups = count_groups(build_vehicles())
    figure = draw_balance(groups, of="identities", columns=["pictures", "cameras"])
    assert len(figure.axes) == 2 and len(figure.axes[0].patches) == 3
    counts = figure.axes[0].patches[0].get_data().values
    assert counts.tolist() == [2, 2, 1]
    said = describe_balance(summarise_groups(groups), of="identities")
    assert said == (
        "Pictures of the identities, the largest first: train 2 to 1, query 2 to 1, gallery 4 to 2"
    )


@pytest.mark.parametrize("num_pictures", [400, 3000])
def test_pairs_of_few_cameras_are_written_and_of_many_coloured(num_pictures: int) -> None:
    pairs = count_camera_pairs(draw_vehicles(num_pictures))
    figure = draw_camera_pairs(pairs)
    assert [len(axes.texts) > 0 for axes in figure.axes] == [False, False]
    few = draw_camera_pairs(count_camera_pairs(build_vehicles()))
    assert [text.get_text() for text in few.axes[0].texts]
    few.draw_without_rendering()
    figure.draw_without_rendering()


@pytest.mark.parametrize(
    "table", [build_classes({"train": [2], "test": [1]}), draw_vehicles(2000)], ids=["one", "many"]
)
def test_sizes_are_drawn_whether_there_is_one_or_thousands(table: pd.DataFrame) -> None:
    figure = draw_sizes(table, SIZE)
    figure.draw_without_rendering()
    marks = figure.axes[0].lines[0].get_xydata()
    assert marks.tolist() == [[32, 64]]
    heights = [patch.get_height() for patch in figure.axes[1].patches]
    assert sum(heights) == len(table)


def test_box_points_and_mask_are_painted_where_the_index_has_them(tmp_path: Path) -> None:
    values = np.zeros((40, 80), dtype=np.uint8)
    values[10:30, 20:40] = 2
    Image.fromarray(values).save(tmp_path / "mask.png")
    image = Image.new("RGB", (80, 40))
    row = {
        "mask": "mask.png",
        "box_x": 50.0, "box_y": 5.0, "box_width": 20.0, "box_height": 30.0,
        "part_names": np.array(["beak"]), "part_xs": np.array([60.0]), "part_ys": np.array([20.0]),
    }  # fmt: skip
    painted = paint_annotation(image, row, root=tmp_path, part_names=PARTS)
    assert painted.shape == (120, 240, 3)  # three times as large
    assert tuple(painted[15, 180]) == BOX_COLOUR and tuple(painted[60, 150]) == BOX_COLOUR
    assert tuple(painted[60, 180]) == choose_colour(0, 2)
    assert tuple(painted[60, 60]) == choose_colour(1, 2)  # on the edge of the tail
    assert tuple(painted[60, 90]) == (0, 0, 0)  # inside it the picture is seen


def test_a_row_that_knows_of_nothing_is_the_picture_itself(tmp_path: Path) -> None:
    row = {"box_x": float("nan"), "part_names": None, "mask": None}
    painted = paint_annotation(
        Image.new("RGB", (10, 480), "red"), row, root=tmp_path, part_names=[]
    )
    assert painted.shape == (240, 5, 3) and (painted == [255, 0, 0]).all()


def test_examples_are_titled_and_the_legend_has_the_parts_that_are_annotated(
    tmp_path: Path,
) -> None:
    table = build_classes({"train": [2, 3], "test": [1, 1]})
    write_pictures(table, tmp_path)
    examples = choose_examples(build_data(table))
    plain = draw_examples(examples, root=tmp_path, part_names=PARTS)
    said = [text.get_text() for text in plain.texts]
    assert {"class 0", "class 1"} <= set(said) and "beak" not in said
    assert len(plain.axes) == 7
    rows = table.head(1).assign(part_names=[["tail"]], part_xs=[[3.0]], part_ys=[[4.0]])
    pointed = draw_examples([Example("one", rows, ["x"])], root=tmp_path, part_names=PARTS)
    assert {"beak", "tail"} <= {text.get_text() for text in pointed.texts}


def test_rows_of_vehicles_are_drawn_across_cameras(tmp_path: Path) -> None:
    table = build_vehicles()
    write_pictures(table, tmp_path)
    example = choose_across_cameras(build_data(table, kind="reid"))
    assert example is not None
    assert len(draw_examples([example], root=tmp_path).axes) == 4
