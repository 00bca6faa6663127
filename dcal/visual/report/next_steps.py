"""The report's last section: commands that lead on from a run (ours)."""

from __future__ import annotations

from pathlib import Path

from dcal.inference.scoring import TRAINED_MODEL
from dcal.visual.report.inputs import ReportInputs


def build_next_steps(inputs: ReportInputs) -> list[dict[str, str]]:
    """Return commands that lead on from this run."""
    steps = [
        {
            "heading": "See all runs",
            "text": "Curves, parameters and pictures of every run, on this machine only.",
            "command": "make ui",
        },
    ]
    if inputs.training is None:
        steps.append(
            {
                "heading": "Train on this data set",
                "text": "What params.yaml says is trained again, and scored instead of this file.",
                "command": "dvc exp run -S evaluate.weights=null",
            }
        )
    else:
        steps += _build_experiments(inputs)
    steps.append(
        {
            "heading": "Pass it on",
            "text": "Data, model and pages to a folder or an address that others reach.",
            "command": "git commit -am Results\nmake share REMOTE=/a/shared/folder",
        }
    )
    return [*steps, *(_build_reid_steps(inputs) if inputs.is_reid else [_OWN_CLASSES])]


_OWN_CLASSES = {
    "heading": "Your own pictures",
    "text": "A folder with train and test, and in each a folder for every class.",
    "command": "python -m pipelines.compose preset=photos_64 dataset.name=mine "
    "dataset.source=/path/to/pictures\ndvc repro",
}


def _build_reid_steps(inputs: ReportInputs) -> list[dict[str, str]]:
    given = inputs.config.evaluate.weights
    model = TRAINED_MODEL if given is None else given
    if Path(model).is_absolute():
        model = f"/path/to/{Path(model).name}"  # the page is for others, on other machines
    return [
        {
            "heading": "Your own pictures",
            "text": "A folder with bounding_box_train, query and bounding_box_test, and names that "
            "start with identity and camera, as in Market-1501: 0002_c1s1_000451_03.jpg.",
            "command": "python -m pipelines.compose preset=reid dataset=market "
            "dataset.source=/path/to/pictures dataset.name=mine\ndvc repro",
        },
        {
            "heading": "Search pictures without labels",
            "text": "Any folder becomes a gallery, by the model of this page.",
            "command": f"dcal embed {model} /path/to/pictures --output mine.gallery\n"
            "dcal search mine.gallery /path/to/pictures --top 5 --page found.html",
        },
    ]


def _build_experiments(inputs: ReportInputs) -> list[dict[str, str]]:
    model = inputs.config.model
    steps = [
        {
            "heading": "Compare",
            "text": "Scores of all experiments beside a setting, or against the last commit.",
            "command": "dvc exp show --drop . --keep Exp --keep 'test/.*/(top1|mean_ap)' "
            "--keep model.top_r\ndvc metrics diff --all --no-path",
        },
    ]
    if model.glca_blocks and model.readout != "class":
        share = 0.5 if model.top_r < 0.5 else 0.25
        steps.append(
            {
                "heading": "Choose more or fewer patches",
                "text": f"GLCA reads {model.top_r:g} of the patches here; try another share.",
                "command": f"dvc exp run -S model.top_r={share}",
            }
        )
    if model.glca_blocks or model.pwca_blocks:
        steps.append(
            {
                "heading": "What the cross-attention adds",
                "text": "The same run with self-attention alone, to stand beside this one.",
                "command": "dvc exp run -S model.glca_blocks=0 -S model.pwca_blocks=0",
            }
        )
    steps.append(
        {
            "heading": "Is it luck?",
            "text": "One seed is no result: repeat with others and look at the spread.",
            "command": f"dvc exp run -S seed={inputs.config.seed + 1}\n"
            f"dvc exp run -S seed={inputs.config.seed + 2}",
        }
    )
    return steps
