"""Weights in and out: safetensors with a card beside them, and a report of what fitted (ours).

No pickle is ever run: `.safetensors` files, or older checkpoints through torch's weights-only
reader. A file holds either a bare backbone (timm's names) or a whole DCAL model (names that begin
with `backbone.`).
"""

from __future__ import annotations

import json
import logging
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dcal.models.backbone import get_grid_size, resample_positions
from dcal.paths import render_json, write_atomically, write_together

logger = logging.getLogger(__name__)

EMBEDDED_WEIGHTS = Path(__file__).parent / "embedded" / "dcal_pico.safetensors"
_PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
_HEAD_PREFIXES = ("head.", "head_dist.", "pre_logits.", "fc_norm.")


@dataclass
class WeightReport:
    """What became of the tensors of a file."""

    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)  # position embeddings on another grid
    skipped: list[str] = field(default_factory=list)  # classifiers, which every task trains anew
    missing: list[str] = field(default_factory=list)  # parameters that the file does not have
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)  # of another shape
    started_anew: list[str] = field(default_factory=list)  # GLCA, where the file has another M

    def describe(self) -> str:
        """Say in one line what was taken and what was not."""
        counts = {
            "tensors loaded": self.loaded,
            "resized": self.resized,
            "left out (classifiers, or GLCA of another number of blocks)": self.skipped,
            "of GLCA copied from SA instead": self.started_anew,
        }
        return ", ".join(f"{len(names)} {what}" for what, names in counts.items() if names)

    def raise_if_incomplete(self, path: Path) -> None:
        """Raise a ValueError unless every parameter came and every tensor was used."""
        for problem, names in (
            ("lacks", self.missing),
            ("has in another shape", self.mismatched),
            ("has tensors unknown to this model:", self.unexpected),
        ):
            if names:
                shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                raise ValueError(
                    f"{path}: {problem} {len(names)} of the model's tensors ({shown}); "
                    "check model.backbone and model.glca_blocks against the file"
                )


