"""A page as a test sees it: what it shows, and what went wrong on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from playwright.sync_api import Page


@dataclass
class Opened:
    """A page, and what the developer's tools would show of it so far."""

    page: Page
    errors: list[str] = field(default_factory=list)  # of the console, and uncaught ones
    requests: list[str] = field(default_factory=list)  # addresses


class OpenPage(Protocol):
    """Opens an address in a profile of its own."""

    def __call__(
        self, address: str, *, width: int = 1280, height: int = 900, is_dark: bool = False
    ) -> Opened:
        """Return the page once it is loaded."""


def listen(page: Page) -> Opened:
    """Take note of a page's errors and requests from now on."""
    opened = Opened(page)
    page.on(
        "console",
        lambda message: opened.errors.append(message.text) if message.type == "error" else None,
    )
    page.on("pageerror", lambda error: opened.errors.append(str(error)))
    page.on("request", lambda request: opened.requests.append(request.url))
    return opened
