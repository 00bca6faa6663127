"""Each write of the pipeline on a disk that fills up; run as a program on a small file system.

    python -m tests.full_disk FOLDER

FOLDER is an empty file system of its own of a few MB. For each of `WRITERS` something is written,
then the disk is filled but for a little, and something else and longer is written over it: first
with no room at all, then with ever more, until it succeeds. What every try left is printed as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.project import ROOT

# Room left, as a share of what the write takes: none at all, then up to where it just fails.
SHARES = (0.0, 0.02, 0.3, 0.6, 0.9)
BALLAST = "ballast"


def draw_birds(version: int) -> None:
    """Stage fetch, drawing."""
    from dcal.data.fetching import fetch_dataset
    from tests.data.factory import make_dataset

    options = {"image_size": [32, 32], "num_classes": 2, "val_images": 0, "test_images": 1}
    options |= {"train_images": 3 + 3 * version, "seed": version}
    fetch_dataset(make_dataset(name="birds", source_type="birds", options=options))


def unpack_archive(version: int) -> None:
    """Stage fetch, unpacking; the archive lies elsewhere."""
    import tarfile
    import tempfile

    from dcal.data.fetching import fetch_dataset
    from tests.data.factory import make_dataset

    with tempfile.TemporaryDirectory() as elsewhere:
        picture = Path(elsewhere, "picture.bmp")
        picture.write_bytes(os.urandom(100_000 * (version + 1)))
        archive = Path(elsewhere, "pictures.tar")
        with tarfile.open(archive, "w") as stream:
            stream.add(picture, "train/a/picture.bmp")
            stream.add(picture, "train/b/picture.bmp")
        fetch_dataset(make_dataset(source=str(archive)))


def write_index(version: int) -> None:
    """Stage prepare."""
    import numpy as np
    import pandas as pd

    from dcal.data import index
    from tests.visual.fixtures import make_config, make_index_report

    numbers = np.random.default_rng(version).integers(0, 2**62, 3000 * (version + 1))
    table = pd.DataFrame({"path": [f"{number}.png" for number in numbers]})
    index.write_index(
        Path("data/index/mine"), table, make_index_report(make_config(), ["a"] * (version + 1))
    )


def save_trained_model(version: int) -> None:
    """Stage train: the model and its card, which belong together."""
    import torch

    from dcal.models.weights import save_model

    model = torch.nn.Linear(300, 300 * (version + 1))
    model.grid_size = (8, 8)
    save_model("runs/train/model.safetensors", model, {"version": version, "label": "a" * 9000})


def write_history(version: int) -> None:
    """Stage train: the curves."""
    import pandas as pd

    from dcal.paths import write_atomically

    table = pd.DataFrame({"train/loss": range(5000 * (version + 1))})
    with write_atomically("results/train/history.csv") as temporary:
        table.to_csv(temporary)


def write_checkpoint(version: int) -> None:
    """Training: torch's own writer, which does not say why it failed."""
    import torch

    from dcal.training.checkpoints import CheckpointFolder

    with CheckpointFolder(Path("checkpoints/0123")).write(step=version) as temporary:
        torch.save({"weights": torch.rand(60_000 * (version + 1))}, temporary)


def write_record(version: int) -> None:
    """Every stage: run.json."""
    from dcal.tracking.record import write_run_record
    from tests.visual.fixtures import make_record

    record = make_record().model_copy(update={"warnings": ["w" * 20_000] * (version + 1)})
    write_run_record(Path("results/train/run.json"), record)


def write_metrics(version: int) -> None:
    """Every stage: metrics.json."""
    from dcal.paths import write_json

    metrics = {f"test/both/{number}": number / 7 for number in range(2000 * (version + 1))}
    write_json("results/evaluate/metrics.json", metrics)


def write_predictions(version: int) -> None:
    """Stage evaluate: the predictions; the other tables stay as they are."""
    from pipelines import evaluate

    evaluate.write_tables(make_table(1000 + 1000 * version), make_table(1), make_table(1))


def write_confusion(version: int) -> None:
    """Stage evaluate: a table as CSV; the others stay as they are."""
    from pipelines import evaluate

    evaluate.write_tables(make_table(1), make_table(1000 + 1000 * version), make_table(1))


