"""`dcal embed` and `dcal search`, as a user types them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from dcal.cli.app import app
from dcal.inference.gallery import Gallery, read_gallery, save_gallery
from dcal.mistakes import is_mistake
from tests.data.factory import write_picture
from tests.inference.model_files import write_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_model(folder / "model.safetensors")
    for number in range(5):
        write_picture(folder / "photos" / f"picture [{number}].png", seed=number)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of one's own with the made model and photos in it."""
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output + repr(result.exception)
    return result


def embed(*options: str, status: int = 0) -> Any:
    return run("embed", "model.safetensors", "photos", "--output", "g", *options, status=status)


def test_embed_then_search_names_the_pictures(place: Path) -> None:
    said = embed().stdout
    assert said.startswith("g: 5 pictures by branch both, width 256: 5 embedded in ")
    assert said.endswith(", 0 were there\n")
    said = run("search", "g", "photos/picture [3].png", "--top", "2").stdout
    assert "photos/picture [3].png" in said
    lines = [line.split() for line in said.splitlines() if "0.0000" in line]
    assert lines == [["1", "picture", "[3].png", "0.0000", "1.0000"]]
    assert said.endswith("5 pictures searched exactly\n")
    assert "0 embedded" in embed().stdout


def test_search_writes_csv_and_a_picture(place: Path) -> None:
    embed()
    (place / "found").mkdir()
    said = run(
        "search", "g", "photos", "--top", "3", "--output", "found/a.csv", "--picture", "found/a.png"
    ).stdout
    table = pd.read_csv("found/a.csv")
    assert list(table) == ["query", "rank", "name", "distance", "cosine"]
    assert len(table) == 15
    assert "found/a.csv: 15 answers\nfound/a.png: queries drawn: 5\n" in said
    with Image.open("found/a.png") as image:
        assert image.width > 500


def test_with_a_csv_the_terminal_shows_the_first_queries_only(place: Path) -> None:
    for number in range(5, 8):
        write_picture(place / "more" / f"{number}.png", seed=number)
    embed()
    said = run("search", "g", "photos", "more", "--top", "1", "--output", "a.csv").stdout
    assert "and the answers to 3 more queries" in said
    assert "more/7.png" not in said
    assert "more/7.png" in run("search", "g", "photos", "more", "--top", "1").stdout


def test_an_approximate_search_tells_its_recall(place: Path) -> None:
    embed()
    said = run("search", "g", "photos", "--approximate", "--top", "2").stdout
    assert (
        "5 pictures searched approximately: of what an exact search finds 100.0% were found "
        "(recall on 5 of 5 queries)\n"
    ) in said


def test_a_poor_recall_comes_with_advice(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed()
    monkeypatch.setattr(
        "dcal.inference.gallery_search.search_approximately",
        lambda _, queries, num: np.zeros((len(queries), 1), dtype=np.int64),
    )
    said = run("search", "g", "photos", "--approximate", "--top", "1").stdout
    assert "20.0% were found (recall on 5 of 5 queries); --exact finds all" in said


def test_a_model_may_be_given_and_another_one_is_refused(place: Path) -> None:
    embed()
    run("search", "g", "photos", "--model", "model.safetensors")
    write_model(place / "other" / "model.safetensors", seed=3)
    other = ("--model", "other/model.safetensors")
    said = run("search", "g", "photos", *other, status=1)
    assert said.stderr.startswith("error: g: written by another model file (sha256 ")
    assert len(said.stderr.splitlines()) == 1
    assert not said.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["search", "nothing", "photos"], "error: nothing: no gallery there (no gallery.json); "),
        (["search", "g", "photos", "--page", "a.png"], "error: a.png: expected a name that ends "),
        (["search", "photos", "photos"], "error: photos: expected a gallery; it is a folder witho"),
        (["search", "g", "photos", "--picture", "a.gif"], "error: a.gif: expected a name that en"),
        (["embed", "no.safetensors", "photos", "--output", "h"], "error: no.safetensors: expec"),
        (["embed", "model.safetensors", "no", "--output", "h"], "error: no: expected a folder of"),
        (["embed", "model.safetensors", "empty", "--output", "h"], "error: empty: expected at le"),
        (["embed", "model.safetensors", "photos", "--output", "photos"], "error: photos: expect"),
        (["embed", "model.safetensors", "photos", "--output", "g", "--flip"], "error: g: written"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_1(
    place: Path, arguments: list[str], sentence: str
) -> None:
    embed()
    (place / "empty").mkdir()
    result = run(*arguments, status=1)
    assert result.stderr.startswith(sentence)
    assert len(result.stderr.splitlines()) == 1
    assert not (place / "h").exists()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["embed", "model.safetensors", "photos", "--output", "new/deep/g"], "--output"),
        (["search", "g", "photos", "--output", "new/deep/g"], "--output"),
        (["search", "g", "photos", "--picture", "new/deep/g"], "--picture"),
        (["search", "g", "photos", "--page", "new/deep/g"], "--page"),
    ],
)
def test_an_output_makes_no_folder_to_lie_in(
    place: Path, arguments: list[str], option: str
) -> None:
    assert run(*arguments, status=1).stderr == (
        "error: new/deep/g: expected the folder new/deep to be there, and it is not; make it, or "
        f"correct {option}\n"
    )
    assert not (place / "new").exists()


