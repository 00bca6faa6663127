"""What a trained model is: its config, its data, how it was chosen, what it scored (ours)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dcal.inference.opening import find_run, load_model
from dcal.models.build import count_parameters
from dcal.tracking.models import read_scores

logger = logging.getLogger(__name__)

_MAX_NAMED = 5
_SCORES = ("top1_accuracy", "mean_ap", "cmc_1")


def describe_trained(name: str, path: Path) -> list[tuple[str, str]]:
    """Return what to print of a model: a name and a text a line.

    Args:
        name: What the model was called; see `find_model`.
        path: The file that it means.

    Raises:
        FileNotFoundError, ValueError: No such model, or a file that does not match its card.
    """
    model = load_model(path)
    card = model.card
    size = path.stat().st_size / 2**20
    lines = [
        ("file", f"{path}, {size:.1f} MiB, {count_parameters(model) / 1e6:.1f} M parameters"),
        ("data", _describe_data(card)),
        ("pictures", _describe_pictures(card)),
    ]
    if "selection" in card:
        lines.append(("trained", _describe_training(card)))
    run_id = find_run(name, path)
    if run_id is not None:
        lines.append(("run", run_id))
        lines += [("scores", text) for text in _list_scores(run_id)]
    return lines


def _describe_data(card: dict[str, Any]) -> str:
    names = [str(each) for each in card["class_names"]]
    shown = ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")
    dataset = card["config"]["dataset"]
    what = "identities" if dataset["kind"] == "reid" else "classes"
    return f"{dataset['name']}: {len(names)} {what} ({shown})"


def _describe_pictures(card: dict[str, Any]) -> str:
    transforms, preprocessing = card["config"]["transforms"], card["preprocessing"]
    height, width = transforms["resize"]
    crop = ", centre crop" if transforms["test_crop"] == "center" else ""
    mean, std = (" ".join(f"{value:g}" for value in preprocessing[key]) for key in ("mean", "std"))
    return (
        f"{transforms['interpolation']} to {height} x {width}{crop}; channels less {mean}, over "
        f"{std}"
    )


def _describe_training(card: dict[str, Any]) -> str:
    config, epoch = card["config"], card["selected_epoch"] + 1  # the card counts from 0
    chosen = {"val": "held-out pictures", "last": "nothing: the last", "test": "the test split"}
    return (
        f"epoch {epoch} of {config['train']['epochs']}, chosen by "
        f"{chosen.get(card['selection'], card['selection'])}; {card['weights']} weights, seed "
        f"{config['seed']}"
    )


def _list_scores(run_id: str) -> list[str]:
    try:
        scores = read_scores(run_id)
    except (ValueError, RuntimeError) as error:
        logger.warning("no scores are told: %s", error)
        return []
    told = {key: value for key, value in scores.items() if key.endswith(_SCORES)}
    return [f"{key} {value:.4f}" for key, value in told.items()]