def load_backbone_weights(backbone: VisionTransformer, path: str | Path) -> WeightReport:
    """Copy a backbone's weights from a file into `backbone`, bit for bit.

    Position embeddings of another grid are resampled, with one warning. Classifiers in the file
    are left out.

    Raises:
        FileNotFoundError, ValueError: No such file, another format, or tensors that do not fit.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if any(name.startswith("backbone.") for name in tensors):
        tensors = {
            name.removeprefix("backbone."): tensor
            for name, tensor in tensors.items()
            if name.startswith("backbone.")
        }
    report = WeightReport()
    for name in [name for name in tensors if name.startswith(_HEAD_PREFIXES)]:
        report.skipped.append(name)
        del tensors[name]
    _resize_positions(tensors, backbone, metadata, report, path)
    _copy_into(backbone, tensors, report)
    report.raise_if_incomplete(path)
    return report


def load_glca_weights(model: nn.Module, path: str | Path, report: WeightReport) -> None:
    """Copy the GLCA blocks and norm of a DCAL file where it has as many; note what becomes of them.

    Classifiers are never taken: every task trains its own.
    """
    tensors, _ = read_tensors(Path(path))
    own = {name: value for name, value in tensors.items() if name.startswith("glca_")}
    own = {name: value for name, value in own.items() if not name.startswith("glca_head.")}
    state = model.state_dict()
    wanted = [name for name in state if name.startswith("glca_") and "glca_head." not in name]
    report.skipped += [name for name in tensors if name.startswith(("sa_head.", "glca_head."))]
    if set(wanted) != set(own):
        report.skipped += sorted(own)
        report.started_anew += [] if not own else wanted
        return
    for name, tensor in own.items():
        state[name].copy_(tensor)
        report.loaded.append(name)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the text metadata of a weights file.

    Raises:
        FileNotFoundError, ValueError: No such file, or one that cannot be read without running
            what it contains.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"weights: no file {path}; give a .safetensors file, or one of embedded, hub, none"
        )
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as stream:
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
                return tensors, dict(stream.metadata() or {})
        except SafetensorError as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from None
    if path.suffix in _PICKLE_SUFFIXES:
        return _read_weights_only(path), {}
    raise ValueError(
        f"{path}: expected a .safetensors file (or a checkpoint ending in "
        f"{', '.join(_PICKLE_SUFFIXES)}); got {path.suffix or 'no suffix'}"
    )


def save_weights(path: str | Path, model: nn.Module, *, grid_size: tuple[int, int]) -> None:
    """Write all tensors of a model to one safetensors file, atomically."""
    with write_atomically(path) as temporary:
        _write_tensors(temporary, model, grid_size=grid_size)


def save_model(path: str | Path, model: nn.Module, card: Mapping[str, Any]) -> None:
    """Write a trained model: `path` (safetensors) and its card `model.json` beside it.

    The card is put in place last: a reader that finds it finds the weights that belong to it.
    """
    path = Path(path)
    with write_together(path, path.with_suffix(".json")) as (temporary, temporary_card):
        _write_tensors(temporary, model, grid_size=model.grid_size)  # type: ignore[arg-type]
        temporary_card.write_text(render_json(dict(card)), encoding="utf-8")


def read_model_card(path: str | Path) -> dict[str, Any]:
    """Read the card beside a model file: config, labels, preprocessing, which weights.

    Raises:
        FileNotFoundError: There is no such model, or no card beside it.
        ValueError: The card cannot be read.
    """
    card_path = Path(path).with_suffix(".json")
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: expected a model file; there is no such file (the train stage writes "
            "runs/train/model.safetensors)"
        )
    if not card_path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a model file with {card_path.name} beside it; the train stage "
            "writes both to runs/train"
        )
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{card_path}: not a readable card ({error})") from None
    if not isinstance(card, dict):
        raise ValueError(f"{card_path}: expected a mapping; got a {type(card).__name__}")
    return card


def _write_tensors(path: Path, model: nn.Module, *, grid_size: tuple[int, int]) -> None:
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    save_file(tensors, path, metadata={"grid_size": f"{grid_size[0]} {grid_size[1]}"})


def _read_weights_only(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: holds more than weights and is not opened ({reason})") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path}: expected a mapping of names to tensors")
    return content


def _resize_positions(
    tensors: dict[str, Tensor],
    backbone: VisionTransformer,
    metadata: Mapping[str, str],
    report: WeightReport,
    path: Path,
) -> None:
    name = "pos_embed"
    if name not in tensors or backbone.pos_embed is None:
        return
    prefix = 0 if backbone.no_embed_class else backbone.num_prefix_tokens
    num_positions = tensors[name].shape[1] - prefix
    old_grid = _read_grid(metadata, num_positions, path)
    new_grid = get_grid_size(backbone)
    if old_grid == new_grid:
        return
    tensors[name] = resample_positions(
        tensors[name], old_grid=old_grid, new_grid=new_grid, num_prefix_tokens=prefix
    )
    report.resized.append(name)
    logger.warning(
        "%s: position embeddings resized from %d x %d to %d x %d patches",
        path.name,
        *old_grid,
        *new_grid,
    )


def _read_grid(metadata: Mapping[str, str], num_positions: int, path: Path) -> tuple[int, int]:
    if "grid_size" in metadata:
        rows, columns = (int(text) for text in metadata["grid_size"].split())
        return rows, columns
    side = math.isqrt(num_positions)
    if side * side != num_positions:
        raise ValueError(
            f"{path}: holds {num_positions} patch positions, which is no square, and does not say "
            "its grid; save it with dcal.models.weights.save_weights"
        )
    return side, side


def _copy_into(module: nn.Module, tensors: Mapping[str, Tensor], report: WeightReport) -> None:
    state = module.state_dict()
    report.missing = sorted(set(state) - set(tensors))
    report.unexpected = sorted(set(tensors) - set(state))
    for name in sorted(set(state) & set(tensors)):
        if state[name].shape != tensors[name].shape:
            report.mismatched.append(name)
        else:
            state[name].copy_(tensors[name])
            report.loaded.append(name)
