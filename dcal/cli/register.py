"""`dcal register`: a model into MLflow's registry, ready to be loaded and served (ours)."""

from __future__ import annotations

from typing import Annotated

import typer

from dcal.cli.terminal import MODEL_HELP, speaking


def register(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    name: Annotated[str, typer.Option(help="Of the registered model, made where it is new.")],
    alias: Annotated[
        str | None,
        typer.Option(help="What the new version is called from now on, such as champion."),
    ] = None,
) -> None:
    """Copy MODEL into MLflow's registry as a new version of NAME.

    The version holds all that it needs to answer, this package included. In process
    mlflow.pyfunc.load_model(...).predict takes a list of paths, files' bytes or 8-bit RGB arrays;
    served, it takes files' bytes as base64, and no paths.

    Example: dcal register runs/train/model.safetensors --name birds --alias champion
    """
    with speaking():
        from dcal.inference.opening import find_model, find_run
        from dcal.serving.registration import register_model
        from dcal.tracking.passwords import mask_password
        from dcal.tracking.store import find_tracking_uri

        path = find_model(model)
        found = register_model(path, name, alias=alias, run_id=find_run(model, path))
        place = (
            f"models:/{found.name}@{alias}" if alias else f"models:/{found.name}/{found.version}"
        )
        typer.echo(f"version {found.version} of {found.name}, of run {found.run_id}")
        address = mask_password(find_tracking_uri())
        typer.echo(
            f"serve it: MLFLOW_TRACKING_URI={address} mlflow models serve -m {place} "
            "--env-manager local --port 5002"
        )
        typer.echo(f"use it: dcal predict {place} PICTURES")
