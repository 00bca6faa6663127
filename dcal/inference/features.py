"""Embeddings on disk with the pictures they are of, written whole and checked when read (ours).

`<name>.safetensors` holds a float32 matrix for each branch, which is read without a copy, without
parsing, and without running anything; `<name>.parquet` holds a row a picture in the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dcal.config_errors import describe_errors
from dcal.inference.embedding import BRANCHES, Branch
from dcal.inference.recipe import Recipe
from dcal.paths import write_together
from dcal.sentences import to_one_line

REQUIRED_COLUMNS = ("path", "sha256")
_MAX_NAMED = 5
_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Features:
    """Pictures and their embeddings, in one order.

    The table has `path` and `sha256`, and `split`, `identity` and `camera` where they are known.
    """

    table: pd.DataFrame
    embeddings: Mapping[Branch, Tensor]  # each (N, width) of length 1, float32 on the CPU
    recipe: Recipe

    def select(self, split: str, branch: Branch) -> tuple[pd.DataFrame, Tensor]:
        """Return the rows of one split and their embeddings."""
        is_chosen = (self.table["split"] == split).to_numpy(copy=True)
        return self.table.loc[is_chosen], self.embeddings[branch][torch.from_numpy(is_chosen)]


def save_features(path: str | Path, features: Features) -> None:
    """Write `path` (.safetensors) and the table beside it (.parquet), both or none.

    Raises:
        ValueError: Embeddings and table disagree in length, or an embedding cannot be compared; the
            message names the picture.
        WriteError: The disk is full, or the place may not be written to.
    """
    path = Path(path)
    table = features.table.reset_index(drop=True)
    for branch, values in features.embeddings.items():
        _require_length(values, table, what=f"embeddings of branch {branch}")
    require_comparable(features.embeddings, table["path"])
    tensors = {str(name): values.contiguous() for name, values in features.embeddings.items()}
    metadata = {
        "recipe": features.recipe.model_dump_json(),
        "pictures": compute_pictures_digest(table),
    }
    with write_together(path, path.with_suffix(".parquet")) as (temporary, temporary_table):
        save_file(tensors, temporary, metadata=metadata)
        table.to_parquet(temporary_table, index=False)


def read_features(path: str | Path, *, recipe: Recipe | None = None) -> Features:
    """Read what `save_features` wrote.

    Args:
        path: The .safetensors file.
        recipe: Of the model in use now; features of another one are refused.

    Raises:
        FileNotFoundError: One of the two files is not there.
        ValueError: They are damaged, do not belong together, or are of another model.
    """
    path = Path(path)
    for file in (path, path.with_suffix(".parquet")):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file; compute the features anew")
    try:
        table = pd.read_parquet(path.with_suffix(".parquet"))
        with safe_open(path, framework="pt") as stream:
            # The file has them by name; the last one stands for the model.
            names = sorted(stream.keys(), key=BRANCHES.index)
            tensors = {name: stream.get_tensor(name) for name in names}
            metadata = dict(stream.metadata() or {})
        written = Recipe.model_validate_json(metadata["recipe"])
    except (SafetensorError, ValueError, OSError, KeyError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            reason = describe_errors(error, Recipe, origin="recipe")
        raise ValueError(
            f"{path}: these features are damaged or of another version "
            f"({to_one_line(reason)}); compute them anew"
        ) from None
    if recipe is not None:
        require_same_recipe(written, recipe, path)
    features = Features(table, tensors, written)
    _require_consistent(features, path, pictures_digest=metadata.get("pictures", ""))
    return features


def require_same_recipe(written: Recipe, now: Recipe, path: Path) -> None:
    """Raise a ValueError where embeddings were made by another recipe than that of now."""
    difference = written.describe_difference(now)
    if difference is not None:
        raise ValueError(
            f"{path}: written {difference}; their embeddings cannot be compared: give the model "
            "that wrote it, or embed the pictures anew"
        )


def require_same_pictures(features: Features, table: pd.DataFrame, *, path: str | Path) -> None:
    """Check that features are of the pictures of an index, in its order.

    Raises:
        ValueError: They disagree in length, or the first place where they disagree in order.
    """
    own, wanted = features.table, table.reset_index(drop=True)
    _require_length(own, wanted, what=f"{path}: features", of="the index")
    for column in REQUIRED_COLUMNS:
        differs = (own[column].to_numpy() != wanted[column].to_numpy()).nonzero()[0]
        if len(differs):
            row = int(differs[0])
            raise ValueError(
                f"{path}: expected the pictures of the index in its order; at position {row} it "
                f"has {column} {own[column][row]}, the index {wanted[column][row]} "
                f"({len(differs)} positions differ): compute the features anew"
            )


def require_comparable(embeddings: Mapping[Branch, Tensor], paths: Iterable[str]) -> None:
    """Raise a ValueError that names pictures whose embeddings are not finite or not of length 1."""
    names = list(paths)
    for branch, values in embeddings.items():
        lengths = torch.linalg.vector_norm(values, dim=1)
        bad = ~torch.isfinite(lengths)
        _refuse(bad, names, branch, "are NaN or infinite")
        _refuse(lengths == 0, names, branch, "are all zeros")
        _refuse((lengths - 1).abs() > _LENGTH_TOLERANCE, names, branch, "are not of length 1")


def compute_pictures_digest(table: pd.DataFrame) -> str:
    """Return a sha256 over the pictures of a table, in its order."""
    digest = hashlib.sha256()
    for values in zip(*(table[column] for column in REQUIRED_COLUMNS), strict=True):
        digest.update("\0".join(values).encode() + b"\n")
    return digest.hexdigest()


def _require_consistent(features: Features, path: Path, *, pictures_digest: str) -> None:
    if not features.embeddings:
        raise ValueError(f"{path}: expected embeddings of one branch at least; it has none")
    missing = [column for column in REQUIRED_COLUMNS if column not in features.table]
    if missing:
        raise ValueError(f"{path.with_suffix('.parquet')}: it has no column {', '.join(missing)}")
    for branch, values in features.embeddings.items():
        _require_length(
            values, features.table, what=f"{path}: features of branch {branch}", of="its table"
        )
    if compute_pictures_digest(features.table) != pictures_digest:
        raise ValueError(
            f"{path}: expected the features of the pictures that its table lists; the table lists "
            "other pictures, or these in another order: compute the features anew"
        )
    require_comparable(features.embeddings, features.table["path"])


def _require_length(
    values: Tensor | pd.DataFrame, table: pd.DataFrame, *, what: str, of: str = "the table"
) -> None:
    if len(values) != len(table):
        raise ValueError(f"{what}: expected {len(table)}, one a row of {of}; got {len(values)}")


def _refuse(is_bad: Tensor, names: Sequence[str], branch: str, what: str) -> None:
    positions = is_bad.nonzero()[:, 0].tolist()
    if positions:
        shown = ", ".join(names[position] for position in positions[:_MAX_NAMED])
        more = ", ..." if len(positions) > _MAX_NAMED else ""
        raise ValueError(
            f"embeddings of branch {branch}: expected finite numbers of length 1; those of "
            f"{len(positions)} pictures {what}: {shown}{more}"
        )
