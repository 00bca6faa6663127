"""A gallery: a folder of one's own pictures as embeddings, kept in a folder of its own (ours).

gallery.json           where the pictures and the model are, seen from here
pictures.safetensors   their embeddings, by one branch
pictures.parquet       path below the pictures' folder, sha256, num_bytes, modified_ns
hnsw-<digest>.faiss    once it was searched approximately
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from dcal.config import NaturalNumber, Section
from dcal.config_errors import describe_errors
from dcal.inference.embedding import Branch
from dcal.inference.features import Features, read_features, require_same_recipe, save_features
from dcal.inference.recipe import Recipe
from dcal.paths import replace_folder, write_json
from dcal.sentences import to_one_line

_CARD, _FEATURES = "gallery.json", "pictures.safetensors"


class GalleryCard(Section):
    """What a gallery says of itself; gallery.json."""

    pictures: str  # their folder, relative to the gallery, so that both may be moved together
    model: str  # the model file, likewise
    branch: Branch
    num_waiting: NaturalNumber  # pictures that an interrupted build did not come to


@dataclass(frozen=True)
class Gallery:
    """Embedded pictures, and where all of it is."""

    place: Path
    card: GalleryCard
    features: Features

    @property
    def embeddings(self) -> Tensor:
        """Return the embeddings (N, width) in the order of the names."""
        return self.features.embeddings[self.card.branch]

    @property
    def names(self) -> list[str]:
        """Return the pictures' paths below their folder."""
        return self.features.table["path"].tolist()

    @property
    def pictures_folder(self) -> Path:
        """Return the folder that the names start from."""
        return resolve_from(self.place, self.card.pictures)

    @property
    def model_path(self) -> Path:
        """Return the model file that embedded the pictures."""
        return resolve_from(self.place, self.card.model)

    def __len__(self) -> int:
        return len(self.features.table)


def save_gallery(gallery: Gallery) -> None:
    """Write a gallery as a whole or not at all, in the place of an older one.

    Raises:
        ValueError: Something else is at that place.
    """
    require_place(gallery.place)
    with replace_folder(gallery.place) as target:
        save_features(target / _FEATURES, gallery.features)
        write_json(target / _CARD, gallery.card.model_dump(mode="json"))


def is_gallery(place: Path) -> bool:
    """Say whether a gallery was written there."""
    return (place / _CARD).is_file()


def read_gallery(place: str | Path, *, recipe: Recipe | None = None) -> Gallery:
    """Read what `save_gallery` wrote.

    Args:
        place: The gallery's folder.
        recipe: Of the model in use now; a gallery of another one is refused.

    Raises:
        FileNotFoundError: No gallery there.
        ValueError: It is damaged, or of another recipe.
    """
    place = Path(place)
    if not is_gallery(place):
        raise FileNotFoundError(
            f"{place}: no gallery there (no {_CARD}); make one with: "
            f"dcal embed MODEL FOLDER --output {place}"
        )
    card = _read_card(place / _CARD)
    features = read_features(place / _FEATURES)
    if recipe is not None:
        require_same_recipe(features.recipe, recipe, place)
    if card.branch not in features.embeddings:
        raise ValueError(f"{place}: it has no embeddings of branch {card.branch}; embed anew")
    return Gallery(place, card, features)


def _read_card(path: Path) -> GalleryCard:
    try:
        return GalleryCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        reasons = describe_errors(error, GalleryCard, origin=path.name).replace("\n", ", ")
        raise ValueError(
            f"{path}: damaged or of another version ({to_one_line(reasons)}); embed the pictures "
            "anew"
        ) from None


def require_place(place: Path) -> None:
    """Raise a ValueError where writing a gallery would replace something else."""
    if os.path.ismount(place):
        raise ValueError(
            f"{place}: a mount point, which cannot be replaced as a gallery is when it is written; "
            "give a folder inside it as --output"
        )
    if not os.path.lexists(place) or is_gallery(place):
        return
    if place.is_dir() and not any(place.iterdir()):
        return
    raise ValueError(
        f"{place}: expected a gallery, an empty folder, or nothing there yet, because its place is "
        "taken; something else is there: give another --output"
    )


def relative_to_place(path: str | Path, place: Path) -> str:
    """Return how a path is written into a gallery."""
    return Path(os.path.relpath(path, place)).as_posix()


def resolve_from(place: Path, path: str) -> Path:
    """Return what `relative_to_place` wrote as a path for the current directory."""
    return Path(os.path.normpath(place / path))
