"""Optuna's pages of all studies; `make dashboard` (ours).

Not a stage. The database's address stays out of the command line, where every user of the machine
could read its password. The pages can delete studies and ask for no password, so they are served on
this machine alone, and only to who asks for it by its own name: a page of the web can have another
name lead here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from dcal.tuning.address import describe_storage_url
from dcal.tuning.errors import TuningError
from dcal.tuning.storage import open_storage
from pipelines.init import HOST, check_port

PORT = 8080
OWN_NAMES = (HOST, "localhost")
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def main(
    port: Annotated[int, typer.Option(min=1, max=65535, help="where the pages are")] = PORT,
) -> None:
    """Serve the pages until Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    check_port(port, target="dashboard", speaker="dashboard")
    try:
        application = build_application()
    except TuningError as error:
        sys.exit(f"dashboard: {error}")
    with make_server(HOST, port, application, _Server, _Handler) as server:
        typer.echo(f"dashboard: studies of {describe_storage_url()}")
        typer.echo(f"dashboard: http://{HOST}:{port} (Ctrl-C stops it)")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo()


def build_application() -> Application:
    """Return the pages of `$DCAL_OPTUNA_URL`, which is made if it is missing.

    Raises:
        TuningError: It cannot be used.
    """
    from optuna_dashboard import wsgi

    return refuse_other_names(wsgi(open_storage()))


def refuse_other_names(application: Application) -> Application:
    """Answer 403 to a request under another name than this machine's own."""

    def checked(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        name = environment.get("HTTP_HOST", "").rpartition(":")[0] or environment.get("HTTP_HOST")
        if name in OWN_NAMES:
            return application(environment, start)
        start("403 Forbidden", [("Content-Type", "text/plain")])
        return [f"expected {' or '.join(OWN_NAMES)} as the name of this machine\n".encode()]

    return checked


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of what is asked for."""


if __name__ == "__main__":
    typer.run(main)
