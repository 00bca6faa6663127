"""The benchmark of the server times each call, and its committed result has each database."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from benchmarks import server


def test_every_call_has_a_step_of_its_own() -> None:
    calls: list[list[int]] = []
    client = SimpleNamespace(
        create_experiment=lambda name: "1",
        create_run=lambda experiment: SimpleNamespace(info=SimpleNamespace(run_id="r")),
        log_batch=lambda run_id, metrics: calls.append([metric.step for metric in metrics]),
    )
    assert len(server.time_batches(client, 3)) == 3
    assert calls == [[step] * server.NUM_KEYS for step in range(3)]


def test_the_committed_result_has_a_row_a_database(repository: Path) -> None:
    record = json.loads((repository / "results/benchmarks/server.json").read_text())
    assert [row["database"] for row in record["rows"]] == list(server.DATABASES)
    for row in record["rows"]:
        assert server._format_row(row).startswith(row["database"])
