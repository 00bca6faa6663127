"""A gallery of one's own pictures: built, brought up to date, and refused where it must be."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from dcal.inference import gallery_building
from dcal.inference.embedding import compute_embeddings
from dcal.inference.gallery import Gallery, read_gallery, save_gallery
from dcal.inference.gallery_building import BuildOptions, BuildSummary, embed_folder
from dcal.inference.own_pictures import list_pictures, read_batches
from dcal.inference.recipe import open_embedder
from tests.data.factory import write_picture
from tests.inference.model_files import write_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(("b/2.png", "a.png", "b/1.png", "c d/ü.jpg")):
        write_picture(tmp_path / "photos" / name, seed=number, size=(20 + number, 30))
    return tmp_path / "photos"


def embed(model: Path, photos: Path, **options: Any) -> BuildSummary:
    place = photos.parent / "gallery"
    return embed_folder(model, photos, place, BuildOptions(**options), device=CPU)


def read_all(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir()}


def test_a_gallery_holds_each_pictures_embedding_under_its_name(model: Path, photos: Path) -> None:
    summary = embed(model, photos, batch_size=3)
    assert (summary.num_embedded, summary.num_kept) == (4, 0)
    gallery = read_gallery(photos.parent / "gallery")
    assert gallery.names == ["a.png", "b/1.png", "b/2.png", "c d/ü.jpg"]
    assert (gallery.card.branch, gallery.card.num_waiting) == ("both", 0)
    network, transform, recipe = open_embedder(model)
    assert gallery.features.recipe == recipe
    paths = [photos / name for name in gallery.names]
    _, expected = compute_embeddings(
        network, read_batches(paths, transform, batch_size=4), branches=["both"], device=CPU
    )
    torch.testing.assert_close(gallery.embeddings, expected["both"])


def test_a_gallery_may_be_moved_with_its_pictures_and_model(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(model, photos)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    for name in ("photos", "gallery"):
        os.rename(tmp_path / name, tmp_path / "elsewhere" / name)
    gallery = read_gallery("elsewhere/gallery")
    assert gallery.pictures_folder == Path("elsewhere/photos")
    assert str(tmp_path) not in (tmp_path / "elsewhere/gallery/gallery.json").read_text()


def test_only_new_and_changed_pictures_are_embedded(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = embed(model, photos).gallery
    write_picture(photos / "aa.png", seed=8)
    write_picture(photos / "b/2.png", seed=9)
    os.utime(photos / "a.png", ns=(1, 1))  # other time, same bytes
    seen: list[Path] = []
    load = gallery_building.read_batches

    def record(paths, *arguments, **options):
        seen.extend(paths)
        return load(paths, *arguments, **options)

    monkeypatch.setattr(gallery_building, "read_batches", record)
    summary = embed(model, photos)
    assert seen == [photos / "aa.png", photos / "b/2.png"]
    assert (summary.num_embedded, summary.num_kept) == (2, 3)
    after = read_gallery(photos.parent / "gallery")
    assert after.names == ["a.png", "aa.png", "b/1.png", "b/2.png", "c d/ü.jpg"]
    assert torch.equal(after.embeddings[[0, 2, 4]], before.embeddings[[0, 1, 3]])
    assert not torch.equal(after.embeddings[3], before.embeddings[2])
    seen.clear()
    assert embed(model, photos).num_embedded == 0
    assert not seen


def test_an_extended_gallery_is_the_one_built_at_once(model: Path, photos: Path) -> None:
    embed(model, photos)
    write_picture(photos / "0.png", seed=7)
    extended = embed(model, photos).gallery
    place = photos.parent / "anew"
    anew = embed_folder(model, photos, place, BuildOptions(), device=CPU).gallery
    assert extended.features.table.equals(anew.features.table)
    torch.testing.assert_close(extended.embeddings, anew.embeddings)


def test_a_gallery_without_news_is_not_written_again(model: Path, photos: Path) -> None:
    embed(model, photos)
    place = photos.parent / "gallery"
    (place / "hnsw-0.faiss").write_bytes(b"")  # is only lost where the gallery is replaced
    before = read_all(place)
    embed(model, photos)
    assert read_all(place) == before


def test_removed_pictures_are_said_and_dropped_on_request(model: Path, photos: Path) -> None:
    embed(model, photos)
    (photos / "b/1.png").unlink()
    summary = embed(model, photos)
    assert summary.removed == ["b/1.png"]
    assert len(summary.gallery) == 4
    summary = embed(model, photos, drop_removed=True)
    assert summary.removed == ["b/1.png"]
    assert read_gallery(photos.parent / "gallery").names == ["a.png", "b/2.png", "c d/ü.jpg"]


def test_damaged_pictures_are_named_all_at_once_before_any_work(model: Path, photos: Path) -> None:
    (photos / "a.png").write_bytes(b"no picture")
    (photos / "b/2.png").write_bytes((photos / "b/2.png").read_bytes()[:60])
    with pytest.raises(ValueError, match="2 of 4 pictures cannot be used.*a.png.*b/2.png"):
        embed(model, photos)
    assert not (photos.parent / "gallery").exists()


def test_damaged_pictures_are_left_out_where_that_is_allowed(
    model: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "a.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        summary = embed(model, photos, allow_partial=True)
    assert summary.left_out == ["a.png"]
    assert len(summary.gallery) == 3
    assert "1 of 4 pictures cannot be used and are left out: " in caplog.text
    for path in photos.rglob("*.*g"):
        path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="none of its 4 pictures can be decoded"):
        embed_folder(
            model, photos, photos.parent / "g", BuildOptions(allow_partial=True), device=CPU
        )


def test_an_interrupted_build_keeps_its_work_and_goes_on(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what == "embedding" and done == 2:
            raise KeyboardInterrupt

    place = photos.parent / "gallery"
    with pytest.raises(KeyboardInterrupt):
        embed_folder(
            model, photos, place, BuildOptions(batch_size=1), device=CPU, on_progress=interrupt
        )
    half = read_gallery(place)
    assert (half.names, half.card.num_waiting) == (["a.png", "b/1.png"], 2)
    summary = embed(model, photos)
    assert (summary.num_embedded, summary.num_kept) == (2, 2)
    assert read_gallery(place).card.num_waiting == 0


def test_a_build_interrupted_while_it_saves_saves_again(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[int] = []

    def interrupt_first(gallery: Gallery) -> None:
        saves.append(len(gallery))
        if len(saves) == 1:
            raise KeyboardInterrupt
        save_gallery(gallery)

    monkeypatch.setattr(gallery_building, "save_gallery", interrupt_first)
    with pytest.raises(KeyboardInterrupt):
        embed(model, photos)
    assert saves == [4, 4]
    assert len(read_gallery(photos.parent / "gallery")) == 4


def test_a_killed_build_has_saved_what_a_minute_before_was_done(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(what: str, done: int, total: int) -> None:
        if what == "embedding" and done == 3:
            raise SystemExit  # leaves no time to save

    place = photos.parent / "gallery"
    options = BuildOptions(batch_size=1, save_seconds=0.0)
    with pytest.raises(SystemExit):
        embed_folder(model, photos, place, options, device=CPU, on_progress=die)
    assert len(read_gallery(place)) == 2
    assert not list(photos.parent.glob(".part-*"))


def test_a_gallery_of_another_model_is_refused(model: Path, photos: Path, tmp_path: Path) -> None:
    embed(model, photos)
    other = write_model(tmp_path / "other" / "model.safetensors", seed=1)
    with pytest.raises(ValueError, match=r"gallery: written by another model file \(sha256"):
        embed(other, photos)


def test_a_gallery_of_other_preprocessing_is_refused(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    embed(model, photos)
    other = write_model(tmp_path / "other" / "model.safetensors", std=0.5)
    with pytest.raises(ValueError, match="the same model file with other settings.*std"):
        embed(other, photos)
    with pytest.raises(ValueError, match=r"written with another flip test \(off then, on now\)"):
        embed(model, photos, flip=True)
    with pytest.raises(ValueError, match="a gallery of branch both; got branch sa"):
        embed(model, photos, branch="sa")


def test_another_folder_is_refused_unless_it_is_the_same_one_moved(
    model: Path, photos: Path
) -> None:
    embed(model, photos)
    moved = photos.rename(photos.parent / "pictures")
    with pytest.raises(ValueError, match="a gallery of the pictures in .*photos; got .*pictures"):
        embed(model, moved)
    summary = embed(model, moved, moved=True)
    assert (summary.num_embedded, summary.num_kept) == (0, 4)
    assert embed(model, moved).gallery.pictures_folder.name == "pictures"


def test_a_folder_of_something_else_is_never_replaced(model: Path, photos: Path) -> None:
    with pytest.raises(ValueError, match="photos: expected a gallery, an empty folder, or nothin"):
        embed_folder(model, photos, photos, BuildOptions(), device=CPU)
    assert len(list_pictures(photos)) == 4


def test_a_mount_point_is_refused_before_any_work(model: Path, photos: Path) -> None:
    with pytest.raises(ValueError, match="^/: a mount point, .* give a folder inside it as --ou"):
        embed_folder(model, photos, "/", BuildOptions(), device=CPU)


def test_a_folder_without_pictures_is_one_sentence(model: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="none: expected at least one picture .*; it is empty"):
        embed(model, tmp_path / "none")
    (tmp_path / "none" / "notes.txt").write_text("")
    with pytest.raises(ValueError, match="found only other suffixes: 1"):
        embed(model, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="expected a folder of pictures; there is none"):
        embed(model, tmp_path / "nowhere")


def test_what_is_no_picture_is_counted(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / ".hidden.png").write_bytes(b"")
    (photos / "notes.txt").write_text("")
    (photos / "link").symlink_to(photos / "b")
    with caplog.at_level(logging.WARNING):
        assert len(list_pictures(photos)) == 4
    assert "left out: hidden files: 1, links to folders: 1, other suffixes: 1" in caplog.text


def test_a_link_that_leads_nowhere_is_left_out_by_name(model: Path, photos: Path) -> None:
    (photos / "gone.png").symlink_to("nowhere.png")
    assert "gone.png" in set(list_pictures(photos)["path"])
    summary = embed(model, photos, allow_partial=True)
    assert len(summary.gallery) == 4 and summary.left_out == ["gone.png"]


def test_a_file_name_that_is_not_utf8_is_one_sentence(photos: Path) -> None:
    (photos / os.fsdecode(b"\xff.png")).write_bytes(b"")
    with pytest.raises(ValueError, match=r"udcff.png: the file name is not UTF-8"):
        list_pictures(photos)


def test_a_file_name_that_is_not_utf8_is_left_out_by_a_sentence(model: Path, photos: Path) -> None:
    (photos / os.fsdecode(b"\xff.png")).write_bytes(b"")
    summary = embed(model, photos, allow_partial=True)
    assert len(summary.gallery) == 4
    assert summary.left_out == ["\\udcff.png: the file name is not UTF-8; rename the file"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "Invalid JSON: EOF"),
        (b'{"branch": "sa"}', "pictures: missing, gallery.json: model: missing, "),
        (b'"sa"', "should be an object"),
        (b'"\xff"', "Invalid JSON: "),
        (b"[" * 100_000, "Invalid JSON: recursion limit exceeded"),
    ],
)
def test_a_damaged_gallery_is_one_sentence(
    model: Path, photos: Path, content: bytes, reason: str
) -> None:
    embed(model, photos)
    card = photos.parent / "gallery" / "gallery.json"
    card.write_bytes(content)
    with pytest.raises(ValueError, match="gallery.json: damaged or of another version") as caught:
        read_gallery(card.parent)
    said = str(caught.value)
    assert f"(gallery.json: {reason}" in said and "\n" not in said
    assert "pydantic" not in said and "GalleryCard" not in said


def test_a_gallery_of_one_branch_holds_no_other(model: Path, photos: Path) -> None:
    summary = embed(model, photos, branch="sa", flip=True)
    assert list(summary.gallery.features.embeddings) == ["sa"]
    card = json.loads((photos.parent / "gallery" / "gallery.json").read_text())
    assert card["branch"] == "sa"
    assert read_gallery(photos.parent / "gallery").features.recipe.flip


def test_batches_keep_the_order_and_an_error_names_its_picture(model: Path, photos: Path) -> None:
    transform = open_embedder(model)[1]
    paths = [photos / path for path in list_pictures(photos)["path"]]
    batches = list(read_batches(paths, transform, batch_size=3))
    assert [batch["row"].tolist() for batch in batches] == [[0, 1, 2], [3]]
    (photos / "a.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match="a.png: cannot be decoded"):
        list(read_batches(paths, transform, batch_size=3))
