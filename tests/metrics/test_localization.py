"""Localisation scores against plain loops, and their properties on rectangles."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dcal.metrics.localization import (
    area_share,
    build_point_mask,
    chosen_on_mask,
    dilate_mask,
    energy_share,
    find_peak,
    pointing_game_chance,
    pointing_game_hit,
    upsample_rollout,
)

GRIDS = [((4, 4), (32, 32)), ((16, 8), (64, 32)), ((3, 5), (31, 47)), ((1, 1), (8, 6))]


def draw_case(
    seed: int, grid_size: tuple[int, int], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rollout = torch.rand(grid_size, generator=generator, dtype=torch.float64)
    mask = torch.rand(size, generator=generator) < 0.08
    mask[size[0] // 2, size[1] // 2] = True
    return rollout / rollout.sum(), mask


def upsample_slowly(rollout: Tensor, size: tuple[int, int]) -> list[list[float]]:
    rows, cols = rollout.shape
    values = rollout.tolist()

    def neighbours(pixel: int, extent: int, count: int) -> tuple[int, int, float]:
        position = max((pixel + 0.5) * count / extent - 0.5, 0.0)
        low = min(int(position), count - 1)
        return low, min(low + 1, count - 1), position - low

    surface = []
    for y in range(size[0]):
        top, bottom, down = neighbours(y, size[0], rows)
        line = []
        for x in range(size[1]):
            left, right, across = neighbours(x, size[1], cols)
            upper = values[top][left] * (1 - across) + values[top][right] * across
            lower = values[bottom][left] * (1 - across) + values[bottom][right] * across
            line.append(upper * (1 - down) + lower * down)
        surface.append(line)
    return surface


def peak_slowly(rollout: Tensor, size: tuple[int, int]) -> tuple[int, int]:
    rows, cols = rollout.shape
    best, place = -math.inf, (0, 0)
    for row in range(rows):
        for col in range(cols):
            if float(rollout[row, col]) > best:
                best, place = float(rollout[row, col]), (row, col)
    return int((place[0] + 0.5) * size[0] / rows), int((place[1] + 0.5) * size[1] / cols)


def is_near_slowly(y: int, x: int, mask: Tensor, tolerance: float) -> bool:
    for row in range(mask.shape[0]):
        for col in range(mask.shape[1]):
            if mask[row, col] and math.dist((y, x), (row, col)) <= tolerance:
                return True
    return False


@pytest.mark.parametrize(("grid_size", "size"), GRIDS)
def test_energy_share_equals_the_plain_loops(
    grid_size: tuple[int, int], size: tuple[int, int]
) -> None:
    rollout, mask = draw_case(1, grid_size, size)
    surface = upsample_slowly(rollout, size)
    torch.testing.assert_close(
        upsample_rollout(rollout, size=size), torch.tensor(surface, dtype=torch.float64)
    )
    on_mask = total = 0.0
    for y in range(size[0]):
        for x in range(size[1]):
            total += surface[y][x]
            on_mask += surface[y][x] if mask[y, x] else 0.0
    assert energy_share(rollout, mask) == pytest.approx(on_mask / total)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.9])
@pytest.mark.parametrize(("grid_size", "size"), GRIDS)
def test_pointing_game_equals_the_plain_loops(
    grid_size: tuple[int, int], size: tuple[int, int], tolerance: float
) -> None:
    for seed in range(4):
        rollout, mask = draw_case(seed, grid_size, size)
        y, x = peak_slowly(rollout, size)
        assert find_peak(rollout, size=size) == (y, x)
        hit = pointing_game_hit(rollout, dilate_mask(mask, tolerance=tolerance))
        assert hit == is_near_slowly(y, x, mask, tolerance)


@pytest.mark.parametrize(("grid_size", "size"), GRIDS)
def test_pointing_game_chance_is_the_mean_over_a_peak_in_every_patch(
    grid_size: tuple[int, int], size: tuple[int, int]
) -> None:
    _, mask = draw_case(2, grid_size, size)
    mask = dilate_mask(mask, tolerance=1.5)
    hits = []
    for patch in range(grid_size[0] * grid_size[1]):
        rollout = torch.zeros(grid_size).flatten()
        rollout[patch] = 1.0
        hits.append(pointing_game_hit(rollout.view(grid_size), mask))
    chance = pointing_game_chance(mask, grid_size=grid_size)
    assert chance == pytest.approx(sum(hits) / len(hits))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5))
def test_a_uniform_map_gets_the_area_share(seed: int, rows: int, cols: int, factor: int) -> None:
    _, mask = draw_case(seed, (rows, cols), (rows * factor, cols * factor))
    assert energy_share(torch.ones(rows, cols), mask) == pytest.approx(area_share(mask))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5))
def test_energy_of_a_mask_and_of_its_complement_sum_to_one(
    seed: int, rows: int, cols: int, factor: int
) -> None:
    rollout, mask = draw_case(seed, (rows, cols), (rows * factor, cols * factor))
    share = energy_share(rollout, mask)
    assert 0 <= share <= 1
    assert share + energy_share(rollout, ~mask) == pytest.approx(1)
    assert energy_share(rollout * 7.5, mask) == pytest.approx(share)


def test_every_patch_keeps_its_mass_when_the_map_is_spread() -> None:
    for patch in range(12):
        rollout = torch.zeros(12, dtype=torch.float64)
        rollout[patch] = 1.0
        surface = upsample_rollout(rollout.view(3, 4), size=(24, 32))
        assert float(surface.sum()) == pytest.approx(8 * 8)


def test_flipping_picture_and_map_together_changes_no_share() -> None:
    rollout, mask = draw_case(5, (16, 8), (64, 32))
    assert energy_share(rollout.flip(1), mask.flip(1)) == pytest.approx(energy_share(rollout, mask))


def test_the_peak_of_a_border_patch_is_its_centre() -> None:
    rollout = torch.zeros(2, 2)
    rollout[0, 0] = 1.0
    assert find_peak(rollout, size=(16, 8)) == (4, 2)


def test_equal_peaks_are_taken_in_reading_order() -> None:
    assert find_peak(torch.ones(2, 2), size=(4, 4)) == (1, 1)


def test_an_empty_mask_is_never_hit_and_holds_no_energy() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    rollout = torch.rand(2, 2) + 0.1
    assert not pointing_game_hit(rollout, dilate_mask(mask, tolerance=100.0))
    assert pointing_game_chance(mask, grid_size=(2, 2)) == 0
    assert energy_share(rollout, mask) == 0
    assert chosen_on_mask(torch.tensor([0]), mask, grid_size=(2, 2)) == (0, 0)


@pytest.mark.parametrize("rollout", [torch.zeros(2, 2), torch.tensor([[1.0, -0.1]])])
def test_a_map_without_mass_or_with_negative_values_is_refused(rollout: Tensor) -> None:
    with pytest.raises(ValueError, match="positive sum"):
        energy_share(rollout, torch.ones(4, 4, dtype=torch.bool))


def test_chosen_patches_are_counted_pixel_by_pixel() -> None:
    mask = torch.zeros(8, 16, dtype=torch.bool)
    mask[0:4, 0:6] = True  # all of patch 0 and half of patch 1 of a 2 x 4 grid
    on_mask, covered = chosen_on_mask(torch.tensor([1, 7]), mask, grid_size=(2, 4))
    assert on_mask == (4 * 2) / (2 * 16)
    assert covered == (4 * 2) / (4 * 6)


def test_choosing_all_patches_gives_the_area_share_and_covers_the_mask() -> None:
    _, mask = draw_case(3, (3, 5), (31, 47))
    on_mask, covered = chosen_on_mask(torch.arange(15), mask, grid_size=(3, 5))
    assert on_mask == pytest.approx(area_share(mask))
    assert covered == 1


def test_point_discs_equal_the_plain_loops() -> None:
    points, size, radius = [(3.2, 4.9), (11.0, 0.5), (-1.0, 7.0)], (9, 12), 2.3
    mask = build_point_mask(points, size=size, radius=radius)
    for y in range(size[0]):
        for x in range(size[1]):
            near = any(math.dist((x + 0.5, y + 0.5), point) <= radius for point in points)
            assert bool(mask[y, x]) == near


def test_a_point_with_no_extent_is_the_pixel_that_holds_it() -> None:
    mask = build_point_mask([(2.99, 1.01), (40.0, 1.0)], size=(4, 5), radius=0.0)
    assert mask.nonzero().tolist() == [[1, 2]]
