"""What an embedding is a function of besides the picture, to tell two models' apart (ours)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcal.config import Section, TransformsConfig
from dcal.data.transforms import Transform, build_test_transform
from dcal.models.build import load_model
from dcal.models.dcal import DCAL
from dcal.paths import compute_file_digest

# Of the card's config: what evaluation does, not how the model came to be.
_MODEL_KEYS = (
    "backbone",
    "image_size",
    "stride",
    "top_r",
    "patch_selection",
    "readout",
    "glca_blocks",
    "side_information",
    "side_scale",
)
_TRANSFORM_KEYS = ("resize", "test_crop", "interpolation")
_SHOWN_DIGITS = 12


class Recipe(Section):
    """How pictures were embedded; embeddings of two recipes cannot be compared."""

    model_digest: str  # sha256 of the model file
    model: dict[str, Any]
    preprocessing: dict[str, Any]
    flip: bool

    def describe_difference(self, now: Recipe) -> str | None:
        """Say how this recipe, of what is on disk, differs from that of now; None = in nothing.

        The text goes on after "written".
        """
        if self.model_digest != now.model_digest:
            then, today = (
                digest[:_SHOWN_DIGITS] for digest in (self.model_digest, now.model_digest)
            )
            return f"by another model file (sha256 {then}... then, {today}... now)"
        for what in ("model", "preprocessing"):
            before, after = getattr(self, what), getattr(now, what)
            for key in sorted(before.keys() | after.keys()):
                if before.get(key) != after.get(key):
                    told = f"{before.get(key)} then, {after.get(key)} now"
                    return f"by the same model file with other settings ({what}: {key} {told})"
        if self.flip != now.flip:
            return f"with another flip test ({_on(self.flip)} then, {_on(now.flip)} now)"
        return None


def open_embedder(path: str | Path, *, flip: bool = False) -> tuple[DCAL, Transform, Recipe]:
    """Load a model file, what prepares its pictures, and the recipe of its embeddings.

    Raises:
        FileNotFoundError, ValueError: No such model, or a card that lacks what is needed.
    """
    model = load_model(path)
    try:
        transform = build_transform(model)
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{Path(path).with_suffix('.json')}: expected config.transforms and preprocessing, "
            f"which say how pictures are prepared ({reason}); train the model anew"
        ) from None
    return model, transform, describe_recipe(model, path, flip=flip)


def build_transform(model: DCAL) -> Transform:
    """Return what prepares a picture for a trained model, as its card says.

    Raises:
        ValueError: The card does not say it.
    """
    preprocessing = model.card.get("preprocessing")
    if not isinstance(preprocessing, dict) or not {"mean", "std"} <= set(preprocessing):
        raise ValueError(
            "the model's card does not say how pictures are prepared: expected preprocessing with "
            "mean and std; it is not the card of a model of this version"
        )
    return build_test_transform(
        TransformsConfig.model_validate(model.card["config"]["transforms"]),
        model.config.image_size,
        mean=list(preprocessing["mean"]),
        std=list(preprocessing["std"]),
    )


def describe_recipe(model: DCAL, path: str | Path, *, flip: bool = False) -> Recipe:
    """Return the recipe of a loaded model's embeddings; its card says how pictures are prepared."""
    preprocessing = model.card["preprocessing"]
    transforms = model.card["config"]["transforms"]
    prepared = _select(transforms, _TRANSFORM_KEYS)
    prepared |= {name: list(preprocessing[name]) for name in ("mean", "std")}
    if transforms["decode"] != "exact":  # which recipes do not tell, older ones among them
        prepared["decode"] = transforms["decode"]
    return Recipe(
        model_digest=compute_file_digest(path),
        model=_select(model.card["config"]["model"], _MODEL_KEYS),
        preprocessing=prepared,
        flip=flip,
    )


def _select(values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: values.get(key) for key in keys}


def _on(value: bool) -> str:
    return "on" if value else "off"
