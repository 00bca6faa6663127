"""The report's last section: commands that lead on from a run (ours)."""

from __future__ import annotations

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
    steps.append(
        {
            "heading": "Your own pictures",
            "text": "A folder with train and test, and in each a folder for every class.",
            "command": "python -m pipelines.compose preset=photos_64 dataset.name=mine "
            "dataset.source=/path/to/pictures\ndvc repro",
        }
    )
    return steps


def _build_experiments(inputs: ReportInputs) -> list[dict[str, str]]:
    model = inputs.config.model
    steps = [
        {
            "heading": "Compare",
            "text": "Parameters and scores of all experiments, or against the last commit.",
            "command": "dvc exp show\ndvc metrics diff",
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
