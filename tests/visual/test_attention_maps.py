"""Overlays: right pixels for the right patches, on any grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dcal.visual.attention_maps import (
    CHOICE_COLOUR,
    PART_COLOUR,
    Overlay,
    draw_overlay,
    enlarge,
    paint_choice,
    paint_panels,
    paint_parts,
    paint_rollout,
    save_gallery,
    stack_pictures,
)

GREY = np.full((64, 32, 3), 128, dtype=np.uint8)


def make_overlay(*, mask: np.ndarray | None = None) -> Overlay:
    return Overlay(
        image=GREY,
        rollout=np.random.default_rng(0).random((16, 8)),
        chosen=np.array([0, 9, 127]),
        mask=mask,
        title="a $name with a dollar",
        rollout_label="SA rollout, 6 blocks",
        choice_label="nothing is chosen (read-out class); top_r 0.3 would take 38 of 128 patches",
    )


def test_chosen_patches_of_a_rectangular_grid_stay_bright_and_all_others_are_darkened() -> None:
    image = np.full((160, 80, 3), 200, dtype=np.uint8)  # 16 x 8 patches of 10 pixels
    painted = paint_choice(image, np.array([0, 9, 127]), grid_size=(16, 8))
    for row in range(16):
        for column in range(8):
            inner = painted[row * 10 + 3 : row * 10 + 7, column * 10 + 3 : column * 10 + 7]
            expected = 200 if row * 8 + column in (0, 9, 127) else 76
            assert (inner == expected).all(), (row, column)


def test_the_outline_runs_between_chosen_and_other_patches_only() -> None:
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    painted = paint_choice(image, np.array([5, 6]), grid_size=(4, 4))
    is_line = (painted == CHOICE_COLOUR).all(axis=2)
    assert is_line[15, 9] and is_line[15, 10]  # left edge of patch 5
    assert not is_line[13:17, 19:21].any()  # between patches 5 and 6, both chosen


def test_choosing_every_patch_leaves_the_picture_inside_a_frame() -> None:
    painted = paint_choice(GREY, np.arange(128), grid_size=(16, 8))
    assert (painted[1:-1, 1:-1] == 128).all()
    assert (painted[0] == CHOICE_COLOUR).all()


def test_the_brightest_heat_is_at_the_patch_with_the_most_rollout() -> None:
    rollout = np.zeros((16, 8))
    rollout[12, 6] = 1.0
    painted = paint_rollout(GREY, rollout).astype(int)
    brightest = np.unravel_index(painted.sum(axis=2).argmax(), (64, 32))
    assert 48 <= brightest[0] < 52 and 24 <= brightest[1] < 28


def test_a_flat_rollout_is_painted_without_dividing_by_zero() -> None:
    painted = paint_rollout(GREY, np.full((16, 8), 1 / 128))
    assert (painted == painted[0, 0]).all()


def test_parts_are_outlined_where_the_mask_is_even_if_it_has_another_size() -> None:
    mask = np.zeros((64, 32), dtype=bool)
    mask[16:32, 8:24] = True
    painted = paint_parts(np.full((128, 64, 3), 100, dtype=np.uint8), mask)
    is_line = (painted == PART_COLOUR).all(axis=2)
    ys, xs = np.nonzero(is_line)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (31, 64, 15, 48)
    assert (painted[40:56, 24:40] == 100).all() and (painted[:20] == 60).all()


@pytest.mark.parametrize(("shape", "expected"), [((64, 32), (320, 160)), ((400, 300), (400, 300))])
def test_small_pictures_are_enlarged_in_proportion(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert enlarge(np.zeros((*shape, 3), dtype=np.uint8)).shape == (*expected, 3)


def test_panels_have_one_size_and_parts_only_where_they_are_known() -> None:
    assert set(paint_panels(make_overlay())) == {"picture", "rollout", "choice"}
    panels = paint_panels(make_overlay(mask=np.ones((64, 32), dtype=bool)))
    assert set(panels) == {"picture", "rollout", "choice", "parts"}
    assert {panel.shape for panel in panels.values()} == {(320, 160, 3)}


def test_a_drawn_overlay_is_known_to_no_global_list_of_figures() -> None:
    import matplotlib.pyplot

    figure = draw_overlay(make_overlay())
    assert len(figure.axes) == 3
    assert matplotlib.pyplot.get_fignums() == []


def test_a_gallery_replaces_the_last_one_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "rollout"
    for names in (["00", "01"], ["00"]):
        table = pd.DataFrame({"name": names})
        save_gallery(folder, [make_overlay() for _ in names], table)
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert found == [
        "00.png",
        "index.csv",
        "panels/00_choice.webp",
        "panels/00_picture.webp",
        "panels/00_rollout.webp",
    ]
    with Image.open(folder / "panels/00_rollout.webp") as image:
        assert image.size == (160, 320)


def test_a_gallery_of_no_pictures_is_an_empty_table(tmp_path: Path) -> None:
    save_gallery(tmp_path / "rollout", [], pd.DataFrame(columns=["name", "path"]))
    assert pd.read_csv(tmp_path / "rollout" / "index.csv").empty


def test_stacked_pictures_keep_their_pixels_and_are_filled_up_with_white(tmp_path: Path) -> None:
    for name, size in (("wide", (6, 2)), ("narrow", (3, 4))):
        Image.new("RGB", size, (9, 8, 7)).save(tmp_path / f"{name}.png")
    sheet = np.asarray(stack_pictures([tmp_path / "wide.png", tmp_path / "narrow.png"]))
    assert sheet.shape == (6, 6, 3)
    assert (sheet[:2] == (9, 8, 7)).all() and (sheet[2:, :3] == (9, 8, 7)).all()
    assert (sheet[2:, 3:] == 255).all()
