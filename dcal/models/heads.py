"""Classifiers on a branch's feature: a linear head (FGVC) and the BN neck (Re-ID).

Linear: DCAL, FGVC. BN neck: TransReID's head, which the paper's Re-ID settings follow.
Legend: B images, D width, C classes.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dcal.collectives import gather_rows, is_distributed, take_own_rows


class LinearHead(nn.Module):
    """One linear layer from a feature to class scores."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def forward(
        self, features: Float[Tensor, "batch width"], *, updates_statistics: bool = True
    ) -> Float[Tensor, "batch classes"]:
        """Return class scores; `updates_statistics` is of the BN neck only."""
        scores: Tensor = self.classifier(features)
        return scores


class BNNeckHead(nn.Module):
    """BatchNorm without a trained shift, then a linear layer without bias.

    Retrieval and the triplet loss use the feature before the neck. SA and PWCA share one head but
    not their batch statistics: each stream is normalised by its own batch, and only SA's pass
    moves the running statistics that evaluation uses. With several processes statistics are of
    the whole batch.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.neck = nn.BatchNorm1d(width)
        self.neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(width, num_classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(
        self, features: Float[Tensor, "batch width"], *, updates_statistics: bool = True
    ) -> Float[Tensor, "batch classes"]:
        """Return class scores; in training, by the statistics of this batch."""
        if self.training and is_distributed():
            # All rows, not sums: a share of a batch then differs in no bit from the whole.
            gathered = self._normalise(gather_rows(features), updates_statistics)
            normalised = take_own_rows(gathered)
        else:
            normalised = self._normalise(features, updates_statistics)
        scores: Tensor = self.classifier(normalised)
        return scores

    def _normalise(self, features: Tensor, updates_statistics: bool) -> Tensor:
        if self.training and not updates_statistics:
            return F.batch_norm(
                features, None, None, self.neck.weight, self.neck.bias, training=True
            )
        normalised: Tensor = self.neck(features)
        return normalised


def build_head(neck: str, width: int, num_classes: int) -> LinearHead | BNNeckHead:
    """Build the head that `model.neck` names."""
    if neck == "bnneck":
        return BNNeckHead(width, num_classes)
    return LinearHead(width, num_classes)