def make_table(num_rows: int) -> Any:
    import numpy as np
    import pandas as pd

    return pd.DataFrame(np.random.default_rng(num_rows).random((num_rows, 8))).rename(columns=str)


def write_gallery(version: int) -> None:
    """Stage rollout: overlays, their panels and the table."""
    import pandas as pd

    from dcal.visual.attention_maps import save_gallery
    from tests.visual.test_attention_maps import make_overlay

    names = [f"{number:02d}" for number in range(1 + 2 * version)]
    save_gallery(Path("runs/rollout"), [make_overlay()] * len(names), pd.DataFrame({"name": names}))


def write_features(version: int) -> None:
    """Embeddings and the table of their pictures, which belong together."""
    from dcal.inference.features import save_features
    from tests.inference.test_features import make_features

    save_features("runs/evaluate/features.safetensors", make_features(3000 * (version + 1)))


def write_own_gallery(version: int) -> None:
    """`dcal embed`: a gallery in the place of an older one."""
    from tests.inference.test_gallery_search import make_gallery

    make_gallery(Path("gallery"), 2000 * (version + 1))


def write_report(version: int) -> None:
    """Stage report: all pages."""
    from pipelines import report

    @dataclass
    class Inputs:
        training: None = None
        asks_for_pictures: bool = False

    report.read_inputs = Inputs
    report.render_report = lambda inputs: f"<p>{version}</p>" * 20_000 * (version + 1)
    report.render_notebook_page = lambda inputs, name: report.render_report(inputs)
    report.render_grid_page = lambda inputs, *_: report.render_report(inputs)
    report.main()


def compose_params(version: int) -> None:
    """The command that writes params.yaml."""
    from pipelines.compose import write_params

    arguments = [f"evaluate.weights={'w' * 9000 * (version + 1)}"]
    write_params(arguments, Path("params.yaml"), ROOT / "experiments")


# One line a write: what is called with version 0, then, on the full disk, with version 1.
WRITERS: dict[str, Callable[[int], None]] = {
    "fetch: drawn birds": draw_birds,
    "fetch: an archive": unpack_archive,
    "prepare: index": write_index,
    "train: model and card": save_trained_model,
    "train: history": write_history,
    "train: checkpoint": write_checkpoint,
    "train: run record": write_record,
    "evaluate: metrics": write_metrics,
    "evaluate: predictions": write_predictions,
    "evaluate: CSV table": write_confusion,
    "rollout: gallery": write_gallery,
    "evaluate: features": write_features,
    "dcal embed: gallery": write_own_gallery,
    "report: pages": write_report,
    "compose: params": compose_params,
}


def snapshot() -> dict[str, bytes]:
    """Return every file below the current folder but the ballast, and every folder as nothing."""
    paths = [path for path in Path().rglob("*") if path.name != BALLAST]
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in paths}


def fill(room: int) -> None:
    """Fill the disk until `room` bytes are left."""
    Path(BALLAST).unlink(missing_ok=True)
    counts = os.statvfs(".")
    with open(BALLAST, "wb") as stream:
        stream.write(bytes(max(counts.f_bavail * counts.f_frsize - room, 0)))


def try_on_full_disk(write: Callable[[int], None]) -> list[dict[str, Any]]:
    """Write version 1 over version 0 with ever more room; say what each try left."""
    write(1)
    num_bytes = sum(len(content) for content in snapshot().values())
    for path in list(Path().iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write(0)
    before = snapshot()
    tries = []
    for share in SHARES:
        fill(int(share * num_bytes))
        kind, said = "", ""
        try:
            write(1)
        except Exception as error:
            kind, said = type(error).__name__, str(error)
        left = snapshot()
        if not kind:
            break
        changed = sorted(name for name in {*before, *left} if before.get(name) != left.get(name))
        tries.append({"kind": kind, "said": said, "changed": changed, "share": share})
    Path(BALLAST).unlink()
    write(1)
    return tries


def main(folder: Path) -> None:
    found = {}
    for number, (name, write) in enumerate(WRITERS.items()):
        own = folder / str(number)
        own.mkdir()
        os.chdir(own)
        found[name] = try_on_full_disk(write)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
