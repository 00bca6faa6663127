"""The page of a search: each query beside its answers, and nothing from elsewhere."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest

from dcal.visual.report import render_search
from dcal.visual.report.search import MAX_ANSWERS, MAX_QUERIES
from tests.data.factory import write_picture
from tests.visual.test_comparison import read_csvs
from tests.visual.test_report import Page


def make_table(queries: list[str], names: list[str]) -> pd.DataFrame:
    rows = [
        (query, rank, name, rank / 10, 1 - rank / 20)
        for query in queries
        for rank, name in enumerate(names, start=1)
    ]
    return pd.DataFrame(rows, columns=["query", "rank", "name", "distance", "cosine"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number in range(3):
        write_picture(tmp_path / "gallery" / f"<{number}>.png", seed=number)
    write_picture(tmp_path / "asked" / "query & co.png", seed=9)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def render(table: pd.DataFrame) -> str:
    return render_search(table, pictures_folder=Path("gallery"), title="Found", lead="One query.")


def test_answers_stand_in_their_order_with_their_words(folder: Path) -> None:
    names = ["<2>.png", "<0>.png", "<1>.png"]
    table = make_table(["asked/query & co.png"], names)
    html = render(table)
    page = Page(html)
    assert page.open == []
    assert [image["alt"] for image in page.images] == [
        "Query asked/query & co.png",
        *(f"Answer {n} to asked/query & co.png: {name}" for n, name in enumerate(names, start=1)),
    ]
    assert all(str(image["src"]).startswith("data:image/webp;base64,") for image in page.images)
    assert "0.200, cosine 0.900" in page.text
    pd.testing.assert_frame_equal(read_csvs(html)["answers.csv"], table, check_dtype=False)


def test_pictures_that_are_gone_or_damaged_are_told_in_their_place(folder: Path) -> None:
    (folder / "gallery/<1>.png").write_bytes(b"no picture")
    names = ["gone.png", "<1>.png", "<0>.png"]
    page = Page(render(make_table(["asked/query & co.png"], names)))
    assert len(page.images) == 2
    assert "no longer there" in page.text and "can no longer be read" in page.text


@pytest.mark.parametrize("is_absolute", [True, False])
def test_folders_of_this_machine_are_not_on_the_page(
    is_absolute: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "gallery/deeper").mkdir()
    monkeypatch.chdir(folder / "gallery/deeper")
    query = str(folder / "asked/query & co.png") if is_absolute else "../../asked/query & co.png"
    table = make_table([query], ["<0>.png"])
    html = render_search(table, pictures_folder=folder / "gallery", title="Found", lead="One.")
    assert str(folder) not in html and "../../asked" not in html
    assert read_csvs(html)["answers.csv"]["query"].tolist() == [".../asked/query & co.png"]


def test_more_answers_than_a_page_holds_are_in_the_csv(folder: Path) -> None:
    names = ["<0>.png"] * (MAX_ANSWERS + 2)
    html = render(make_table(["asked/query & co.png"], names))
    assert html.count('alt="Answer ') == MAX_ANSWERS and "and 2 more in the CSV" in html
    assert len(read_csvs(html)["answers.csv"]) == MAX_ANSWERS + 2


@pytest.mark.parametrize(
    ("num_more", "said"), [(0, ""), (1, "1 more query"), (3, "3 more queries")]
)
def test_a_page_shows_fifty_queries_and_holds_all(folder: Path, num_more: int, said: str) -> None:
    queries = [f"asked/{number}.png" for number in range(MAX_QUERIES + num_more)]
    for query, seed in zip(queries, itertools.cycle(range(3)), strict=False):
        write_picture(folder / query, seed=seed)
    html = render(make_table(queries, ["<0>.png"]))
    assert html.count('alt="Query ') == MAX_QUERIES
    assert (f"Answers to {said} are in the CSV alone." in html) == bool(num_more)
    assert len(read_csvs(html)["answers.csv"]) == len(queries)
