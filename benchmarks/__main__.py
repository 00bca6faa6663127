"""All costs, one after the other: `make bench`.

    python -m benchmarks [--only step inference ...] [--rounds 7]

step        training, inference and memory beside plain timm (`benchmarks.step`), and the bars
profile     where the time of a step goes (`benchmarks.profile`)
inference   one picture, many, half precision (`benchmarks.inference`)
rollout     its forms (`benchmarks.rollout`)
growth      with the picture and the batch (`benchmarks.growth`)
ranking     Market-1501's size, one round (`benchmarks.ranking` measures more)
loading     drawn pictures, two rounds (`benchmarks.loading` measures more)
commands    what a user waits for: start-up, predictions, the report, ONNX (`benchmarks.commands`)

Each writes `results/benchmarks/<part>.json`, ranking and loading `short_<part>.json`. Half an hour
on two cores; nothing else should run beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.bars import format_bars

RESULTS = Path("results/benchmarks")
PARTS: dict[str, tuple[str, ...]] = {
    "step": (),
    "profile": (),
    "inference": (),
    "rollout": (),
    "growth": (),
    "ranking": ("--jobs", "market_floor"),
    "loading": ("--rounds", "2", "--wait-rounds", "1"),
    "commands": (),
}
SHORT = ("ranking", "loading")
BY_ROUNDS = ("step", "profile", "inference", "rollout")


def main() -> None:
    """Run the parts, each in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, help="of step, profile, inference and rollout")
    arguments = parser.parse_args()
    for part in arguments.only:
        print(f"\n== {part}", flush=True)
        output = RESULTS / (f"short_{part}.json" if part in SHORT else f"{part}.json")
        command = [sys.executable, "-m", f"benchmarks.{part}", "--output", str(output)]
        command += PARTS[part]
        if arguments.rounds and part in BY_ROUNDS:
            command += ["--rounds", str(arguments.rounds)]
        subprocess.run(command, check=True)
        if part == "step":
            print("\n" + format_bars(json.loads(output.read_text(encoding="utf-8"))["rows"]))


if __name__ == "__main__":
    main()
