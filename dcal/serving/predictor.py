"""What a registered model answers of each picture (ours)."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from dcal.inference.prediction import require_classes
from dcal.inference.recipe import build_transform
from dcal.models.dcal import DCAL
from dcal.serving.pictures import decode_pictures
from dcal.training.branches import compute_embeddings, compute_probabilities

BATCH_SIZE = 32
# Set by MLflow in the process that answers requests.
_SERVING = ("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "__pyfunc_model_path__")


def is_served() -> bool:
    """Say whether this process answers other people's requests."""
    return any(name in os.environ for name in _SERVING)


class Predictor:
    """Answers for a trained model, on the CPU or the GPU that there is."""

    def __init__(self, model: DCAL) -> None:
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.transform = build_transform(model)
        self.is_reid = model.card["config"]["dataset"]["kind"] == "reid"
        self.names = [] if self.is_reid else require_classes(model)

    @torch.inference_mode()
    def predict(self, pictures: list[Any]) -> list[dict[str, Any]]:
        """Return of each picture class_name, label, probability; or embedding, of a Re-ID model.

        Raises:
            ValueError: No picture, or one that cannot be read; see `decode_pictures`.
        """
        if not pictures:
            raise ValueError("expected at least one picture; got none")
        answers: list[dict[str, Any]] = []
        for start in range(0, len(pictures), BATCH_SIZE):
            batch = pictures[start : start + BATCH_SIZE]
            decoded = decode_pictures(
                batch, self.transform, is_served=is_served(), first_position=start
            )
            answers += self._answer(torch.stack(list(decoded)))
        return answers

    def _answer(self, images: Tensor) -> list[dict[str, Any]]:
        output = self.model(images.to(next(self.model.parameters()).device))
        if self.is_reid:
            embeddings = list(compute_embeddings(output).values())[-1].cpu()
            return [{"embedding": embedding} for embedding in embeddings.tolist()]
        probability, label = list(compute_probabilities(output).values())[-1].cpu().max(dim=1)
        return [
            {"class_name": self.names[each], "label": each, "probability": share}
            for each, share in zip(label.tolist(), probability.tolist(), strict=True)
        ]
