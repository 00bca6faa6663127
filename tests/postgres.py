"""A PostgreSQL server of a test's own; a test is skipped where its programs are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy

from benchmarks import postgres
from benchmarks.postgres import find_free_port as find_free_port


@contextmanager
def run_cluster() -> Iterator[postgres.Cluster]:
    """Yield a new PostgreSQL server that runs; it must run at the end, too."""
    try:
        postgres.find_programs()
    except postgres.NoServer as error:
        pytest.skip(str(error))
    with postgres.run_cluster() as cluster:
        yield cluster


@contextmanager
def run_postgres() -> Iterator[str]:
    """Yield the address of a database that nothing was ever kept in."""
    with run_cluster() as cluster:
        yield cluster.url


def execute(address: str, *statements: str) -> None:
    """Carry out statements that belong to no transaction, such as those that make databases."""
    engine = sqlalchemy.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def make_database(address: str, name: str) -> str:
    """Make a database on the server of another one, and return its address."""
    execute(address, f"CREATE DATABASE {name}")
    return f"{address.rpartition('/')[0]}/{name}"
