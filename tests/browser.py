"""Headless Chromium, from Debian's package, driven by Playwright; axe-core's rules in it."""

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


def drawn(page: Any) -> list[Any]:
    """Every figure that can be seen, scrolled to and drawn; the page is at its top again."""
    boxes = page.locator(".plot:visible").all()
    for box in boxes:
        box.scroll_into_view_if_needed()
        page.wait_for_selector(f"#{box.get_attribute('id')}[data-drawn] .main-svg")
    page.evaluate("window.scrollTo(0, 0)")
    return boxes


def serious(page: Any) -> list[str]:
    """What axe-core finds that is serious or worse, a line each: rule, element, why."""
    package = importlib.util.find_spec("axe_playwright_python")
    assert package is not None and package.origin is not None, "pip install -e '.[test]'"
    script = Path(package.origin).with_name("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(script)
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 10, "the rules have run"
    return [
        f"{rule['id']}: {node['html'][:120]}: {node['failureSummary']}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def contrasts(page: Any) -> dict[tuple[str, str], float]:
    """Contrast of the style's own colours of text on its backgrounds, as WCAG counts it."""
    names = ("ink", "soft", "accent", "best", "paper", "band")
    colours = {
        name: page.evaluate(
            "name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()",
            f"--{name}",
        )
        for name in names
    }
    light = {name: _luminance(value) for name, value in colours.items()}
    return {
        (text, under): (max(light[text], light[under]) + 0.05)
        / (min(light[text], light[under]) + 0.05)
        for text in names[:4]
        for under in names[4:]
    }


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
