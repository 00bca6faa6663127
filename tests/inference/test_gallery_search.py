"""Searching a gallery: exactly, by FAISS with its recall, and what is refused."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from dcal.inference import gallery_search
from dcal.inference.features import Features
from dcal.inference.gallery import Gallery, GalleryCard, save_gallery
from dcal.inference.gallery_building import BuildOptions, embed_folder
from dcal.inference.gallery_search import search_embeddings, search_gallery
from dcal.inference.recipe import Recipe
from tests.data.factory import write_picture
from tests.inference.model_files import write_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    for number in range(6):
        write_picture(folder / "photos" / f"{number}.png", seed=number)
    model = write_model(folder / "model.safetensors")
    embed_folder(model, folder / "photos", folder / "gallery", BuildOptions(), device=CPU)
    return folder


def make_gallery(place: Path, num: int, *, width: int = 16) -> Gallery:
    generator = torch.Generator().manual_seed(0)
    table = pd.DataFrame(
        {
            "path": [f"{i:05d}.png" for i in range(num)],
            "sha256": [f"{i:064d}" for i in range(num)],
        }
    )
    embeddings = F.normalize(torch.randn(num, width, generator=generator))
    recipe = Recipe(model_digest="ab" * 32, model={}, preprocessing={}, flip=False)
    card = GalleryCard(pictures="../photos", model="../m.safetensors", branch="sa", num_waiting=0)
    gallery = Gallery(place, card, Features(table, {"sa": embeddings}, recipe))
    save_gallery(gallery)
    return gallery


def test_a_picture_of_the_gallery_finds_itself_first(built: Path) -> None:
    queries = [built / "photos" / "3.png", built / "photos" / "0.png"]
    result = search_gallery(built / "gallery", queries, device=CPU, num=4)
    assert (result.is_exact, result.recall) == (True, None)
    table = result.table
    assert list(table) == ["query", "rank", "name", "distance", "cosine"]
    assert table["rank"].tolist() == [1, 2, 3, 4] * 2
    assert table["query"].tolist() == [queries[0].as_posix()] * 4 + [queries[1].as_posix()] * 4
    firsts = table[table["rank"] == 1]
    assert firsts["name"].tolist() == ["3.png", "0.png"]
    np.testing.assert_allclose(firsts["distance"], 0, atol=1e-9)
    np.testing.assert_allclose(table["cosine"], 1 - table["distance"] / 2)
    for _, answers in table.groupby("query"):
        assert answers["distance"].is_monotonic_increasing
        assert answers["name"].is_unique


def test_a_gallery_smaller_than_what_is_asked_gives_all_of_it(built: Path) -> None:
    result = search_gallery(built / "gallery", [built / "photos" / "3.png"], device=CPU, num=50)
    assert sorted(result.table["name"]) == [f"{i}.png" for i in range(6)]


def test_another_model_is_refused(built: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "model.safetensors", seed=1)
    with pytest.raises(ValueError, match="gallery: written by another model file"):
        search_gallery(
            built / "gallery", [built / "photos" / "3.png"], device=CPU, model_path=other
        )


def test_the_model_is_looked_for_where_it_was(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "gallery", tmp_path / "gallery")
    query = [built / "photos" / "3.png"]
    with pytest.raises(
        FileNotFoundError, match="gallery: expected the model that .* name it with --model$"
    ):
        search_gallery(tmp_path / "gallery", query, device=CPU)
    model = built / "model.safetensors"
    result = search_gallery(tmp_path / "gallery", query, device=CPU, num=1, model_path=model)
    assert result.table["name"].tolist() == ["3.png"]


def test_no_answer_to_a_query_is_a_mistake(built: Path) -> None:
    query = [built / "photos/2.png"]
    with pytest.raises(ValueError, match="top: expected at least 1 answer"):
        search_gallery(built / "gallery", query, device=CPU, num=0)


def test_queries_none_of_which_can_be_decoded_are_refused_even_where_some_may_be_left_out(
    built: Path, tmp_path: Path
) -> None:
    bad = [tmp_path / "1.png", tmp_path / "2.png"]
    for path in bad:
        path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="^queries: none of the 2 pictures can be decoded$"):
        search_gallery(built / "gallery", bad, device=CPU, allow_partial=True)
    told: list[tuple[str, int, int]] = []
    result = search_gallery(
        built / "gallery", [*bad, *sorted((built / "photos").iterdir())[3:]], device=CPU, num=1,
        batch_size=2, allow_partial=True, on_progress=lambda *done: told.append(done),
    )  # fmt: skip
    assert told == [("checking", done, 5) for done in range(1, 6)] + [
        ("embedding", 2, 3),
        ("embedding", 3, 3),
    ]
    assert (result.left_out, result.table["name"].tolist()) == (
        tuple(bad),
        ["3.png", "4.png", "5.png"],
    )


def test_the_approximate_search_finds_nearly_all_and_says_how_many(tmp_path: Path) -> None:
    gallery = make_gallery(tmp_path / "gallery", 2000)
    queries = F.normalize(torch.randn(100, 16, generator=torch.Generator().manual_seed(1)))
    names = [f"query {i}" for i in range(100)]
    exact = search_embeddings(gallery, queries, names, num=5, method="exact")
    found = search_embeddings(gallery, queries, names, num=5, method="approximate")
    assert exact.is_exact and not found.is_exact
    assert found.num_recall_queries == 100
    assert found.recall is not None and 0.9 < found.recall <= 1
    both = exact.table.merge(found.table, on=["query", "name"], suffixes=("", "_found"))
    assert len(both) > 0.9 * len(exact.table)
    np.testing.assert_allclose(both["distance"], both["distance_found"])


def test_the_recall_is_measured_not_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = make_gallery(tmp_path / "gallery", 50)
    wrong = np.zeros((3, 2), dtype=np.int64)
    wrong[:, 1] = -1
    monkeypatch.setattr(gallery_search, "search_approximately", lambda *_, num: wrong)
    queries = gallery.embeddings[[0, 7, 9]]
    result = search_embeddings(gallery, queries, ["a", "b", "c"], num=2, method="approximate")
    assert result.recall == pytest.approx(1 / 6)
    assert result.table["rank"].tolist() == [1, 1, 1]


def test_the_graph_is_kept_used_again_and_built_anew_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gallery = make_gallery(tmp_path / "gallery", 300)

    def search() -> pd.DataFrame:
        return search_embeddings(
            gallery, gallery.embeddings[:3], list("abc"), num=1, method="approximate"
        ).table

    first = search()
    (graph,) = (tmp_path / "gallery").glob("hnsw-*.faiss")
    written = graph.stat().st_mtime_ns
    assert search().equals(first)
    assert graph.stat().st_mtime_ns == written
    graph.write_bytes(graph.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert search().equals(first)
    assert "damaged, and built anew" in caplog.text
    assert graph.stat().st_mtime_ns != written


def test_a_graph_of_other_pictures_is_not_used(tmp_path: Path) -> None:
    gallery = make_gallery(tmp_path / "gallery", 300)
    arguments = (gallery.embeddings[:3], list("abc"))
    search_embeddings(gallery, *arguments, num=1, method="approximate")
    features = replace(
        gallery.features,
        table=gallery.features.table.assign(sha256="f" * 64),
        embeddings={"sa": gallery.embeddings.flip(0)},
    )
    result = search_embeddings(
        replace(gallery, features=features), *arguments, num=1, method="approximate"
    )
    assert result.recall == 1.0
    assert result.table["name"].tolist() == ["00299.png", "00298.png", "00297.png"]


def test_large_galleries_are_searched_approximately_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gallery = make_gallery(tmp_path / "gallery", 40)
    arguments = (gallery, gallery.embeddings[:1], ["a"])
    assert search_embeddings(*arguments, num=1).is_exact
    monkeypatch.setattr(gallery_search, "EXACT_UP_TO", 39)
    assert not search_embeddings(*arguments, num=1).is_exact
    assert search_embeddings(*arguments, num=1, method="exact").is_exact
    monkeypatch.setitem(sys.modules, "faiss", None)
    with caplog.at_level(logging.WARNING):
        assert search_embeddings(*arguments, num=1).is_exact
    assert "40 pictures are searched exactly, because FAISS is not installed" in caplog.text
    with pytest.raises(RuntimeError, match=r"pip install 'dcal\[gallery\]', or search with --ex"):
        search_embeddings(*arguments, num=1, method="approximate")
