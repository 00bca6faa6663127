"""How long a user waits: imports, help, predictions from start to end, the report, ONNX.

    python -m benchmarks.commands [--rounds 7] [--output results/benchmarks/commands.json]

Commands are processes of their own, started in turn. An import is told less that of torch alone,
a picture as what each one costs beyond the first. ONNX Runtime runs beside torch in one process,
on the same pixels at the same number of threads, preprocessing included; torch's preprocessing is
Pillow's, as it is everywhere but in an exported file. Run `dvc repro` first: the model, its
pictures and the report's sources are those of the workspace.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.machine import compare, describe_machine, prepare, take_turns
from dcal.inference.export import ExportedModel, Form, export_model, open_exported
from dcal.inference.recipe import build_transform
from dcal.models import load_model
from dcal.paths import write_json
from dcal.training.branches import compute_probabilities

MODEL = Path("runs/train/model.safetensors")
BATCHES = (1, 32)
MIN_SECONDS = 0.05  # of one measurement
REPORT = """
import sys
from pathlib import Path
from pipelines.report import RUN_NOTEBOOKS, write_pages
folder = Path(sys.argv[1])
write_pages(folder / "report.html", *(folder / f"{name}.html" for name in RUN_NOTEBOOKS))
"""


def main() -> None:
    """Measure, print a table, write JSON."""
    arguments = _parse_arguments()
    if not MODEL.is_file():
        raise SystemExit(f"{MODEL}: no such model; run: dvc repro")
    device = prepare(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        pictures = list_pictures(Path("data/raw"), arguments.pictures, Path(folder))
        record: dict[str, Any] = {
            "machine": describe_machine(device, arguments.threads),
            "commands": measure_commands(MODEL, pictures, Path(folder), arguments.rounds),
            "onnx": measure_onnx(MODEL, pictures, Path(folder), arguments.rounds),
        }
        print(format_commands(record["commands"]))
        print(format_onnx(record["onnx"]))
        record["report"] = measure_report(Path(folder), min(3, arguments.rounds))
        print(format_report(record["report"]))
    write_json(arguments.output, record)


def list_pictures(root: Path, num: int, folder: Path) -> list[Path]:
    """Return that many pictures of the workspace, links to which lie in a folder of their own."""
    found = sorted(path for path in root.rglob("images/**/*.png"))[:num]
    if len(found) < num:
        raise SystemExit(f"{root}: expected {num} drawn pictures; found {len(found)}")
    links = []
    for number, path in enumerate(found):
        link = folder / "pictures" / f"{number:05d}.png"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(path.resolve())
        links.append(link)
    return links


def measure_commands(
    model: Path, pictures: Sequence[Path], folder: Path, rounds: int
) -> dict[str, Any]:
    """Return medians in seconds of processes that ran in turn, and what follows from them."""
    python = [sys.executable]
    predict = [*python, "-m", "dcal.cli", "predict", str(model)]
    output = ["--output", str(folder / "classes.csv"), "--device", "cpu"]
    commands = {
        "python": [*python, "-c", "pass"],
        "import torch": [*python, "-c", "import torch"],
        "import dcal": [*python, "-c", "import torch, dcal"],
        "dcal.load_model": [*python, "-c", "import torch, dcal; dcal.load_model"],
        "dcal --help": [*python, "-m", "dcal.cli", "--help"],
        "predict one": [*predict, str(pictures[0]), *output],
        "predict all": [*predict, str(pictures[0].parent), *output],
    }
    seconds = take_turns([partial(run, each) for each in commands.values()], "cpu", rounds)
    medians = {
        name: statistics.median(times) for name, times in zip(commands, seconds, strict=True)
    }
    torch_alone = seconds[list(commands).index("import torch")]
    return {
        "rounds": rounds,
        "num_pictures": len(pictures),
        "seconds": medians,
        "import_dcal_beyond_torch": _beyond(seconds[2], torch_alone),
        "load_model_beyond_torch": _beyond(seconds[3], torch_alone),
        "seconds_a_picture": _beyond(seconds[6], seconds[5]) / (len(pictures) - 1),
    }


def _beyond(times: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(mine - other for mine, other in zip(times, others, strict=True))


def run(command: Sequence[str]) -> None:
    """Run a command as a user does, and show what it said only where it failed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")