def test_left_out_and_removed_pictures_are_told(place: Path) -> None:
    for number in (1, 2):
        write_picture(place / "own" / f"{number}.png", seed=number)
    (place / "own" / "3.png").write_bytes(b"no picture")
    arguments = ("embed", "model.safetensors", "own", "--output", "h")
    result = run(*arguments, status=1)  # what can be embedded is
    assert result.stdout.startswith("h: 2 pictures")
    assert result.stderr.endswith(
        "error: pictures left out, named above: 1; the rest is done (--allow-partial takes that "
        "for success)\n"
    )
    result = run(*arguments, "--allow-partial")
    assert result.stdout.startswith("h: 2 pictures") and "error" not in result.stderr
    assert "left out, because they cannot be decoded: 1\n" in result.stdout
    assert "warning: own: 1 of 3 pictures cannot be used and are left out: own/3.png" in (
        result.stderr
    )
    for number in (2, 3):
        (place / "own" / f"{number}.png").unlink()
    kept = "no longer in the folder, kept; --drop-removed drops them: 1 (2.png)"
    assert kept in run(*arguments).stdout
    said = run(*arguments, "--drop-removed").stdout
    assert "no longer in the folder, dropped: 1 (2.png)" in said
    assert said.startswith("h: 1 pictures")


def test_search_names_all_damaged_queries_and_leaves_them_out(
    place: Path,
) -> None:
    embed()
    for number in (1, 2):
        (place / "own" / "deep").mkdir(parents=True, exist_ok=True)
        (place / "own" / "deep" / f"{number}.png").write_bytes(b"no picture")
    write_picture(place / "own" / "3.png", seed=3)
    arguments = ("search", "g", "own", "photos", "--top", "1", "--output", "a.csv")
    said = run(*arguments, status=1).stderr
    assert "; own/deep/2.png: cannot be decoded (" in said and len(said.splitlines()) == 2
    assert "error: pictures left out, named above: 2; the rest is done" in said
    result = run(*arguments, "--allow-partial")
    assert "warning: queries: 2 of 8 pictures cannot be used and are left out: own/deep/1" in (
        result.stderr
    )
    assert "left out, because they cannot be decoded: 2\n" in result.stdout
    table = pd.read_csv("a.csv")
    assert table["query"].tolist() == ["own/3.png"] + [
        f"photos/picture [{number}].png" for number in range(5)
    ]
    assert table["name"].tolist()[1:] == [f"picture [{number}].png" for number in range(5)]


def test_queries_of_which_none_can_be_decoded_are_a_mistake(place: Path) -> None:
    embed()
    (place / "bad.png").write_bytes(b"no picture")
    for query in ("bad.png", "no.png"):
        said = run("search", "g", query, status=1).stderr
        assert f"left out: {query}: " in said
        assert said.splitlines()[-1] == "error: queries: none of the 1 pictures can be decoded"


def test_a_query_that_is_not_there_is_passed_over(place: Path) -> None:
    embed()
    arguments = ("search", "g", "no.png", "photos/picture [1].png", "--top", "1")
    result = run(*arguments, "--output", "a.csv", status=1)
    assert "left out: no.png: no such file" in result.stderr
    assert pd.read_csv("a.csv")["name"].tolist() == ["picture [1].png"]


def test_a_query_whose_name_is_not_utf8_is_passed_over(place: Path) -> None:
    embed()
    name = os.fsdecode(b"a\xff.png")
    write_picture(place / name, seed=1)
    result = run("search", "g", name, "photos", "--output", "a.csv", status=1)
    assert "warning: a\\udcff.png: the file name is not UTF-8" in result.stderr
    assert "error: pictures left out, named above: 1" in result.stderr
    assert pd.read_csv("a.csv")["query"].nunique() == 5


