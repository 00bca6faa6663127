"""Saved features: what comes back, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from dcal.inference.features import (
    Features,
    read_features,
    require_same_pictures,
    save_features,
)
from dcal.inference.recipe import Recipe, open_embedder
from tests.inference.model_files import write_model

RECIPE = Recipe(model_digest="ab" * 32, model={"top_r": 0.3}, preprocessing={}, flip=False)


def make_features(num: int = 6) -> Features:
    table = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(num)],
            "sha256": [f"{i:064d}" for i in range(num)],
            "split": ["query", "gallery"] * (num // 2),
            "identity": pd.array([1, 2, None] * (num // 3), dtype="Int64"),
            "camera": pd.array([None] * num, dtype="Int64"),
        }
    )
    generator = torch.Generator().manual_seed(0)
    embeddings = {
        branch: F.normalize(torch.randn(num, width, generator=generator))
        for branch, width in (("sa", 4), ("both", 8))
    }
    return Features(table, embeddings, RECIPE)


def test_features_come_back_with_their_pictures(tmp_path: Path) -> None:
    features = make_features()
    save_features(tmp_path / "features.safetensors", features)
    found = read_features(tmp_path / "features.safetensors", recipe=RECIPE)
    pd.testing.assert_frame_equal(found.table, features.table)
    assert found.recipe == RECIPE
    for branch, values in features.embeddings.items():
        assert torch.equal(found.embeddings[branch], values)
    table, values = found.select("query", "both")
    assert table["path"].tolist() == ["0.png", "2.png", "4.png"]
    assert torch.equal(values, features.embeddings["both"][[0, 2, 4]])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "features.parquet",
        "features.safetensors",
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.nan, r"branch sa.* 1 pictures are NaN or infinite: 3.png"),
        (torch.inf, r"branch sa.* 1 pictures are NaN or infinite: 3.png"),
        (0.0, r"branch sa.* 1 pictures are all zeros: 3.png"),
        (7.0, r"branch sa.* 1 pictures are not of length 1: 3.png"),
    ],
)
def test_a_feature_that_cannot_be_compared_names_its_picture(
    tmp_path: Path, value: float, message: str
) -> None:
    features = make_features()
    features.embeddings["sa"][3] = value
    with pytest.raises(ValueError, match=message):
        save_features(tmp_path / "features.safetensors", features)
    assert not list(tmp_path.iterdir())


def test_features_and_table_of_two_lengths_are_not_written(tmp_path: Path) -> None:
    features = make_features()
    short = replace(features, table=features.table.head(5))
    with pytest.raises(ValueError, match="branch sa: expected 5, one a row of the table; got 6"):
        save_features(tmp_path / "features.safetensors", short)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.head(4),
            "features of branch sa: expected 4, one a row of its table",
        ),
        (lambda table: table.iloc[::-1], "lists other pictures, or these in another order"),
        (lambda table: table.assign(sha256="0" * 64), "lists other pictures, or these in another"),
        (lambda table: table.drop(columns="sha256"), "it has no column sha256"),
    ],
)
def test_a_table_that_is_not_that_of_the_features_is_refused(
    tmp_path: Path, change, message: str
) -> None:
    features = make_features()
    save_features(tmp_path / "features.safetensors", features)
    change(features.table).to_parquet(tmp_path / "features.parquet", index=False)
    with pytest.raises(ValueError, match=message):
        read_features(tmp_path / "features.safetensors")


def test_an_index_of_other_pictures_is_refused_with_the_first_place() -> None:
    features = make_features()
    require_same_pictures(features, features.table.set_index(features.table.index + 40), path="f")
    with pytest.raises(ValueError, match=r"f: features: expected 5, one a row of the index; got 6"):
        require_same_pictures(features, features.table.head(5), path="f")
    swapped = features.table.iloc[[0, 2, 1, 3, 4, 5]]
    message = r"at position 1 it has path 1.png, the index 2.png \(2 positions differ\)"
    with pytest.raises(ValueError, match=message):
        require_same_pictures(features, swapped, path="f")
    changed = features.table.copy()
    changed.loc[4, "sha256"] = "f" * 64
    with pytest.raises(ValueError, match="at position 4 it has sha256 0"):
        require_same_pictures(features, changed, path="f")


def test_a_damaged_recipe_is_one_sentence_of_plain_words(tmp_path: Path) -> None:
    path = tmp_path / "features.safetensors"
    save_features(path, make_features())
    path.write_bytes(path.read_bytes().replace(b'flip\\":false', b'flip\\":12345', 1))
    with pytest.raises(
        ValueError, match=r"\(recipe: flip: .*12345\); compute them anew$"
    ) as caught:
        read_features(path)
    assert "pydantic" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["features.safetensors", "features.parquet"])
def test_damaged_or_missing_files_are_one_sentence(tmp_path: Path, name: str) -> None:
    save_features(tmp_path / "features.safetensors", make_features())
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged or of another version"):
        read_features(tmp_path / "features.safetensors")
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match="no such file; compute the features anew"):
        read_features(tmp_path / "features.safetensors")


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ({"model_digest": "cd" * 32}, r"by another model file \(sha256 abab.*then, cdcd"),
        (
            {"model": {"top_r": 0.5}},
            r"by the same model file with other settings \(model: top_r 0.3 then, 0.5 now\)",
        ),
        (
            {"preprocessing": {"resize": [2, 3]}},
            r"by the same model file with other settings \(preprocessing: resize None then, ",
        ),
        ({"flip": True}, r"with another flip test \(off then, on now\)"),
    ],
)
def test_features_of_another_recipe_are_refused(tmp_path: Path, now, message: str) -> None:
    save_features(tmp_path / "features.safetensors", make_features())
    with pytest.raises(ValueError, match=f"written {message}.*cannot be compared"):
        read_features(tmp_path / "features.safetensors", recipe=RECIPE.model_copy(update=now))


def test_a_recipe_changes_with_the_weights_the_read_out_and_the_preprocessing(
    tmp_path: Path,
) -> None:
    paths = [
        write_model(tmp_path / "a" / "model.safetensors"),
        write_model(tmp_path / "b" / "model.safetensors", seed=1),
        write_model(tmp_path / "c" / "model.safetensors", std=0.5),
        write_model(tmp_path / "d" / "model.safetensors", model={"readout": "local"}),
        write_model(tmp_path / "e" / "model.safetensors", transforms={"interpolation": "bilinear"}),
    ]
    recipes = [open_embedder(path)[2] for path in paths]
    assert recipes[0].describe_difference(open_embedder(paths[0])[2]) is None
    told = [recipes[0].describe_difference(recipe) for recipe in recipes[1:]]
    assert [text.split(" (")[0] for text in told] == [
        "by another model file",
        *["by the same model file with other settings"] * 3,
    ]
    assert "std" in told[1] and "readout" in told[2] and "interpolation" in told[3]


def test_a_recipe_tells_of_reduced_decoding_and_older_cards_mean_exact(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a" / "model.safetensors")
    reduced = write_model(tmp_path / "b" / "model.safetensors", transforms={"decode": "reduced"})
    exact = open_embedder(path)[2]
    told = exact.describe_difference(open_embedder(reduced)[2])
    assert told is not None and "preprocessing: decode None then, reduced now" in told
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace('"decode": "exact",', ""))
    assert '"decode"' not in card.read_text()
    _, transform, recipe = open_embedder(path)
    assert not transform.is_reduced and exact.describe_difference(recipe) is None


def test_training_settings_do_not_change_a_recipe(tmp_path: Path) -> None:
    one = write_model(tmp_path / "a" / "model.safetensors")
    other = write_model(
        tmp_path / "b" / "model.safetensors", transforms={"flip_ratio": 0.0}, train={"lr": 1.0}
    )
    recipes = [open_embedder(path)[2] for path in (one, other)]
    assert recipes[0].describe_difference(recipes[1]) is None


def test_a_card_without_preprocessing_is_one_sentence(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.safetensors")
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace('"preprocessing"', '"something"'))
    with pytest.raises(ValueError, match="model.json: expected config.transforms and preproc"):
        open_embedder(path)
