"""What MLflow runs to load a registered model: a copy of it lies there (models from code)."""

from __future__ import annotations

from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from dcal.serving.quiet import quiet_mlflow

with quiet_mlflow():

    class ServedModel(PythonModel):
        """DCAL behind MLflow's `predict`.

        In process it takes paths, files' bytes and 8-bit RGB arrays; over HTTP files' bytes as
        base64.
        """

        def load_context(self, context: PythonModelContext) -> None:
            """Load the model file that lies beside."""
            from dcal.models import load_model
            from dcal.serving.predictor import Predictor

            self.predictor = Predictor(load_model(context.artifacts["model"]))

        def predict(  # type: ignore[override]
            self, model_input: list[Any]
        ) -> list[dict[str, Any]]:
            """Return an answer a picture; see `dcal.serving.predictor`."""
            return self.predictor.predict(model_input)


set_model(ServedModel())
