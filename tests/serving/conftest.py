"""A small model in a registry of its own, made once."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.data.factory import write_picture
from tests.inference.model_files import write_model


class Registry(NamedTuple):
    """Where a registered model is."""

    root: Path
    pictures: list[Path]

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root}/mlflow.db"


@pytest.fixture(scope="package")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    from dcal.serving.registration import register_model

    root = tmp_path_factory.mktemp("registry")
    path = write_model(root / "model.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DCAL_WORK_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        found = register_model(path, "shapes", alias="champion", run_id=None)
    assert found.version == "1"
    pictures = []
    for number in range(3):
        pictures.append(root / f"{number}.png")
        write_picture(pictures[-1], seed=number)
    return Registry(root, pictures)
