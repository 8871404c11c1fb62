"""Headless Chromium, from Debian's package, driven by Playwright."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (path := shutil.which(name))
    ),
    None,
)


def why_not() -> str:
    """Why there is no browser to test with; "" if there is one."""
    if CHROMIUM is None:
        return "no Chromium: apt-get install chromium"
    if importlib.util.find_spec("playwright") is None:
        return "no Playwright: pip install -e '.[test]'"
    return ""


@dataclass
class Seen:
    """What a page said and asked for.

    Attributes:
        console: messages that are warnings or errors, and exceptions that nobody caught.
        requests: everything that is not the page itself or inside it.
    """

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def browser() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # no sandbox: tests may run as root, and open only pages that they made
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@contextmanager
def opened(made: Any, path: Path, width: int = 1280, dark: bool = False) -> Iterator[Any]:
    """A page from the disk, loaded, with a `seen` of what it did."""
    context = made.new_context(
        color_scheme="dark" if dark else "light", viewport={"width": width, "height": 900}
    )
    page = context.new_page()
    page.seen = Seen()
    page.on(
        "console",
        lambda m: page.seen.console.append(m.text) if m.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: page.seen.console.append(str(error)))
    page.on("request", lambda request: _note(page.seen, request.url, path))
    page.goto(path.as_uri())
    yield page
    context.close()


def _note(seen: Seen, url: str, path: Path) -> None:
    if url != path.as_uri() and not url.startswith(("data:", "blob:")):
        seen.requests.append(url)
