"""Servers that misbehave as told, and no waiting between the attempts of a download."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.data.faulty_server import FaultyServer, serve


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serve() as served:
        yield served


@pytest.fixture
def mirror() -> Iterator[FaultyServer]:
    with serve() as served:
        yield served


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the waits between attempts, none of which is waited."""
    waited: list[float] = []
    monkeypatch.setattr("dcal.data.download.sleep", waited.append)
    return waited
