"""The report's sections of words: its head, and what ran (ours)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dcal.data.index import SPLITS
from dcal.tracking import RunRecord
from dcal.visual.report.inputs import (
    ReportInputs,
    format_blocks,
    format_count,
    format_counted,
    format_duration,
    format_percent,
)


def build_page(inputs: ReportInputs) -> dict[str, Any]:
    """Return the head and foot of the page: title, tags, first sentence, notices."""
    config, name = inputs.config, inputs.config.dataset.name
    lead = f"{inputs.model_name}, {config.train.epochs} epochs, seed {config.seed}: "
    lead += _describe_ranking(inputs) if inputs.is_reid else _describe_accuracy(inputs)
    tags = [{"text": "given model", "kind": ""}]
    if inputs.training is not None:
        run = inputs.training.run
        tags = [{"text": text, "kind": ""} for text in (f"run {run.fingerprint}", _started(run))]
    if inputs.is_drawn:
        tags.insert(0, {"text": "drawn data", "kind": "drawn"})
    return {
        "title": f"DCAL on {name}",
        "lead": lead,
        "tags": tags,
        "notices": _build_notices(inputs),
        "footer": (
            "Made by python -m pipelines.report from results/, runs/ and data/index; all pictures "
            "are part of this file."
        ),
    }


def _describe_accuracy(inputs: ReportInputs) -> str:
    accuracy = inputs.metrics[f"test/{inputs.main_branch}/top1_accuracy"]
    return (
        f"{format_percent(accuracy)} of {format_count(inputs.num_pictures)} test pictures of "
        f"{inputs.num_classes} classes right ({inputs.main_name})."
    )


def _describe_ranking(inputs: ReportInputs) -> str:
    scores = {
        name: format_percent(inputs.metrics[f"test/{inputs.main_branch}/{name}"])
        for name in ("mean_ap", "cmc_1")
    }
    return (
        f"mean AP {scores['mean_ap']}, rank-1 {scores['cmc_1']} over "
        f"{format_counted(inputs.metrics['test/num_valid_queries'], 'query', 'queries')} "
        f"({inputs.main_name})."
    )


def _build_notices(inputs: ReportInputs) -> list[dict[str, Any]]:
    notices: list[dict[str, Any]] = []
    if inputs.is_drawn:
        text = (
            "The pictures of this data set were drawn by a program. Scores on them show that the "
            "pipeline and the method work; they say nothing about photographs."
        )
        notices.append({"heading": "Drawn data.", "text": text, "points": []})
    if inputs.training is None:
        text = (
            f"Scores and pictures are of {_hide_folder(inputs.config.evaluate.weights)} "
            "(evaluate.weights), and "
            "what is said of its training is what its card says; nothing was trained here for it."
        )
        notices.append({"heading": "A given model was scored.", "text": text, "points": []})
    if inputs.config.train.selection == "test":
        text = "Do not compare these scores with those of models that never saw the test split."
        notices.append({"heading": "Selected on the test split.", "text": text, "points": []})
    if not inputs.shows_pictures:
        text = "This data set may not be redistributed, so none of its pictures is on this page."
        notices.append({"heading": "No pictures.", "text": text, "points": []})
    elif not inputs.may_be_passed_on:
        text = "It shows pictures of a data set that may not be redistributed."
        notices.append({"heading": "Do not pass this page on.", "text": text, "points": []})
    # The run repeats those of the index that it saw.
    of_run = inputs.training.run.warnings if inputs.training else []
    warnings = list(dict.fromkeys([*of_run, *inputs.index_report.warnings]))
    if warnings:
        heading = "1 warning." if len(warnings) == 1 else f"{len(warnings)} warnings."
        notices.append({"heading": heading, "text": "", "points": warnings})
    return notices


def build_run(inputs: ReportInputs) -> dict[str, Any]:
    """Return the section on what ran: data, model, training, machine, record."""
    groups = [
        {"heading": "Data", "facts": _data_facts(inputs)},
        {"heading": "Model", "facts": _model_facts(inputs)},
        {"heading": "Training", "facts": _training_facts(inputs)},
    ]
    if inputs.training is None:
        groups.append({"heading": "Record", "facts": _card_facts(inputs)})
        origin = "the model's card; dataset, evaluate and rollout: params.yaml"
    else:
        groups.append({"heading": "Machine", "facts": _machine_facts(inputs.training.run)})
        groups.append({"heading": "Record", "facts": _record_facts(inputs.training.run)})
        origin = "params.yaml"
    return {"groups": groups, "parameters": _dump_parameters(inputs), "origin": origin}


def _data_facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    dataset, report = inputs.config.dataset, inputs.index_report
    counts = ", ".join(
        f"{format_count(report.counts[split])} {split}"
        for split in SPLITS
        if split in report.counts
    )
    kind = "drawn by a program" if inputs.is_drawn else "photographs or the user's own pictures"
    return [
        ("data set", f"{dataset.name} ({kind})"),
        ("pictures", counts),
        ("train identities" if inputs.is_reid else "classes", str(inputs.num_classes)),
        ("parts", ", ".join(report.part_names) or "none annotated"),
        ("index digest", report.digest[:16]),
    ]


def _model_facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    model = inputs.config.model
    glca = f"{format_blocks(model.glca_blocks)}, read-out {model.readout}, top_r {model.top_r}"
    if model.patch_selection == "random":
        glca += " drawn at random"
    if model.glca_blocks and model.readout == "class":
        glca = f"{format_blocks(model.glca_blocks)}, read-out class (top_r has no effect)"
    pwca = (
        f"{format_blocks(model.pwca_blocks)}, distractor {model.distractor}, stream {model.stream}"
    )
    height, width = model.image_size
    return [
        ("backbone", f"{model.backbone}, weights {_hide_folder(model.weights)}"),
        ("input", f"{height} x {width} pixels (height x width)"),
        ("GLCA", glca if model.glca_blocks else "off"),
        ("PWCA", pwca if model.pwca_blocks else "off"),
        ("parameters", format_count(inputs.num_parameters)),
        ("weights scored", str(inputs.card["weights"])),
    ]


def _training_facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    train, loss = inputs.config.train, inputs.config.loss
    batch = f"{train.batch_size} pictures"
    if train.accumulate_steps > 1:
        batch += f", {train.accumulate_steps} steps accumulated"
    facts = [
        ("length", f"{train.epochs} epochs, batches of {batch}"),
        ("optimiser", f"{train.optimizer}, lr {train.lr:g} ({train.schedule})"),
        ("loss weights", loss.weighting),
        ("selection", train.selection),
        ("seed", str(inputs.config.seed)),
    ]
    if inputs.training is not None:
        facts.append(("time", format_duration(inputs.training.run.seconds)))
    return facts


def _machine_facts(run: RunRecord) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return [
        ("device", run.device),
        ("threads", str(run.threads)),
        ("versions", versions),
    ]


def _card_facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    dataset = inputs.card["dataset"]
    same = "the index scored here" if inputs.knows_the_data else "another index than scored here"
    return [
        ("command", "python -m pipelines.evaluate"),
        ("model file", str(_hide_folder(inputs.config.evaluate.weights))),
        ("trained on", f"{dataset['name']} ({same})"),
    ]


def _record_facts(run: RunRecord) -> list[tuple[str, str]]:
    commit = run.git_commit or "none"
    dirty = " with uncommitted changes" if run.git_dirty else ""
    facts = [
        ("command", "dvc repro"),
        ("commit", f"{commit}{dirty}"),
        ("fingerprint", run.fingerprint),
        ("MLflow run", run.run_id or "none"),
        ("started", _started(run)),
    ]
    if run.dvc_exp_name:
        facts.insert(1, ("DVC experiment", run.dvc_exp_name))
    return facts


def _started(run: RunRecord) -> str:
    return datetime.fromisoformat(run.started).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _hide_folder(path: str | None) -> str | None:
    """Leave out where on this machine something lies; the page is for others."""
    if path is None or not Path(path).is_absolute():
        return path
    return f".../{Path(path).name}"


def _dump_parameters(inputs: ReportInputs) -> str:
    import yaml

    tree = inputs.config.model_dump(mode="json")
    for section, key in (("dataset", "source"), ("model", "weights"), ("evaluate", "weights")):
        tree[section][key] = _hide_folder(tree[section][key])
    text: str = yaml.safe_dump(tree, sort_keys=False, default_flow_style=False)
    return text.rstrip()
