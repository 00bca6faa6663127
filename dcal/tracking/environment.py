"""Where a run runs: commit, versions, device (ours)."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata

from pydantic import BaseModel, ConfigDict

# Those whose version can change a number, and those that can change how a run is kept.
NUMERIC_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "torchmetrics",
    "numpy",
    "pandas",
    "pillow",
)
PACKAGES = (*NUMERIC_PACKAGES, "dvc", "mlflow")
# What a run itself writes does not make the code it ran dirty.
WRITTEN_BY_RUNS = ("results", "dvc.lock")


class Environment(BaseModel):
    """What a result may depend on beside its parameters, its data and its seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    git_commit: str | None  # null outside git
    git_dirty: bool | None  # apart from what runs write: results/ and dvc.lock
    dvc_exp_name: str | None
    versions: dict[str, str]  # python and packages
    device: str  # such as cpu, or the name of the GPU
    threads: int  # of torch, in the training process

    def list_numeric(self) -> dict[str, str]:
        """Return what a run's numbers depend on: one that goes on elsewhere may differ by it."""
        versions = {name: self.versions[name] for name in ("python", *NUMERIC_PACKAGES)}
        return {"device": self.device, "threads": str(self.threads), **versions}


def describe_environment(*, device: str) -> Environment:
    """Look up the commit, the versions and the threads; `device` is named by the caller."""
    import torch

    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return Environment(
        git_commit=_ask_git("rev-parse", "HEAD"),
        git_dirty=is_git_dirty(),
        dvc_exp_name=os.environ.get("DVC_EXP_NAME") or None,
        versions=versions,
        device=device,
        threads=torch.get_num_threads(),
    )


def is_git_dirty() -> bool | None:
    """Say whether any file differs from the commit, apart from what runs write; None = no git."""
    excluded = [f":(exclude,top){name}" for name in WRITTEN_BY_RUNS]
    changes = _ask_git("status", "--porcelain", "--", ":/", *excluded)
    return None if changes is None else bool(changes)


def _ask_git(*arguments: str) -> str | None:
    try:
        found = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
