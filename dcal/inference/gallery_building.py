"""Build a gallery from a folder, or bring one up to date: only new pictures are embedded (ours)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from dcal.data.transforms import Transform
from dcal.inference.embedding import (
    Branch,
    iterate_embeddings,
    list_embedding_branches,
    require_branches,
)
from dcal.inference.features import Features
from dcal.inference.gallery import (
    Gallery,
    GalleryCard,
    is_gallery,
    read_gallery,
    relative_to_place,
    require_place,
    save_gallery,
)
from dcal.inference.gallery_plan import COLUMNS, OnProgress, Plan, is_up_to_date, make_plan
from dcal.inference.own_pictures import read_batches
from dcal.inference.recipe import open_embedder
from dcal.models.dcal import DCAL

SAVE_SECONDS = 60.0  # at most so much work is lost to a kill


@dataclass(frozen=True)
class BuildOptions:
    """What `dcal embed` was asked for."""

    branch: Branch | None = None  # None = the gallery's own, or the model's last: both, or sa
    flip: bool = False
    batch_size: int = 64
    allow_partial: bool = False  # leave out pictures that cannot be decoded
    drop_removed: bool = False  # forget pictures that are no longer in the folder
    moved: bool = False  # the folder is that of the gallery under another name
    save_seconds: float = SAVE_SECONDS


class BuildSummary(NamedTuple):
    """What became of the pictures; names are relative to the folder."""

    gallery: Gallery
    num_embedded: int
    num_kept: int  # were in the gallery already
    removed: list[str]  # are no longer in the folder
    left_out: list[str]  # cannot be decoded


def embed_folder(
    model_path: str | Path,
    folder: str | Path,
    place: str | Path,
    options: BuildOptions,
    *,
    device: torch.device,
    on_progress: OnProgress | None = None,
) -> BuildSummary:
    """Embed a folder's pictures into the gallery at `place`, which is made or extended.

    A picture is new where its path is, and changed where its bytes are; its size and time tell
    when to look. What is embedded is written every minute and when the user interrupts, so that
    the next call goes on from there.

    Raises:
        FileNotFoundError: No such model or folder.
        ValueError: No picture; pictures that cannot be decoded; a gallery of another model, branch
            or folder; or something else at `place`.
    """
    place, folder = Path(place), Path(folder)
    require_place(place)
    model, transform, recipe = open_embedder(model_path, flip=options.flip)
    older = read_gallery(place, recipe=recipe) if is_gallery(place) else None
    branch = _choose_branch(options.branch, older, model)
    _require_same_folder(older, folder, options)
    plan = make_plan(
        older,
        folder,
        allow_partial=options.allow_partial,
        drop_removed=options.drop_removed,
        on_progress=on_progress,
    )
    card = GalleryCard(
        pictures=relative_to_place(folder, place),
        model=relative_to_place(model_path, place),
        branch=branch,
        num_waiting=0,
    )
    empty = torch.empty(0, 0)
    kept = torch.tensor(plan.kept.index.to_numpy(copy=True))
    old_embeddings = empty if older is None else older.embeddings[kept]
    builder = _Builder(place, card, plan, old_embeddings, Features(plan.kept, {}, recipe))
    if older is None or len(plan.fresh) or not is_up_to_date(older, plan, card):
        _embed(builder, model, transform, folder, options, device=device, on_progress=on_progress)
    gallery = builder.join()
    return BuildSummary(gallery, len(plan.fresh), len(plan.kept), plan.removed, plan.left_out)


class _Builder:
    """Collects embeddings and writes the gallery of those there are."""

    def __init__(
        self, place: Path, card: GalleryCard, plan: Plan, kept: Tensor, empty: Features
    ) -> None:
        self.place, self.card, self.plan, self.kept, self.empty = place, card, plan, kept, empty
        self.parts: list[Tensor] = []
        self.num_done = 0

    def add(self, embeddings: Tensor) -> None:
        self.parts.append(embeddings)
        self.num_done += len(embeddings)

    def join(self) -> Gallery:
        """Return the gallery of what is embedded so far, sorted by path."""
        parts = [part for part in (self.kept, *self.parts) if len(part)]
        done = self.plan.fresh.head(self.num_done)
        table = pd.concat([self.plan.kept, done], ignore_index=True)[COLUMNS]
        order = table["path"].argsort(kind="stable").to_numpy(copy=True)
        embeddings = torch.cat(parts)[torch.from_numpy(order)]
        card = self.card.model_copy(update={"num_waiting": len(self.plan.fresh) - self.num_done})
        features = Features(
            table.iloc[order].reset_index(drop=True),
            {card.branch: embeddings},
            self.empty.recipe,
        )
        return Gallery(self.place, card, features)

    def save(self) -> None:
        if self.num_done or len(self.kept):
            save_gallery(self.join())


def _embed(
    builder: _Builder,
    model: DCAL,
    transform: Transform,
    folder: Path,
    options: BuildOptions,
    *,
    device: torch.device,
    on_progress: OnProgress | None,
) -> None:
    paths = [folder / path for path in builder.plan.fresh["path"]]
    branch = builder.card.branch
    loader = read_batches(paths, transform, batch_size=options.batch_size)
    saved = time.monotonic()
    try:
        for rows, embeddings in iterate_embeddings(
            model, loader, branches=[branch], device=device, flip=options.flip
        ):
            builder.add(embeddings[branch])
            if on_progress is not None:
                on_progress("embedding", int(rows[-1]) + 1, len(paths))
            if time.monotonic() - saved > options.save_seconds:
                builder.save()
                saved = time.monotonic()
        builder.save()
    except KeyboardInterrupt:
        builder.save()
        raise


def _choose_branch(asked: Branch | None, older: Gallery | None, model: DCAL) -> Branch:
    if older is None:
        branch = asked or list_embedding_branches(model)[-1]
        require_branches(model, [branch])
        return branch
    if asked not in (None, older.card.branch):
        raise ValueError(
            f"{older.place}: a gallery of branch {older.card.branch}; got branch {asked}: embed "
            "into another --output"
        )
    return older.card.branch


def _require_same_folder(older: Gallery | None, folder: Path, options: BuildOptions) -> None:
    if older is None or options.moved:
        return
    if older.pictures_folder.resolve() != folder.resolve():
        raise ValueError(
            f"{older.place}: a gallery of the pictures in {older.pictures_folder}; got {folder}: "
            "give that folder, or another --output, or --moved if this folder is that one under "
            "another name"
        )