def test_a_folder_is_searched_as_its_gallery_would_be(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place / "temporary"))
    embed()
    (place / "own").mkdir()
    for path in (place / "photos").iterdir():
        (place / "own" / path.name).symlink_to(path)
    (place / "own" / "bad.png").write_bytes(b"no picture")
    write_picture(place / "new.png", seed=9)
    run("search", "g", "new.png", "--output", "a.csv")
    options = ("--model", "model.safetensors", "--output", "b.csv", "--page", "b.html")
    before = set(place.iterdir())
    said = run("search", "own", "new.png", *options, status=1)
    assert (
        "warning: own: 1 of 6 pictures cannot be used and are left out: own/bad.png" in said.stderr
    )
    assert said.stderr.endswith(
        "error: pictures left out, named above: 1; the rest is done (--allow-partial takes that "
        "for success)\n"
    )
    assert (place / "a.csv").read_bytes() == (place / "b.csv").read_bytes()
    assert set(place.iterdir()) - before == {place / "b.csv", place / "b.html"}
    page = (place / "b.html").read_text()
    assert "Nearest pictures of own" in page and page.count("<img") == 6
    assert "1 query among 5 pictures, by branch both of model.safetensors, searched exactly" in page
    assert not list((place / "temporary").iterdir())


def test_a_gallery_picture_that_is_gone_does_not_keep_the_others_from_being_drawn(
    place: Path,
) -> None:
    for number in (1, 2):
        write_picture(place / "own" / f"{number}.png", seed=number)
    run("embed", "model.safetensors", "own", "--output", "h")
    (place / "own" / "2.png").unlink()
    result = run("search", "h", "own", "--picture", "a.png")
    assert "own: pictures no longer there, drawn as empty tiles: 1\n" in result.stderr
    assert Path("a.png").stat().st_size > 1000


def test_a_gallery_whose_build_was_interrupted_is_told_when_searched(place: Path) -> None:
    embed()
    card = place / "g" / "gallery.json"
    card.write_text(card.read_text().replace('"num_waiting": 0', '"num_waiting": 7'))
    said = run("search", "g", "photos").stderr
    assert "warning: the gallery still lacks 7 pictures" in said


def test_an_interruption_is_one_sentence(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dcal.inference.gallery_building.embed_folder", interrupt)
    said = embed(status=1).stderr
    assert said == (
        "error: interrupted; nothing half-written is left, and the same command goes on\n"
    )


def test_sigterm_saves_what_is_embedded_and_is_status_143(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def kill_after_two() -> Iterator[Callable[[str, int, int], None]]:
        def report(what: str, done: int, total: int) -> None:
            if (what, done) == ("embedding", 2):
                signal.raise_signal(signal.SIGTERM)

        yield report

    def save_under_fire(gallery: Gallery) -> None:
        signal.raise_signal(signal.SIGTERM)
        save_gallery(gallery)

    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with monkeypatch.context() as patches:
            patches.setattr("dcal.cli.embed.show_progress", kill_after_two)
            patches.setattr("dcal.inference.gallery_building.save_gallery", save_under_fire)
            said = embed("--batch-size", "1", status=143).stderr
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert said == (
        "error: got SIGTERM; nothing half-written is left, and the same command goes on\n"
    )
    assert (len(read_gallery("g")), read_gallery("g").card.num_waiting) == (2, 3)
    assert "3 embedded" in embed().stdout


def test_an_error_inside_a_library_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        int("x")  # raised here
    except ValueError as error:
        assert not is_mistake(error)
        assert is_mistake(error, [Path(__file__).parent])
    assert not is_mistake(ValueError())
    assert not is_mistake(ZeroDivisionError())


@pytest.mark.parametrize("arguments", [["embed", "model"], ["search"], ["nothing"], ["--nothing"]])
def test_a_wrong_call_is_status_2(arguments: list[str]) -> None:
    run(*arguments, status=2)


@pytest.mark.parametrize("arguments", [["--help"], ["embed", "--help"], ["search", "--help"]])
def test_help_teaches_and_loads_nothing_heavy(arguments: list[str]) -> None:
    assert "dcal embed" in run(*arguments).stdout or arguments != ["--help"]
    code = (
        "import sys; from dcal.cli.app import app; from typer.testing import CliRunner;"
        f"result = CliRunner().invoke(app, {arguments}); assert result.exit_code == 0;"
        "sys.exit(bool({'torch', 'pandas', 'numpy', 'matplotlib', 'faiss'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_console_script_leads_to_the_app() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    module, _, name = tomllib.loads(text)["project"]["scripts"]["dcal"].partition(":")
    assert callable(getattr(import_module(module), name))


@pytest.mark.slow
def test_the_command_line_goes_from_birds_to_a_drawn_answer(finished, tmp_path: Path) -> None:
    folder = finished.folder
    model = folder / "runs" / "train" / "model.safetensors"
    photos = next(path for path in (folder / "data" / "raw").iterdir() if path.is_dir())
    commands = [
        ["embed", model, photos, "--output", tmp_path / "g", "--device", "cpu"],
        ["search", tmp_path / "g", next(photos.rglob("*.png")), "--picture", tmp_path / "a.png"],
    ]
    for command in commands:
        arguments = [sys.executable, "-m", "dcal.cli", *map(str, command)]
        subprocess.run(arguments, check=True, cwd=Path(__file__).parents[2])
    assert (tmp_path / "a.png").stat().st_size > 1000
