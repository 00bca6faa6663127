"""`dcal info`: what a config is, and what it costs on this machine (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from dcal.cli.terminal import speaking

if TYPE_CHECKING:
    from dcal.config import Config, DatasetConfig, ModelConfig
    from dcal.costs.prediction import Cost

CLASSES = 200  # where nothing is known of the data set, whose heads cost next to nothing
KINDS = {
    "products": "linear layers and other products",
    "attention": "attention",
    "moved": "norms, activations, sums, copies, optimiser",
    "calls": "calls",
}


class Data(NamedTuple):
    """What is known of the data set."""

    num_classes: int
    num_pictures: int | None  # to train on


def info(
    what: Annotated[
        str,
        typer.Argument(
            help="A file of settings that python -m pipelines.compose wrote, or a model: its "
            "file, the id of an MLflow run, or a registered one such as models:/birds@champion."
        ),
    ] = "params.yaml",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another value, such as model.top_r=0.2; as often as you like."),
    ] = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="Predict time and memory on this machine: seconds.")
    ] = False,
) -> None:
    """Say what a config or a trained model is and, with --cost, what a step of it costs here.

    Of a model: its data, how its pictures are prepared, how it was chosen and what it scored.

    The work of a training step and of an inference pass is counted without running them, and how
    fast this machine works is measured on one block at the model's shapes. Pictures are not
    loaded; what a compiler would gain is not predicted.

    Example: dcal info --cost --set train.batch_size=64
    """
    with speaking():
        config, lines = _open(what, change or [])
        lines += describe_costs(config) if cost else [("model", describe_model(config.model))]
        width = max(len(what) for what, _ in lines)
        for what, text in lines:
            typer.echo(f"{what:{width}}  {text}")


def _open(what: str, changes: list[str]) -> tuple[Config, list[tuple[str, str]]]:
    """Return the config of settings or of a model, and what there is to say of the model."""
    from dcal.config import load_config, parse_config

    if what.endswith((".yaml", ".yml")):
        return load_config(Path(what), overrides=changes), []
    if changes:
        raise ValueError(
            f"--set: {what} is a trained model, whose settings are what they are; change "
            "params.yaml instead"
        )
    from dcal.inference.description import describe_trained
    from dcal.inference.opening import find_model
    from dcal.models.weights import read_model_card

    path = find_model(what)
    lines = describe_trained(what, path)
    card = read_model_card(path)
    return parse_config(card["config"], origin=f"card of {path}"), lines


def describe_model(model: ModelConfig) -> str:
    """Return backbone, picture size and branches in a line."""
    height, width = model.image_size
    branches = ["SA"]
    if model.glca_blocks:
        how = ", patches at random" if model.patch_selection == "random" else ""
        share = f", top_r {model.top_r}{how}" if model.readout != "class" else ""
        branches.append(f"GLCA x{model.glca_blocks} ({model.readout}{share})")
    if model.pwca_blocks:
        branches.append(f"PWCA x{model.pwca_blocks}")
    return f"{model.backbone}, {height} x {width} pixels: {' + '.join(branches)}"


def describe_costs(config: Config) -> list[tuple[str, str]]:
    """Predict, and return what to print: a name and a text a line."""
    from dcal.costs.prediction import predict
    from dcal.training.runtime import prepare_runtime, resolve_runtime

    data, train = find_data(config.dataset), config.train
    processes, share = train.processes, train.batch_size // train.processes
    # What one process does; that they exchange gradients is not predicted.
    train = train.model_copy(update={"batch_size": share, "processes": 1})
    runtime = resolve_runtime(train)
    prepare_runtime(runtime, spares_memory=train.gradient_checkpointing)
    found = predict(
        config.model,
        train,
        num_classes=data.num_classes,
        device=runtime.accelerator,
        autocast=runtime.precision == "bf16",
    )
    threads = f", {runtime.num_threads} threads" if runtime.accelerator == "cpu" else ""
    threads += f", one of {processes} processes" if processes > 1 else ""
    lines = [
        ("model", f"{describe_model(config.model)}, {found.num_parameters / 1e6:.1f} M parameters"),
        ("machine", f"{runtime.device_name}, {runtime.precision}{threads}"),
        ("training step", _describe_cost(found.training, found.sa_training, train.batch_size)),
        ("", _describe_kinds(found.training)),
        ("inference", _describe_cost(found.inference, found.sa_inference, train.batch_size)),
        ("", _describe_kinds(found.inference)),
    ]
    if data.num_pictures is not None:
        lines.append(("training", _describe_run(config, data.num_pictures, found.training)))
    lines += [("note", fallback) for fallback in runtime.fallbacks]
    if runtime.is_compiled:
        lines.append(("note", "the step is compiled; what that gains is not predicted"))
    return lines


def find_data(dataset: DatasetConfig) -> Data:
    """Return the numbers of the prepared index, or the official ones."""
    from dcal.data.datamodule import open_pictures
    from dcal.data.sources import describe_source
    from dcal.paths import index_folder

    if (index_folder(dataset.name) / "report.json").is_file():
        report = open_pictures(dataset).report
        return Data(max(2, len(report.class_names)), report.counts.get("train"))
    official = describe_source(dataset)
    count = None if official is None else official.counts.get("train")
    if count is None:
        return Data(CLASSES, None)
    # About: what is held out is whole classes' shares, or whole identities.
    return Data(count.groups or CLASSES, round(count.pictures * (1 - dataset.val_ratio)))


def _describe_cost(cost: Cost, alone: Cost, batch_size: int) -> str:
    return (
        f"{_format_seconds(cost.seconds)} for {batch_size} picture{'s' * (batch_size > 1)} "
        f"({batch_size / cost.seconds:.3g} a second), {cost.seconds / alone.seconds:.2f} x SA "
        f"alone; {cost.peak_bytes / 2**30:.2f} GiB beside the imports"
    )


def _describe_kinds(cost: Cost) -> str:
    shares = ", ".join(
        f"{KINDS[kind]} {seconds / cost.seconds:.0%}"
        for kind, seconds in cost.seconds_by_kind.items()
    )
    return f"of it: {shares}"


def _describe_run(config: Config, num_pictures: int, step: Cost) -> str:
    train = config.train
    batches = train.epochs * (num_pictures // train.batch_size)
    gathered = f" of {train.accumulate_steps} batches" if train.accumulate_steps > 1 else ""
    return (
        f"{train.epochs} epochs of {num_pictures:,} pictures, "
        f"{batches // train.accumulate_steps:,} steps{gathered}: "
        f"{_format_seconds(batches * step.seconds)} without loading and scoring"
    )


def _format_seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