def measure_onnx(
    path: Path, pictures: Sequence[Path], folder: Path, rounds: int
) -> list[dict[str, Any]]:
    """Return a row a batch size: torch as dcal predict runs it, the graph in torch, and ONNX."""
    model = load_model(path).eval()
    exported = export_model(model, folder / "model.onnx", Form.ONNX)
    session = open_exported(folder / "model.onnx", Form.ONNX)
    rows = []
    for batch in BATCHES:
        opened = [Image.open(each).convert("RGB") for each in pictures[:batch]]
        pixels = torch.from_numpy(np.stack([np.asarray(each) for each in opened]))
        pixels = pixels.permute(0, 3, 1, 2).contiguous()
        ways = _list_ways(exported, opened, pixels, session)
        once = take_turns([ways[0][1]], "cpu", 1)[0][0]
        repeat = max(1, round(MIN_SECONDS / once))
        with torch.inference_mode():
            seconds = take_turns([each for _, each in ways], "cpu", rounds, repeat=repeat)
        for (name, _), times in zip(ways, seconds, strict=True):
            found = compare(times, seconds[0])
            rows.append({"batch_size": batch, "way": name, **found})
    return rows


def _list_ways(
    exported: ExportedModel,
    opened: Sequence[Image.Image],
    pixels: torch.Tensor,
    session: Callable[[torch.Tensor], object],
) -> list[tuple[str, Callable[[], object]]]:
    model = exported.model
    transform = build_transform(model)

    def predict() -> object:
        return compute_probabilities(model(torch.stack([transform(each) for each in opened])))

    return [
        ("torch, Pillow", predict),
        ("torch, the graph", lambda: exported(pixels)),
        ("ONNX Runtime", lambda: session(pixels)),
    ]


def measure_report(folder: Path, rounds: int) -> dict[str, Any]:
    """Return the seconds of a process that writes a run's pages, and their megabytes."""
    place = folder / "reports"
    place.mkdir()
    (seconds,) = take_turns(
        [partial(run, [sys.executable, "-c", REPORT, str(place)])], "cpu", rounds
    )
    sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(place.iterdir())}
    return {"seconds": statistics.median(seconds), "megabytes": sizes}


def format_commands(found: dict[str, Any]) -> str:
    """Return the table of commands."""
    lines = [f"{name:18}{seconds:7.2f} s" for name, seconds in found["seconds"].items()]
    return "\n".join(
        [
            f"\nfrom start to end, medians of {found['rounds']} rounds",
            *lines,
            f"import dcal beyond torch: {found['import_dcal_beyond_torch']:.2f} s; with what a "
            f"model needs, timm among it: {found['load_model_beyond_torch']:.2f} s",
            f"a picture beyond the first, of {found['num_pictures']}: "
            f"{1e3 * found['seconds_a_picture']:.2f} ms",
        ]
    )


def format_onnx(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of ways to predict."""
    lines = [
        f"{row['batch_size']:5}  {row['way']:18}{1e3 * row['seconds'] / row['batch_size']:8.2f}"
        f"{row['ratio']:9.2f} {row['ratio_min']:5.2f}-{row['ratio_max']:.2f}"
        for row in rows
    ]
    return "\n".join([f"\nbatch  {'':18}{'ms each':>8}{'x torch':>9}", *lines])


def format_report(found: dict[str, Any]) -> str:
    """Return the line of the report."""
    sizes = ", ".join(f"{name} {size:.1f} MB" for name, size in found["megabytes"].items())
    return f"\na run's pages: {found['seconds']:.1f} s with two notebooks; {sizes}"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/commands.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
