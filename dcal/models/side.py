"""Learned vectors of cameras and views, added to every token (TransReID, side information).

Unlike there, a picture has a vector of its camera and one of its view, not one of the pair, so
that either may be unknown. Legend: S rows, N tokens, D width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SideInformation(nn.Module):
    """Add `scale` times the vectors of a picture's camera and view to its tokens.

    Args:
        width: D.
        num_cameras: Of the train split; 0 = cameras add nothing.
        num_views: The same for views.
        scale: Of the vectors, which begin small.
    """

    def __init__(self, width: int, *, num_cameras: int, num_views: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        sizes = {"cameras": num_cameras, "views": num_views}
        self.tables = nn.ParameterDict(
            {name: torch.zeros(size, width) for name, size in sizes.items() if size}
        )
        for table in self.tables.values():
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, tokens: Tensor, cameras: Tensor | None, views: Tensor | None) -> Tensor:
        """Return tokens (S, N, D) with the vectors of cameras (B,) and views (B,) added.

        A place of -1 is not known and adds nothing; nor do rows beyond B, which are distractors
        from outside the batch.
        """
        for name, places in (("cameras", cameras), ("views", views)):
            if name in self.tables and places is not None:
                tokens = tokens + self.scale * self._look_up(name, places, tokens.shape[0])
        return tokens

    def _look_up(self, name: str, places: Tensor, num_rows: int) -> Tensor:
        table = cast(Tensor, self.tables[name])
        vectors = table[places.clamp(min=0)] * (places >= 0)[:, None]  # (B, D)
        return F.pad(vectors, (0, 0, 0, num_rows - len(places)))[:, None]  # (S, 1, D)
